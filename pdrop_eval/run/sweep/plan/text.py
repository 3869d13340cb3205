"""A planned sweep in words, at most 80 columns: what would run, what it takes, and what can't be."""

import json
import struct
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

from pdrop_eval.run.config.spec import RunSpec
from pdrop_eval.run.sweep.plan.pace import Pace
from pdrop_eval.run.sweep.plan.runs import LeftOutRun, Planned, PlannedRun
from pdrop_eval.strategies.registry import VANILLA

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_AUTO = 32  # where batch_size=auto begins on a GPU
_ROWS = 60  # more of them are told in a line
_GB = 10**9


def plan_text(planned: Planned, pace: Pace, workers: int) -> str:
    """Return what a sweep would run.

    Args:
        planned: It.
        pace: Of earlier records.
        workers: How many cells are computed at a time.
    """
    there = planned.cells - planned.missing
    cells, runs = numbered(planned.cells, "cell"), numbered(len(planned.runs), "run")
    head = f"{cells} of {runs}: {there:,} are there, {planned.missing:,} to compute."
    left_out = list(_left_out(planned.left_out))
    return "\n".join(
        [
            head,
            "",
            f"{'model':<16}{'strategy':<24}{'budget':<12}{'tokens':>7}{'TFLOPs':>9}{'cells':>6}{'there':>6}",
            *(line for run in planned.runs[:_ROWS] for line in run_lines(run)),
            *([f"... and {len(planned.runs) - _ROWS} more runs"] if len(planned.runs) > _ROWS else []),
            "",
            "tokens: image tokens a layer in the mean; TFLOPs: 10^12 multiply-adds of them.",
            *_memory(planned.runs),
            *_wrapped(_time(planned, pace, workers)),
            *_without_vanilla(planned.runs),
            *(["", f"Left out, as they can't be ({len(planned.left_out)}):", *left_out] if left_out else []),
        ]
    )


def run_lines(run: PlannedRun) -> Iterator[str]:
    """A run's line; of a name that its column has no room for, the rest stands beneath."""
    asked, cost = run.asked, run.cost
    budget = f"{asked.budget[0]}={asked.budget[1]:g}" if asked.budget else "-"
    tokens = "-" if cost.tokens is None else f"{cost.tokens:.1f}"
    tflops = "-" if cost.tflops is None else f"{cost.tflops:.3g}"
    models = textwrap.wrap(" ".join([asked.model, *asked.aside]), 15)
    names = textwrap.wrap(asked.seeded, 23)
    for place, (model, name) in enumerate(zip_longest(models, names, fillvalue="")):
        line = f"{model:<16}{name:<24}"
        if not place:
            cells = len(run.plan.tasks)
            line += f"{budget:<12}{tokens:>7}{tflops:>9}{cells:>6}{cells - len(run.missing):>6}"
        yield line.rstrip()


def _memory(runs: Sequence[PlannedRun]) -> Iterator[str]:
    """What each model takes of a worker's memory."""
    models: dict[str, list[PlannedRun]] = {}
    for run in runs:
        models.setdefault(run.asked.model, []).append(run)
    for model, own in models.items():
        config = own[0].plan.config
        weights = parameters(own[0].plan.checkpoint.folder)
        rows = _AUTO if config.batch_size == "auto" else int(config.batch_size)
        cache = max((run.cost.kv_bytes or 0 for run in own), default=0) * rows
        if weights:
            size = weights * _BYTES[config.dtype]
            yield from _wrapped(
                f"Memory of a worker with {model}: {_size(size)} of weights ({config.dtype}){_over(config)}, "
                f"{_size(cache)} of KV cache for the image tokens of a batch of {rows}; activations and text "
                "come on top."
            )
        else:
            yield f"Memory of a worker with {model}: not known before its weights are here."


def _over(config: RunSpec) -> str:
    """The GPUs that the model's layers are spread over, where they are several."""
    return f" over {config.model.devices} GPUs" if (config.model.devices or 1) > 1 else ""


def parameters(folder: Path) -> int | None:
    """Return how many numbers a checkpoint's safetensors files hold, from their heads; None without files."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            head = json.loads(file.read(length))
        for name, tensor in head.items():
            size = 1
            for side in tensor["shape"] if name != "__metadata__" else (0,):
                size *= side
            total += size
    return total or None


def _size(count: float) -> str:
    return f"{count / _GB:.1f} GB" if count >= _GB / 10 else f"{count / 1e6:.1f} MB"


def _time(planned: Planned, pace: Pace, workers: int) -> str:
    if not planned.missing:
        return "Nothing is left to compute."
    cells = [(run, task) for run in planned.runs for task in run.missing]
    known = [seconds for run, task in cells if (seconds := pace.seconds(run, task)) is not None]
    if not known:
        return "Time: not known; the records here are of none of these models. limit=8 tells it in a minute."
    whole = sum(known) / len(known) * len(cells) / workers
    of = (
        ""
        if len(known) == len(cells)
        else f" ({len(known)} of the {len(cells)} cells are alike to earlier ones)"
    )
    who = "one worker" if workers == 1 else f"{workers} workers"
    return f"Time: about {duration(whole)} with {who}, by {pace.records} records that are here{of}."


def numbered(count: int, what: str) -> str:
    """Return a number of things: `1 cell`, `3 cells`."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a time in words: `3 s`, `5 min`, `2.5 h`, `3.1 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def _without_vanilla(runs: Sequence[PlannedRun]) -> list[str]:
    if any(run.plan.strategy == VANILLA for run in runs):
        return []
    return _wrapped("vanilla isn't among the strategies: tables relative to it need its records.")


def _left_out(runs: Sequence[LeftOutRun]) -> Iterator[str]:
    """The reasons, each with the runs that it holds for."""
    reasons: dict[str, list[str]] = {}
    for one in runs:
        reasons.setdefault(one.reason, []).append(one.asked.words)
    for reason, words in reasons.items():
        named = "; ".join(words[:3]) + (f"; and {len(words) - 3} more" if len(words) > 3 else "")
        yield from textwrap.wrap(f"{named}: {reason}", 80, initial_indent="  ", subsequent_indent="    ")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 80)
