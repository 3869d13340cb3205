"""A page of all results that opens from disk: its data, built from the records of runs. Needs no torch."""
