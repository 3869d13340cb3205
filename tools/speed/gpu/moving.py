"""What moves data: the vision tower's images a second, copies to and from the host, and loading."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import torch

from pdrop_eval.models import families
from tools.speed.gpu.ground import Ground


def tower(ground: Ground) -> dict[str, Any]:
    """Images a second of LLaVA-1.5's tower, one by one and together, and with the copies to the host."""
    work = ground.small(layers=1, strategies=("vanilla",))
    built = ground.build(work)
    family, images = families.multimodal_of(work.config), ground.scaled(32, 3)
    pixels = ground.batch(work, images).pixels["pixel_values"]

    def together() -> torch.Tensor:
        return family.encode(built, {"pixel_values": pixels})

    def one_by_one() -> list[torch.Tensor]:
        return [family.encode(built, {"pixel_values": pixels[i : i + 1]}) for i in range(images)]

    def pinned() -> list[torch.Tensor]:
        there = [torch.empty(one.shape, dtype=one.dtype, pin_memory=not ground.tiny) for one in one_by_one()]
        for host, one in zip(there, one_by_one(), strict=True):
            host.copy_(one, non_blocking=True)
        return there

    ways: dict[str, Callable[[], Any]] = {
        "one by one": one_by_one,
        "together": together,
        "one by one, each copied to the host": lambda: [one.cpu() for one in one_by_one()],
        "one by one, then copied without waiting": pinned,
        "together, then copied to the host": lambda: together().cpu(),
    }
    with torch.inference_mode():
        rates = {way: images / ground.seconds(run) for way, run in ways.items()}
        return {"images": images, "images_per_second": rates, "bytes_per_second": _copies(ground)}


def _copies(ground: Ground) -> dict[str, float]:
    """Of a quarter GiB: pageable and pinned memory of the host, in both directions."""
    size = ground.scaled(2**28, 2**12)
    there = torch.empty(size, dtype=torch.uint8, device=ground.device)
    found: dict[str, float] = {}
    for name, is_pinned in (("pageable", False), ("pinned", True)):
        host = torch.empty(size, dtype=torch.uint8, pin_memory=is_pinned and not ground.tiny)
        up = ground.seconds(lambda host=host: there.copy_(host, non_blocking=True))  # type: ignore[misc]
        down = ground.seconds(lambda host=host: host.copy_(there, non_blocking=True))  # type: ignore[misc]
        found |= {f"{name}, to the device": size / up, f"{name}, to the host": size / down}
    return found


def loading(ground: Ground) -> dict[str, Any]:
    """Seconds and the host's memory at its peak: weights through the host, and straight onto the device."""
    work = ground.small(strategies=("vanilla",))
    folder = Path(tempfile.mkdtemp())
    try:
        ground.build(work).save_pretrained(folder)
        ground.cuda.empty_cache()
        read = families.multimodal_of(work.config).load_class().from_pretrained
        ways = {"through the host": lambda: read(folder, dtype=torch.bfloat16).to(ground.device)}
        if find_spec("accelerate") is not None:
            ways["device_map"] = lambda: read(
                folder, dtype=torch.bfloat16, device_map={"": torch.device(ground.device)}
            )
        return {
            "weight_bytes": work.weights,
            "ways": {way: _loaded(ground, run) for way, run in ways.items()},
        }
    finally:
        shutil.rmtree(folder)


def _loaded(ground: Ground, run: Callable[[], Any]) -> dict[str, float]:
    start = time.perf_counter()
    with HostPeak() as peak:
        run()
        ground.cuda.synchronize()
    return {"seconds": time.perf_counter() - start, "host_bytes": peak.bytes}


class HostPeak(AbstractContextManager["HostPeak"]):
    """The most memory that this process has on the host within it, beyond what it had before."""

    def __init__(self) -> None:
        self.bytes = 0

    def __enter__(self) -> "HostPeak":
        self._process = psutil.Process()
        self._before = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._before)
            if self._done.wait(0.01):
                return
