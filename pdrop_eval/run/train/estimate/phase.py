"""What a phase of a training will cost, and the whole of a dry run: as numbers, and in words."""

import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pdrop_eval.run.train.estimate.cost import Cost
from pdrop_eval.run.train.estimate.memory import ASSUMPTIONS, Memory, Sharing

_WIDTH = 100
_SHARING = {"none": "each holds the whole model", "deepspeed": "DeepSpeed ZeRO", "fsdp": "FSDP2"}


@dataclass(frozen=True)
class Data:
    """What is known of a phase's data.

    Attributes:
        shapes: How many samples have so many (image, text) tokens; of one assumed sample where nothing was
            counted.
        steps: Of an epoch, or None where nobody knows.
        longest: (image, text) tokens.
        truncated: How many samples are cut at max_length.
    """

    missing: tuple[str, ...]
    conversations: int | None
    counted: str
    skipped: Mapping[str, int]
    steps: int | None
    shapes: Counter[tuple[int, int]]
    longest: tuple[int, int]
    truncated: int = 0

    @property
    def tokens(self) -> tuple[float, float]:
        """Image and text tokens of a sample, in the mean."""
        image = sum(shape[0] * n for shape, n in self.shapes.items()) / self.shapes.total()
        return image, sum(shape[1] * n for shape, n in self.shapes.items()) / self.shapes.total()


@dataclass(frozen=True)
class PhaseEstimate:
    """One phase. cost, vanilla: of a mean sample, with the strategy and without one.

    Attributes:
        lora: The rank of adapters that learn in the decoder's place, or None.
        batch: Of a step, of a device.
    """

    name: str
    train: tuple[str, ...]
    lora: int | None
    learning: int
    batch: tuple[int, int]
    steps: int | None
    data: Data
    cost: Cost
    vanilla: Cost
    memory: Memory

    @property
    def samples(self) -> int | None:
        """Samples of all steps."""
        return None if self.steps is None else self.steps * self.batch[0]


@dataclass(frozen=True)
class DryRun:
    """The estimate of a training. parts: parameters of vision, projector and decoder."""

    source: str
    parts: Mapping[str, int]
    strategy: str
    schedule: tuple[int, ...]
    sharing: Sharing
    checkpointing: bool
    dtype: str
    phases: tuple[PhaseEstimate, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Data files and folders that aren't there."""
        return tuple(dict.fromkeys(name for phase in self.phases for name in phase.data.missing))


def render(run: DryRun) -> str:
    """The whole estimate, ending with a line break."""
    total = sum(run.parts.values())
    parts = ", ".join(f"{part} {_count(n)}" for part, n in run.parts.items())
    sharded = [name for name in ("weights", "gradients", "optimizer") if getattr(run.sharing, name)]
    shared = f"; sharded: {', '.join(sharded)}" if sharded else ""
    mean = sum(run.schedule) / len(run.schedule)
    again = "with" if run.checkpointing else "without"
    lines = [
        "Dry run: nothing is trained or downloaded. Figures are estimates.",
        _row("model", f"{_count(total)} parameters by {run.source}: {parts}"),
        _row(
            "strategy",
            f"{run.strategy}: {run.schedule[0]} image tokens in the first of {len(run.schedule)} layers, "
            f"{run.schedule[-1]} in the last, {mean:.0f} in the mean",
        ),
        _row("devices", f"{run.sharing.devices}, {_SHARING[run.sharing.kind]}{shared}"),
        _row("precision", f"{run.dtype}, {again} gradient checkpointing"),
    ]
    for phase in run.phases:
        lines += ["", f"Phase {phase.name}", *_phase(run, phase)]
    if run.missing:
        lines += ["", *_wrapped("Missing, to be put there before training: " + ", ".join(run.missing) + ".")]
    convention = run.phases[0].cost.convention
    lines += ["", *_wrapped(f"FLOPs are {convention}."), *_wrapped(ASSUMPTIONS)]
    return "\n".join(lines) + "\n"


def _phase(run: DryRun, phase: PhaseEstimate) -> list[str]:
    data, (batch, rows) = phase.data, phase.batch
    whole = sum(run.parts.values())
    image, text = data.tokens
    assumed = data.missing or data.shapes.total() == 1
    accumulated = batch / (rows * run.sharing.devices)
    skipped = f"; skipped: {dict(data.skipped)}" if data.skipped else ""
    if data.truncated:
        skipped += f"; {data.truncated:,} cut at max_length"
    lora = "" if phase.lora is None else f" (LoRA of rank {phase.lora})"
    count = "not there, and of unknown size"
    if data.conversations is not None:
        count = f"{data.conversations:,} conversations, {data.counted}{skipped}"
    lines = [
        _row(
            "learning",
            f"{', '.join(phase.train)}{lora}: {_count(phase.learning)} of {_count(whole)} parameters",
        ),
        _row("data", count),
        _row(
            "a sample",
            f"{image:.0f} image and {text:.0f} text tokens in the mean{' (assumed)' if assumed else ''}; at "
            f"most {data.longest[0]} and {data.longest[1]}",
        ),
        _row("a step", f"{batch} samples: {run.sharing.devices} device(s) x {rows} x {accumulated:g}"),
    ]
    if phase.steps is not None and phase.samples is not None:
        tokens = f"{_count(phase.samples * image)} image and {_count(phase.samples * text)} text tokens"
        lines.append(_row("steps", f"{phase.steps:,}: {tokens}"))
    lines.append(_row("FLOPs", _flops(phase)))
    lines.append(_row("memory", _memory(phase.memory, rows, sum(data.longest))))
    return lines


def _flops(phase: PhaseEstimate) -> str:
    cost, vanilla = phase.cost, phase.vanilla
    texts = []
    for name, own, plain in (
        ("image tokens", cost.image_tokens, vanilla.image_tokens),
        ("all tokens", cost.all_tokens, vanilla.all_tokens),
    ):
        every = f", {own * phase.samples:.3g} in all" if phase.samples else ""
        times = f" ({plain / own:.2f} times less than vanilla)" if own else ""
        texts.append(f"{name} {_tera(own)} a sample{every}{times}")
    return "; ".join(texts)


def _memory(memory: Memory, rows: int, length: int) -> str:
    parts = [(field.name, getattr(memory, field.name)) for field in fields(memory)]
    listed = " + ".join(f"{name} {_gigabytes(value)}" for name, value in parts if value)
    return f"{_gigabytes(memory.total)} GB a device at {rows} rows of {length} tokens: {listed}"


def _tera(value: float) -> str:
    return f"{value / 1e12:.3g} T" if value >= 1e10 else f"{value:.3g}"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.3g}" if value < 1e9 else f"{value / 1e9:.1f}"


def _count(value: Any) -> str:
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:,.0f}"


def _row(name: str, text: str) -> str:
    return "\n".join(textwrap.wrap(f"  {name:<10} {text}", _WIDTH, subsequent_indent=" " * 13))


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
