"""What a sweep is: its lists multiplied out, planned, and told in words."""
