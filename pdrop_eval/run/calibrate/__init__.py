"""`pdrop-eval-calibrate`: settings of a strategy that are made for a model."""
