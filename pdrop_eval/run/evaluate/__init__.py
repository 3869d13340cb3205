"""`pdrop-eval`: evaluates a strategy on a model and a suite."""
