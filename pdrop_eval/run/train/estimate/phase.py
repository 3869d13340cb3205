"""What a phase of a training will cost, and the whole of a dry run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from pdrop_eval.run.train.estimate.cost import Cost
from pdrop_eval.run.train.estimate.memory import Memory, Sharing


@dataclass(frozen=True)
class Data:
    """What is known of a phase's data.

    shapes: how many samples have so many (image, text) tokens; of one assumed sample where nothing was
    counted. steps: of an epoch, or None where nobody knows. longest: (image, text) tokens.
    """

    missing: tuple[str, ...]
    conversations: int | None
    counted: str
    skipped: Mapping[str, int]
    steps: int | None
    shapes: Counter[tuple[int, int]]
    longest: tuple[int, int]

    @property
    def tokens(self) -> tuple[float, float]:
        """Image and text tokens of a sample, in the mean."""
        image = sum(shape[0] * n for shape, n in self.shapes.items()) / self.shapes.total()
        return image, sum(shape[1] * n for shape, n in self.shapes.items()) / self.shapes.total()


@dataclass(frozen=True)
class PhaseEstimate:
    """One phase. cost, vanilla: of a mean sample, with the strategy and without one.

    lora: the rank of adapters that learn in the decoder's place, or None. batch: of a step, of a device.
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
