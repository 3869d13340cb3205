"""Which code and which versions made a record."""
