"""Numbers as they are printed."""

import re
from itertools import groupby
from typing import Any

NONE = "-"


def score(value: float | None) -> str:
    """With one decimal, as in the paper."""
    return NONE if value is None else f"{value:.1f}"


def difference(value: float | None) -> str:
    """With a sign, and zero as +0.0, as in the paper."""
    if value is None:
        return NONE
    text = f"{value:+.1f}"
    return "+0.0" if text == "-0.0" else text


def count(value: Any) -> str:
    """A whole number."""
    return NONE if value is None else f"{value:.0f}"


def flops(value: float | None, unit: str) -> str:
    """TFLOPs in a unit from `flops_unit`, with the paper's digits: 20.8, 9.46, 11.0."""
    if value is None:
        return NONE
    scaled = value * _PER_TERA[unit]
    return f"{scaled:.1f}" if scaled >= 10 else f"{scaled:.3g}"


def flops_unit(values: list[float | None]) -> str:
    """The unit in which the largest of some TFLOPs is a readable number."""
    largest = max((value for value in values if value is not None), default=1.0)
    return "TFLOPs" if largest >= 0.1 else "GFLOPs"


def total_flops(value: float | None, unit: str) -> str:
    """The operations of a whole training in a unit from `total_flops_unit`, with three digits."""
    return NONE if value is None else f"{value / _TOTAL[unit]:.3g}"


def total_flops_unit(values: list[float | None]) -> str:
    """The largest unit in which the smallest of some counts of operations is at least 1; TFLOPs at least."""
    smallest = min((value for value in values if value), default=0.0)
    fitting = [unit for unit, size in _TOTAL.items() if smallest >= size]
    return fitting[-1] if fitting else "TFLOPs"


def hours(value: float) -> str:
    """Device hours: whole from ten on."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def size(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return NONE
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.2f} MB"


def run_lengths(tokens: Any) -> str:
    """`[144, 144, 72]` as `144 x2, 72 x1`."""
    if not isinstance(tokens, (list, tuple)):
        return NONE
    return ", ".join(f"{exact(number)} x{len([*layers])}" for number, layers in groupby(tokens))


def exact(tokens: float) -> str:
    """A number of tokens: whole, or a mean over samples with one decimal."""
    return f"{tokens:.0f}" if tokens == int(tokens) else f"{tokens:.1f}"


def natural(text: str) -> list[str | float]:
    """A key by which `tokens=64` comes before `tokens=128`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", text)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


_TOTAL = {"TFLOPs": 1e12, "PFLOPs": 1e15, "EFLOPs": 1e18, "ZFLOPs": 1e21}
_PER_TERA = {"TFLOPs": 1.0, "GFLOPs": 1e3}


def of_points(number: float) -> str:
    """1 point, 2 points."""
    return f"{number:g} point{'' if number == 1 else 's'}"
