"""Models: checkpoints, families, loading, prompts and images."""
