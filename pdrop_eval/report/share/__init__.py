"""Results of several machines in one folder, and those that others share."""
