"""A board: strategies in blocks by budget, their rows, how these compare, are laid out and put in words."""
