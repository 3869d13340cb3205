"""The rendered suite: sixteen benchmarks that need no download."""
