"""Token-dropping strategies: one file each."""
