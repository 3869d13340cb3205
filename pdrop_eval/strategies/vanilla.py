"""Vanilla: the model as it is."""

from dataclasses import dataclass
from typing import ClassVar

from pdrop_eval.engine.interface import Drop
from pdrop_eval.strategies.base import Strategy


@dataclass
class Vanilla(Strategy):
    """Drops nothing: the baseline, with the same report as the others."""

    name: ClassVar[str] = "vanilla"

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return no drops."""
        return ()

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return no counts."""
        return ()
