"""Strategies before the decoder: images are reduced, then the prompt is built."""
