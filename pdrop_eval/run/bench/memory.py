"""Memory: what is free, the peak of a piece of work, and an end to it that can be caught."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
from torch.profiler import ProfilerActivity, profile

try:
    import resource
except ImportError:  # not a POSIX system: the processor's memory then has no limit of ours
    resource = None  # type: ignore[assignment]

_MARGIN = 0.95  # of the free memory that may be taken


def available(device: str) -> int:
    """The free bytes of a device's memory."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


@contextmanager
def within_memory(device: str) -> Iterator[None]:
    """Makes an allocation beyond the free memory fail, where the system would rather end the process.

    Only for the CPU: a GPU says so by itself.
    """
    if device != "cpu" or resource is None:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + int(available(device) * _MARGIN)
    if before[0] != resource.RLIM_INFINITY:
        limit = min(limit, before[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def peak_bytes(work: Callable[[], Any], device: str) -> int:
    """The most bytes that `work` held at one time, beyond what was there before it.

    On a GPU, torch's own count of allocated memory. On the CPU, every allocation and release of torch's
    allocator, by its profiler; what libraries take for themselves isn't seen.
    """
    if device != "cpu":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        work()
    assert found.profiler is not None
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
