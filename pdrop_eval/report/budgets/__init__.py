"""Strategies in blocks by budget: the field's table, from any records. Needs no torch."""
