"""Figure 4: the score against FLOPs."""
