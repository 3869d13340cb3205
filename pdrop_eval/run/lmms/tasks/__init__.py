"""lmms-eval's tasks: staged offline, run, and scored."""
