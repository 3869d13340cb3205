"""Figures 1 and 3: the score against the share of retained tokens, by layer."""
