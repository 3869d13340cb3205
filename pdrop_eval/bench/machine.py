"""Whether the machine does something else meanwhile: cores that other processes keep busy. Needs no torch."""

import os
import time
from pathlib import Path
from typing import Any

BUSY = 0.3  # of a core: more than this from others, and times can't be trusted
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Load:
    """Counts from its making on; `seen` says how busy others kept the machine since."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), _all_seconds(), _own_seconds()

    def seen(self) -> dict[str, Any]:
        """average: the system's, over the last minute. others: cores that other processes kept busy."""
        wall, every, own = self._start
        passed, now = time.perf_counter() - wall, _all_seconds()
        others = None
        if every is not None and now is not None and passed > 0:
            others = round(max(0.0, (now - every - (_own_seconds() - own)) / passed), 2)
        average = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
        return {"average": average, "others": others}


def is_busy(load: dict[str, Any]) -> bool:
    """Whether others took more than `BUSY` of a core."""
    return (load["others"] or 0) > BUSY


def warning(load: dict[str, Any]) -> str:
    """The warning of a busy machine, with the load."""
    return (
        f"Warning: other processes keep {load['others']:.1f} cores busy (load average {load['average']}). "
        "Times vary then; speed-ups less, since strategies take turns. Best repeat it on an idle machine."
    )


def glance(seconds: float = 0.5) -> dict[str, Any]:
    """The load while this process waits."""
    load = Load()
    time.sleep(seconds)
    return load.seen()


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _all_seconds() -> float | None:
    """Seconds that all processes of the machine have computed; None where the system doesn't say."""
    try:
        with Path("/proc/stat").open(encoding="utf-8") as file:
            fields = [int(value) for value in file.readline().split()[1:]]
    except (OSError, ValueError):
        return None
    # user, nice, system, idle, iowait, irq, softirq, steal
    return (sum(fields[:3]) + sum(fields[5:8])) / _TICKS if len(fields) >= 8 else None
