"""The tasks that the installed lmms-eval has beside the registry's: by name, read without importing any."""
