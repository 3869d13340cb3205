"""A cell, computed and written into its run's record."""
