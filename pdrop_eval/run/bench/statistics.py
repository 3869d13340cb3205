"""Medians with quartiles over rounds, speed-ups within each round, and the FLOPs bounds beside them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.efficiency.model_flops import speedup_bound

# What a phase's FLOPs are called in the whole model's count.
PARTS = {"prefill": "prefill", "ttft": "ttft", "decode": "decode", "answer": "total"}


def quartiles(values: Sequence[float]) -> list[float]:
    """Lower quartile, median, upper quartile."""
    if len(values) < 2:
        return [float(value) for value in values] * 3
    return statistics.quantiles(values, n=4, method="inclusive")


def speedup(vanilla: Sequence[float], own: Sequence[float]) -> list[float]:
    """Quartiles of vanilla's time over the strategy's of the same round."""
    return quartiles([a / b for a, b in zip(vanilla, own, strict=True)])


def phase_numbers(
    seconds: Sequence[float],
    cpu_seconds: Sequence[float],
    vanilla: Sequence[float] | None,
    vanilla_cpu: Sequence[float] | None,
    bound: float | None,
) -> dict[str, Any]:
    """What a record says of a phase; a speed-up only where vanilla was measured too."""
    return {
        "seconds": quartiles(seconds),
        "speedup": None if vanilla is None else speedup(vanilla, seconds),
        "cpu_speedup": None if vanilla_cpu is None else speedup(vanilla_cpu, cpu_seconds),
        "bound": bound,
        "all_seconds": list(seconds),
        "all_cpu_seconds": list(cpu_seconds),
    }


def bounds(config: Any, strategy: Any, sample: Any, new_tokens: int) -> dict[str, float]:
    """How many times each phase's FLOPs of a strategy go into vanilla's."""
    return {
        phase: speedup_bound(
            config,
            strategy,
            sample.image_tokens,
            sample.text_tokens,
            part=part,
            new_tokens=new_tokens,
            tiles=sample.tiles,
        )
        for phase, part in PARTS.items()
    }


def throughput(seconds: Sequence[float], rows: int, new_tokens: int) -> Mapping[str, list[float]]:
    """Samples and tokens a second of whole answers; the first token comes with the prefill."""
    samples = quartiles([rows / one for one in seconds])
    return {
        "samples_per_second": samples,
        "tokens_per_second": [rate * (new_tokens + 1) for rate in samples],
    }


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The exponent a of values = c·sizes^a by least squares of the logarithms, and its standard error.

    Needs three sizes for an error; with two the line is exact and the error 0.
    """
    x, y = ([math.log(value) for value in both] for both in (sizes, values))
    slope, intercept = statistics.linear_regression(x, y)
    if len(x) < 3:
        return slope, 0.0
    left = sum((b - slope * a - intercept) ** 2 for a, b in zip(x, y, strict=True))
    middle = statistics.fmean(x)
    spread = sum((a - middle) ** 2 for a in x)
    return slope, math.sqrt(left / (len(x) - 2) / spread)
