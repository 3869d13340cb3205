"""Random: image tokens by chance; a control that looks at nothing."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from pdrop_eval.engine.before_interface import ImageView, Reduced
from pdrop_eval.models.encoded import TokenShape
from pdrop_eval.strategies.before import BeforeStrategy, check_count


@dataclass
class Random(BeforeStrategy):
    """Keeps T image tokens by chance, in their order, before the decoder: a control without any choice.

    Each sample of a run draws anew, and draws the same whenever the run is repeated. An image with fewer
    than T tokens keeps all of them.

    Attributes:
        tokens: T, of an image.
        seed: another one draws other tokens; to average over.
    """

    tokens: int = 64
    seed: int = 0
    name: ClassVar[str] = "random"
    display_name: ClassVar[str] = "Random"
    label_fields: ClassVar[tuple[str, ...]] = ("{tokens} tokens", "seed {seed}")
    solved_fields: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        check_count("tokens", self.tokens)
        check_count("seed", self.seed, low=0)

    def retained_count(self, shape: TokenShape) -> int:
        """Return T, or all that there are."""
        return min(self.tokens, shape.tokens)

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than an image has."""
        check_count("tokens", self.tokens, shape.tokens)

    def reduce(self, view: ImageView) -> Reduced:
        """Return them."""
        order = torch.randperm(len(view.tokens), generator=view.generator)
        return view.take(order[: self.tokens].sort().values)
