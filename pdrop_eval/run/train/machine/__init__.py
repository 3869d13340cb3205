"""Where a training runs: its disk, its processes, and that they agree."""
