"""Runs as rows: what tells one from another, and which may stand side by side."""
