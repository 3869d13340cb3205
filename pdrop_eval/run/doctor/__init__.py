"""`pdrop-eval-doctor`: checks what a run needs before it starts."""
