"""What the model is given: requests prepared ahead, batched, staged, with images encoded once."""
