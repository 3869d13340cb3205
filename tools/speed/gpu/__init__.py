"""What only a GPU shows, measured on one in under nine minutes; `python -m tools.speed.gpu`."""
