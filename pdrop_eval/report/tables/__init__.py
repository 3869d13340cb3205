"""Tables of the paper and the overview, filled from records."""
