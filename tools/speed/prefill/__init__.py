"""Prefill, decode and their FLOPs, timed on models with random weights."""
