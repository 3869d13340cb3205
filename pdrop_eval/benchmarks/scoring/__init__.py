"""Scores, their intervals and tests of significance."""

PERCENT = (0.0, 100.0)  # the range of a score whose rule says no other
