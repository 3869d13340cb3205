"""What of `torch.cuda` the steps use, on a machine without a GPU: the same names, so that every line runs.

Sizes are those of this process and times those of the clock; nothing here says anything about a GPU.
"""

import time
from types import SimpleNamespace
from typing import Any

import psutil
import torch


class Event:
    """A moment; what an event of a GPU's stream is."""

    def __init__(self, enable_timing: bool = False) -> None:
        self._at = 0.0

    def record(self) -> None:
        """Note the moment."""
        self._at = time.perf_counter()

    def synchronize(self) -> None:
        """Wait for nothing."""

    def elapsed_time(self, end_event: "Event") -> float:
        """Return the milliseconds up to another one."""
        return 1000 * (end_event._at - self._at)


def synchronize(device: Any = None) -> None:
    """Wait for nothing."""


def empty_cache() -> None:
    """Free nothing."""


def memory_allocated(device: Any = None) -> int:
    """Return this process's memory, in steps that what it does between two calls doesn't change."""
    return round(psutil.Process().memory_info().rss, -9)


def max_memory_allocated(device: Any = None) -> int:
    """Return this process's memory now."""
    return int(psutil.Process().memory_info().rss)


def reset_peak_memory_stats(device: Any = None) -> None:
    """Forget nothing."""


def set_sync_debug_mode(debug_mode: Any) -> None:
    """Warn of nothing: nobody waits."""


def get_device_name(device: Any = None) -> str:
    """Say what it is."""
    return "no GPU: a processor"


def get_device_properties(device: Any = None) -> Any:
    """Return what is asked of them: the bytes of memory, and the version of the processors."""
    return SimpleNamespace(total_memory=psutil.virtual_memory().total, major=0, minor=0)


def device_count() -> int:
    """Return that there is one."""
    return 1


def cuda_of(device: str) -> Any:
    """Return `torch.cuda` for a GPU, else the stand-ins of this module."""
    import sys

    return torch.cuda if device != "cpu" else sys.modules[__name__]
