"""Comparing two runs on the same questions: pairs, intervals, a verdict, and what is shown of it."""
