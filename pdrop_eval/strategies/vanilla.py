"""Vanilla: the model as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.utils.errors import UserError


@dataclass
class Vanilla(Strategy):
    """Drops nothing: the baseline, with the same report as the others."""

    name: ClassVar[str] = "vanilla"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "vanilla"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#404040", "dark": "#d0d0d0", "marker": "*", "linestyle": "-", "order": 0
    }  # fmt: skip

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return no drops."""
        return ()

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return no counts."""
        return ()

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Refuse: there is nothing to decide."""
        raise UserError(
            "vanilla drops nothing, so it can't be fitted to a budget: use strategy=pdrop or strategy=fastv, "
            "or leave the budget out."
        )
