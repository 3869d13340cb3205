"""`pdrop-eval-sweep`: many runs, on this machine or on a cluster."""
