"""Scores, their intervals and tests of significance."""
