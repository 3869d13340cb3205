"""Fault injection and fuzzing."""
