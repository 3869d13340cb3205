"""Simulated coverage of the intervals."""
