"""Packages that tasks of lmms-eval import for one small function, for where they aren't installed."""
