"""What happens at a drop: scores, selection, and the rows and caches after it."""
