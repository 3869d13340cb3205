"""Checks and documents of a release."""
