"""What touches lmms-eval: the model wrapper, the tasks, the scores. Nothing here is imported by the core."""
