"""Tests of a difference: by exchanging the two runs' answers, McNemar's, and Holm's correction."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pdrop_eval.compare.resampling import Metric, swapped

_ALL = 12  # up to so many changed clusters, every exchange is tried: 4,096
_NEAR = 1e-9  # differences that are equal but for rounding


@dataclass(frozen=True)
class McNemar:
    """Questions that only the candidate has right, that only the baseline has right, and the exact p."""

    gained: int
    lost: int
    p: float


def mcnemar(gained: int, lost: int) -> McNemar:
    """The exact test (McNemar, Psychometrika 12, 1947; two-sided binomial): are gains and losses alike?"""
    n, few = gained + lost, min(gained, lost)
    tail = sum(math.comb(n, k) for k in range(few + 1))
    return McNemar(gained, lost, min(1.0, 2 * tail / 2**n))


def swaps(baseline: Metric, candidate: Metric, number: int, seed: Sequence[int]) -> np.ndarray:
    """The differences that would be seen if each cluster's answers were either run's by a coin: [number].

    Only clusters that changed can make one.
    """
    changed = _changed(baseline, candidate)
    random = np.random.default_rng(seed)
    found = np.zeros(number)
    size = max(1, 20_000_000 // max(len(changed), 1))
    for start in range(0, number, size):
        rows = found[start : start + size]
        rows[:] = _exchange(baseline, candidate, changed, random.integers(0, 2, (len(rows), len(changed))))
    return found


def swap_p(baseline: Metric, candidate: Metric, drawn: np.ndarray) -> float:
    """The share of exchanges that give a difference at least as large, two-sided.

    A randomisation test: exact, by all exchanges, where few clusters changed; else from `drawn` (see `swaps`)
    as (1 + as large) / (1 + drawn), which can't be 0 (Phipson and Smyth, SAGMB 9, 2010).
    """
    changed = _changed(baseline, candidate)
    if not len(changed):
        return 1.0
    seen = abs(candidate.value - baseline.value)
    if len(changed) > _ALL:
        return p_of(seen, drawn)
    every = (np.arange(2 ** len(changed))[:, None] >> np.arange(len(changed))) & 1
    return float(np.mean(_as_large(seen, _exchange(baseline, candidate, changed, every))))


def p_of(seen: float, drawn: np.ndarray) -> float:
    """The two-sided p of a difference among drawn ones."""
    return float((1 + np.sum(_as_large(seen, drawn))) / (1 + len(drawn)))


def holm(values: Sequence[float]) -> list[float]:
    """P-values after Holm's correction for their number (Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted, most = [0.0] * len(values), 0.0
    for rank, i in enumerate(order):
        most = max(most, min(1.0, (len(values) - rank) * values[i]))
        adjusted[i] = most
    return adjusted


def _changed(baseline: Metric, candidate: Metric) -> np.ndarray:
    return np.flatnonzero((baseline.sums != candidate.sums).any(axis=1))


def _exchange(baseline: Metric, candidate: Metric, changed: np.ndarray, which: np.ndarray) -> np.ndarray:
    moved = which @ (candidate.sums - baseline.sums)[changed]
    return swapped(baseline, candidate, moved)


def _as_large(seen: float, drawn: np.ndarray) -> np.ndarray:
    return np.abs(drawn) >= abs(seen) - _NEAR
