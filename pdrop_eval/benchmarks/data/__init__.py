"""Data sets: finding, checking and reading them."""
