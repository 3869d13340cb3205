"""What is said of a budget: its range, settings, layers and FLOPs in words. Needs no torch."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any


def reachable(low: int, high: int, unit: int, left: int, most: str) -> str:
    """Return the range of budgets from the least to the most cost, in words; both ends are within reach.

    Args:
        low: The least cost.
        high: The most.
        unit: The cost of a budget of 1.
        left: The image tokens after the last drop at the least cost.
        most: What is done at the most cost, in words.
    """
    last = {0: "none", 1: "one token"}.get(left, f"{left} tokens")
    fewest, highest = _outward(low, unit, ROUND_CEILING), _outward(high, unit, ROUND_FLOOR)
    return f"from {fewest} ({last} left after the last drop) to {highest} ({most})"


def settings_text(settings: dict[str, Any]) -> str:
    """Return those that are set: `layers=[2, 8, 16] ratios=[0.19, 0.0361, 0.006859]`."""
    given = {name: value for name, value in settings.items() if value is not None}
    text = {name: f"[{listed(v)}]" if isinstance(v, tuple) else f"{v}" for name, v in given.items()}
    return " ".join(f"{name}={value}" for name, value in text.items())


def listed(values: Sequence[float]) -> str:
    """Return numbers with commas between them: `2, 8, 16`."""
    return ", ".join(f"{value:.6g}" for value in values) or "none"


def flops_text(multiply_adds: int) -> str:
    """Return multiply-adds with three digits, in GFLOPs or TFLOPs."""
    if multiply_adds < 10**10:
        return f"{multiply_adds / 1e9:.3g} GFLOPs"
    return f"{multiply_adds / 1e12:.3g} TFLOPs"


def _outward(cost: int, unit: int, rounding: str) -> str:
    """A bound in four digits, rounded so that it is itself within reach."""
    value = Context(prec=4, rounding=rounding).divide(Decimal(cost), Decimal(unit))
    return f"{value.normalize():f}"
