"""This process among those that share a run. Needs no torch."""

import os


def world_size() -> int:
    """How many processes share the run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this one is; 0 is the one that writes and prints."""
    return int(os.environ.get("RANK", "0"))
