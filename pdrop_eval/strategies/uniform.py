"""Uniform: evenly spaced image tokens; a control that looks at nothing."""

from dataclasses import dataclass
from typing import ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.before import BeforeStrategy, check_count
from pdrop_eval.utils.validation import check_setting

RULES = ("even", "hired")


@dataclass
class Uniform(BeforeStrategy):
    """Keeps every so-manieth image token, before the decoder: a control without any choice.

    Token i of T is number floor(i * n / T) of the image's n, newlines included: exactly T are left. More than
    an image of the model has (its `nominal_shape`) are refused before a sample is computed. Where images
    differ in size, as in LLaVA-NeXT, a smaller one that has fewer than T keeps all of its tokens, and the
    record has the mean that was left.

    Attributes:
        tokens: T, of an image.
        rule: "even": exactly T tokens; "hired": range(0, n - 1, n // T), the spatial baseline of HiRED's
            official code, which keeps another number where T doesn't divide n (144 for 128 of 576).
    """

    tokens: int = 64
    rule: str = "even"
    name: ClassVar[str] = "uniform"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "Uniform"
    label_fields: ClassVar[tuple[str, ...]] = ("{tokens} tokens",)
    solved_fields: ClassVar[tuple[str, ...]] = ("tokens",)

    def __post_init__(self) -> None:
        check_count("tokens", self.tokens)
        check_setting("rule", self.rule, RULES)

    def retained_count(self, shape: TokenShape) -> int:
        """Return how many there are."""
        return len(evenly(shape.tokens, min(self.tokens, shape.tokens), self.rule))

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than an image has."""
        check_count("tokens", self.tokens, shape.tokens)

    def reduce(self, view: ImageView) -> Reduced:
        """Return them."""
        import torch

        n = len(view.tokens)
        return view.take(torch.tensor(evenly(n, min(self.tokens, n), self.rule)))


def evenly(n: int, count: int, rule: str = "even") -> list[int]:
    """Return the ids of `count` of n tokens, evenly spaced."""
    if rule == "hired":
        return list(range(0, n - 1, n // count)) or [0]
    return [i * n // count for i in range(count)]
