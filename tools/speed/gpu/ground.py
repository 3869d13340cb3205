"""What a step stands on: the device, how much time is left, and models of published sizes on it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import torch

from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.spec import compose_bench
from pdrop_eval.run.bench.work import Work, prepare
from tools.speed.gpu.stand_in import cuda_of

# Two in the decoder, and two before it that are defined for the towers of all three families.
STRATEGIES = ("vanilla", "fastv", "pdrop", "visionzip", "divprune")
_TINY = (
    "sizes.layers=4", "sizes.width=32", "sizes.intermediate=48", "sizes.heads=4", "sizes.kv_heads=4",
    "sizes.vocabulary=64", "sizes.vision_layers=2", "sizes.vision_width=16", "sizes.vision_heads=2",
    "sizes.vision_intermediate=24", "text_tokens=6", "new_tokens=2",
)  # fmt: skip
_TINY_TILE = ("sizes.tile=24", "sizes.patch=4")
_TINY_SETTINGS = {"visionzip": "{dominant: 5, contextual: 3}"}


class SkippedError(Exception):
    """A step, or a part of it, that can't be done here, with the reason."""


@dataclass(frozen=True)
class Ground:
    """Where a step runs.

    Attributes:
        device: "cuda", or "cpu" for a trial of every line.
        until: when the step has to be done, by `time.monotonic`.
        keep: saves what there is of its result so far.
        known: the results of the steps before it, by name.
    """

    device: str
    until: float
    keep: Callable[[Mapping[str, Any]], None]
    known: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether it is a trial: the sizes of models are tiny then."""
        return self.device == "cpu"

    @cached_property
    def cuda(self) -> Any:
        """`torch.cuda`, or what stands in for it."""
        return cuda_of(self.device)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.monotonic()

    def scaled(self, full: int, tiny: int) -> int:
        """Return a size."""
        return tiny if self.tiny else full

    def seconds(self, work: Callable[[], Any], rounds: int = 3) -> float:
        """Return the least time of several, the device's work included; one before them isn't counted."""
        work()
        found = []
        for _ in range(rounds):
            self.cuda.synchronize()
            start = time.perf_counter()
            work()
            self.cuda.synchronize()
            found.append(time.perf_counter() - start)
        return min(found)

    def work(self, model: str, *overrides: str, strategies: Sequence[str] = STRATEGIES) -> Work:
        """Return what a benchmark of a model of `conf/model` comes to; no weights are there yet."""
        tiny = (*_TINY, *(() if model.startswith("qwen") else _TINY_TILE)) if self.tiny else ()
        own = _TINY_SETTINGS if self.tiny else {}
        asked = [f"{{{name}: {own[name]}}}" if name in own else name for name in strategies]
        settings = [
            f"model={model}", f"device={self.device}", "dtype=bfloat16", "weights=random", "batch_sizes=[1]",
            "text_tokens=64", "new_tokens=16", "threads=1", "untested_packages=true",
            f"results={Path(gettempdir()) / 'pdrop-eval-gpu'}", *tiny, f"strategies=[{','.join(asked)}]",
            *overrides,
        ]  # fmt: skip
        return prepare(make_plan(compose_bench(settings)))

    def small(self, model: str = "llava_1_5_7b", *overrides: str, layers: int = 4, **more: Any) -> Work:
        """Return the same with a few layers of the published width."""
        return self.work(model, *(() if self.tiny else (f"sizes.layers={layers}",)), *overrides, **more)

    def build(self, work: Work) -> Any:
        """Return the model with random weights."""
        return models.build(work.plan, work.config)

    def batch(self, work: Work, rows: int) -> models.Batch:
        """Return a batch without padding."""
        return models.make_batch(work.config, work.sample, rows, work.plan.dtype, self.device)

    def padded(self, work: Work, rows: int) -> tuple[models.Batch, torch.Tensor]:
        """Return a batch and a mask [b, n]: the first row has two columns of padding at its left."""
        batch = self.batch(work, rows)
        mask = torch.ones_like(batch.whole["input_ids"])
        mask[0, :2] = 0
        return batch, mask


@contextmanager
def cudnn_attention(on: bool) -> Any:
    """Within it, cuDNN's attention may be taken, or may not."""
    was = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(on)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(was)


def profiled(ground: Ground, work: Callable[[], Any]) -> Any:
    """Return torch's profile of some work."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([] if ground.tiny else [ProfilerActivity.CUDA])]
    with profile(activities=activities) as found:
        work()
        ground.cuda.synchronize()
    return found


def ran(ground: Ground, found: Any) -> list[Any]:
    """Return what ran on the device, of a profile: events with a name and a time range in microseconds."""
    from torch.autograd import DeviceType

    where = DeviceType.CPU if ground.tiny else DeviceType.CUDA
    return [event for event in found.events() if event.device_type == where]
