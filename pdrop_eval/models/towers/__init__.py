"""Vision towers: what they encode, which of it strategies may see, and what stands out there."""
