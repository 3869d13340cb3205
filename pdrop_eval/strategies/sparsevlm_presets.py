"""SparseVLM's official settings, and what lies between them for budgets."""

from itertools import pairwise
from typing import Any

from pdrop_eval.strategies.presets import PATCHES

VERSIONS = ("1.0", "1.5", "plus")
LAYERS = {"1.0": (3, 7, 16, 20), "1.5": (3, 7, 16), "plus": (3, 7, 16)}
COUNTS = {
    "1.5": {"192": (300, 200, 110), "128": (303, 110, 36), "96": (238, 48, 26), "64": (66, 30, 17)},
    "plus": {"192": (300, 200, 118), "128": (238, 108, 60), "96": (246, 54, 28), "64": (66, 34, 20)},
}
_RANKS = {"192": (13.5, 0.0), "128": (9.0, 6.0), "64": (0.8, 0.0)}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "1.0": {name: {"scale": scale, "bias": bias} for name, (scale, bias) in _RANKS.items()},
    **{version: {name: {"counts": c} for name, c in table.items()} for version, table in COUNTS.items()},
}


def between(version: str, share: float) -> tuple[float, ...]:
    """Return ratios that lie between the presets' as `share` of 576 lies between their names.

    Below the smallest preset they go to none, above the largest to all.

    Args:
        version: 1.5 or plus.
        share: in (0, 1].
    """
    known = sorted((int(name), counts) for name, counts in COUNTS[version].items())
    drops = len(known[0][1])
    points = [(0, (0,) * drops), *known, (PATCHES, (PATCHES,) * drops)]
    at = min(share, 1.0) * PATCHES
    (low, few), (high, many) = next(pair for pair in pairwise(points) if at <= pair[1][0])
    part = (at - low) / (high - low)
    ratios = [(a + part * (b - a)) / PATCHES for a, b in zip(few, many, strict=True)]
    return tuple(min(ratios[: i + 1]) for i in range(drops))
