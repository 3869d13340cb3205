"""What was found for a budget, and the range of budgets that can be met, in numbers and in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from pdrop_eval.efficiency.architecture import Decoder


@dataclass(frozen=True)
class Reached:
    """What was found for a budget.

    asked: such as "tokens=64". tokens, share, tflops: what is reached, in each measure. schedule: image
    tokens of each layer, of `image_tokens` before any drop. layers, counts: the tokens that are left from
    each of these layers on. words: all of it for people.
    """

    asked: str
    tokens: float
    share: float
    tflops: float
    image_tokens: int
    schedule: tuple[int, ...]
    layers: tuple[int, ...]
    counts: tuple[int, ...]
    words: str


def macs(decoder: Decoder, schedule: Sequence[int]) -> int:
    """Return the multiply-adds of PyramidDrop's Eq. 4 over all layers, image tokens only."""
    return sum(decoder.layer(n) for n in schedule)


def reached(asked: str, strategy: Any, decoder: Decoder, image_tokens: int, note: str) -> Reached:
    """Return what a strategy costs. asked: the budget. note: why its layout isn't the usual one, or empty."""
    depth, n = decoder.layers, image_tokens
    schedule = strategy.schedule(depth, n)
    layers = tuple(drop.layer for drop in strategy.drops(depth))
    counts = tuple(strategy.retained(depth, n))
    mean = sum(schedule) / depth
    cost, whole = macs(decoder, schedule), macs(decoder, (n,) * depth)
    settings = {name: getattr(strategy, name) for name in ("k", *strategy.decided) if hasattr(strategy, name)}
    why = f" {note}" if note else ""
    words = (
        f"{asked}: {_settings(settings)}. After layer{'s' * (len(layers) > 1)} {_list(layers)} of "
        f"{depth}, {_list(counts)} of {n} image tokens are left: {mean:.4g} a layer in the mean "
        f"({mean / n:.1%}), {_flops(cost)} of vanilla's {_flops(whole)} ({cost / whole:.1%}).{why}"
    )
    return Reached(asked, mean, mean / n, cost / 1e12, n, schedule, layers, counts, words)


def reachable(low: int, high: int, unit: int) -> str:
    """Return the range of budgets from the least to the most cost, in words; both ends are within reach.

    unit: the cost of a budget of 1.
    """
    fewest, most = _outward(low, unit, ROUND_CEILING), _outward(high, unit, ROUND_FLOOR)
    return f"from {fewest} (one token left after the last drop) to {most} (nothing dropped)"


def _settings(settings: dict[str, Any]) -> str:
    """Those that are set: `layers=[2, 8, 16] ratios=[0.19, 0.0361, 0.006859]`."""
    given = {name: value for name, value in settings.items() if value is not None}
    text = {name: f"[{_list(v)}]" if isinstance(v, tuple) else f"{v}" for name, v in given.items()}
    return " ".join(f"{name}={value}" for name, value in text.items())


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values) or "none"


def _flops(multiply_adds: int) -> str:
    if multiply_adds < 10**10:
        return f"{multiply_adds / 1e9:.3g} GFLOPs"
    return f"{multiply_adds / 1e12:.3g} TFLOPs"


def _outward(cost: int, unit: int, rounding: str) -> str:
    """A bound in four digits, rounded so that it is itself within reach."""
    value = Context(prec=4, rounding=rounding).divide(Decimal(cost), Decimal(unit))
    return f"{value.normalize():f}"
