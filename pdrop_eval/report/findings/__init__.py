"""What training with PyramidDrop changed, from records."""
