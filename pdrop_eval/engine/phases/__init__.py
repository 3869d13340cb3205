"""Prefill and decode: what the hooks do in each, and to the caches."""
