"""`pdrop-eval-bench`: time and memory of a model with and without dropping, measured."""
