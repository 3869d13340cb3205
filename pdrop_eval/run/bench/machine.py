"""Whether the machine does something else meanwhile: cores, or a GPU, that other processes keep busy.

Only a glance at a GPU needs torch.
"""

import os
import subprocess
import time
from typing import Any

import psutil

BUSY = 0.3  # of a core: more than this from others, and times can't be trusted
BUSY_GPU = 5  # percent of the time: the same of a GPU, before a benchmark begins there


class Load:
    """Counts from its making on; `seen` says how busy others kept the machine since."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), _all_seconds(), _own_seconds()

    def seen(self) -> dict[str, Any]:
        """Return the system's load `average` of the last minute, and how many cores `others` kept busy."""
        wall, every, own = self._start
        passed, now = time.perf_counter() - wall, _all_seconds()
        others = max(0.0, (now - every - (_own_seconds() - own)) / passed)
        return {"average": round(psutil.getloadavg()[0], 2), "others": round(others, 2)}


def is_busy(load: dict[str, Any]) -> bool:
    """Whether others took more than `BUSY` of a core, or `BUSY_GPU` of the GPU."""
    return (load["others"] or 0) > BUSY or (_gpu(load).get("percent") or 0) > BUSY_GPU


def warning(load: dict[str, Any]) -> str:
    """The warning of a busy machine, with the load."""
    what = []
    if (load["others"] or 0) > BUSY:
        what.append(f"{load['others']:.1f} cores busy (load average {load['average']})")
    if (_gpu(load).get("percent") or 0) > BUSY_GPU:
        used = _gpu(load).get("used_bytes")
        memory = "" if used is None else f" (with {used / 2**30:.1f} GiB of its memory)"
        what.append(f"the GPU busy {_gpu(load)['percent']}% of the time{memory}")
    return (
        f"Warning: other processes keep {' and '.join(what)}. Times vary then; speed-ups less, since "
        "strategies take turns. Best repeat it on an idle machine."
    )


def glance(device: str = "cpu", seconds: float = 0.5) -> dict[str, Any]:
    """The load while this process waits; of a GPU too, if one is the device: `gpu`, None if unknown."""
    load = Load()
    time.sleep(seconds)
    seen = load.seen()
    return seen if device == "cpu" else {**seen, "gpu": gpu_load(device)}


def gpu_load(device: str) -> dict[str, int | None] | None:
    """Return how busy a GPU is: `percent` of the time, `used_bytes` of its memory; None where unknown.

    Call it before this process uses the GPU, so that it shows the load of other processes.
    """
    import torch

    index = int(device.partition(":")[2] or 0)
    try:  # by NVIDIA's Python package, where it is installed
        return {"percent": torch.cuda.utilization(index), "used_bytes": torch.cuda.device_memory_used(index)}
    except Exception:  # without it, or without its library, by NVIDIA's command
        return _asked_of_the_driver(index)


def _asked_of_the_driver(index: int) -> dict[str, int | None] | None:
    visible = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    name = visible[index] if index < len(visible) else str(index)
    command = ["nvidia-smi", f"--id={name}", "--query-gpu=utilization.gpu,memory.used"]
    try:
        done = subprocess.run(
            [*command, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        percent, used = (int(part) for part in done.stdout.strip().split(","))  # used: in MiB
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return {"percent": percent, "used_bytes": used * 2**20}


def _gpu(load: dict[str, Any]) -> dict[str, Any]:
    return load.get("gpu") or {}


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _all_seconds() -> float:
    """Seconds that all processes of the machine have computed, those of its virtual machines among them."""
    times = psutil.cpu_times()._asdict()
    idle = ("idle", "iowait", "guest", "guest_nice")  # a guest's seconds are in user's and nice's already
    return sum(seconds for name, seconds in times.items() if name not in idle)
