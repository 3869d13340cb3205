"""What a training will cost, estimated before it starts."""
