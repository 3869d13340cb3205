"""The paired difference of two runs on the same questions."""
