"""Combine: one strategy before the decoder, and another one in it on what is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any

from pdrop_eval.efficiency import budget
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.base import Strategy, no_budget
from pdrop_eval.strategies.combinations import flattened, keys_of
from pdrop_eval.strategies.registry import combination, described
from pdrop_eval.strategies.two_stage import TwoStage, fitted
from pdrop_eval.utils.errors import UserError, naming


@dataclass(repr=False)
class Combine(TwoStage):
    """Two strategies as one: the first acts before the decoder, the second in it on what is left.

    `Combine(VisionZip(dominant=54, contextual=10), PyramidDrop(ratio=0.5))`, or on the command line
    `combine=[visionzip,{pdrop:{ratio:0.4}}]`. A budget decides the settings of the first half: how many
    tokens it leaves so that the second, as it is set, comes to the budget.

    Attributes:
        first: a strategy before the decoder.
        second: a strategy in it.
    """

    first: Strategy
    second: Strategy

    def __post_init__(self) -> None:
        _check_halves(self.first, self.second)
        self.settle()
        found = combination([described(self.first), described(self.second)])
        said = ("name", "display_name", "paper", "label_fields", "solved_fields")
        vars(self).update({name: getattr(found, name) for name in said})

    def __repr__(self) -> str:
        return f"Combine({self.first!r}, {self.second!r})"

    @property
    def keys(self) -> list[str]:
        """What stands in front of the halves' settings."""
        return keys_of([self.first.name, self.second.name])

    @property
    def port(self) -> str:
        """The name of the first half, by which families know what it makes of images."""
        return str(self.first.name)

    def settings(self) -> dict[str, Any]:
        """Return the settings of both, each with its half's name in front."""
        halves = (self.first.settings(), self.second.settings())
        return flattened(dict(zip(self.keys, halves, strict=True)))

    @contextmanager
    def _naming(self, half: int) -> Iterator[None]:
        with naming((self.first, self.second)[half].settings(), f"{self.keys[half]}."):
            yield

    @classmethod
    def for_budget(
        cls,
        model: Any,
        *,
        tokens: float | None = None,
        share: float | None = None,
        tflops: float | None = None,
        image_tokens: int | None = None,
        **halves: Any,
    ) -> Any:
        """Return the combination whose first half leaves what the budget allows; see `Strategy.for_budget`.

        Args:
            model: the model, or its config.
            tokens: the budget, as the next two.
            share: the same.
            tflops: the same.
            image_tokens: of a sample.
            **halves: first and second.

        Raises:
            UserError: also of a half whose counts no setting decides.
        """
        whole: Combine = cls(**halves)
        first, second = whole.first, whole.second
        if first.adaptive:
            raise no_budget(first.display_name)
        if not callable(getattr(first, "for_count", None)):
            raise budget.no_layouts(first.display_name)
        kept = _given(first)

        def build(count: int, shape: TokenShape, layers: int) -> Combine:
            count = max(count, second.asked_count(layers))
            return cls(first.for_count(count, shape, **kept), second)  # type: ignore[attr-defined]

        asked = {"tokens": tokens, "share": share, "tflops": tflops}
        most = f"{second.name} as it is set, on all tokens"
        return fitted(whole.display_name, model, asked, image_tokens, build, most)


def _check_halves(first: Any, second: Any) -> None:
    """Refuse what isn't one strategy before the decoder and one in it."""
    example = "as in Combine(VisionZip(), PyramidDrop()), or combine=[visionzip,pdrop]"
    for half in (first, second):
        if not isinstance(half, Strategy):
            raise UserError(f"{half!r} is no strategy: a combination has two, {example}.")
        if isinstance(half, TwoStage):
            raise UserError(
                f"{half.name} is a combination itself: combine a strategy before the decoder with one in it, "
                f"{example}."
            )
    before = [half.reducer is not None for half in (first, second)]
    if all(before):
        raise UserError(
            f"{first.name} and {second.name} both act before the decoder, and a combination has one there "
            f"and one in it, {example}."
        )
    if before == [False, True]:
        raise UserError(
            f"{first.name} acts in the decoder and {second.name} before it: name the latter first, "
            f"combine=[{second.name},{first.name}]."
        )
    idle = [half.name for half in (first, second) if half.name == "vanilla"]
    if idle:
        raise UserError(f"vanilla drops nothing, so there is nothing to combine: leave it out, {example}.")
    if not any(before):
        raise UserError(
            f"{first.name} and {second.name} both act in the decoder, and a combination has one before it "
            f"and one in it, {example}."
        )
    if getattr(second, "needs_grid", False):
        raise UserError(
            f"{second.name} goes by the places of tokens on an image's grid, which {first.name} doesn't "
            "leave whole: combine it with none, or take another one in the decoder."
        )


def _given(strategy: Any) -> Mapping[str, Any]:
    """The settings that a budget leaves as they are."""
    usual = {
        field.name: None if field.default is MISSING else field.default
        for field in (fields(strategy) if is_dataclass(strategy) else ())
    }
    decided = {*strategy.solved_fields}
    found = {name: getattr(strategy, name) for name in usual if name not in decided}
    return {name: value for name, value in found.items() if value != usual[name]}
