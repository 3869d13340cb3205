"""Tests of a difference: by exchanging the two runs' answers, McNemar's, and Holm's correction."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr

from pdrop_eval.benchmarks.scoring.tally import Tally

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
    tail = float(bdtr(min(gained, lost), gained + lost, 0.5))
    return McNemar(gained, lost, min(1.0, 2 * tail))


def permutations(
    baseline: Tally, candidate: Tally, number: int, seed: Sequence[int], coins: Sequence[str] = ()
) -> np.ndarray:
    """The differences that would be seen if each cluster's answers were either run's by a coin: [number].

    Args:
        coins: The name of each cluster's coin (empty: each has its own). With the same seed, coins of one
            name fall alike in every benchmark: what is about the same picture is exchanged together. Only
            clusters that changed can make a difference.
    """
    changed = _changed(baseline, candidate)
    if not len(changed):
        return np.zeros(number)
    names = [coins[i] if coins else str(i) for i in changed]
    thrown = np.stack([_throws(name, number, seed) for name in names], axis=1)
    size = max(1, 20_000_000 // len(changed))
    parts = [thrown[start : start + size] for start in range(0, number, size)]
    return np.concatenate([_exchange(baseline, candidate, changed, part) for part in parts])


def permutation_p(baseline: Tally, candidate: Tally, drawn: np.ndarray) -> float:
    """The share of exchanges that give a difference at least as large, two-sided.

    A randomisation test: exact, by all exchanges, where few clusters changed; else from `drawn`, as
    (1 + as large) / (1 + drawn), which can't be 0 (Phipson and Smyth, SAGMB 9, 2010).
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


def _changed(baseline: Tally, candidate: Tally) -> np.ndarray:
    return np.flatnonzero((baseline.sums != candidate.sums).any(axis=1))


def _throws(name: str, number: int, seed: Sequence[int]) -> np.ndarray:
    """A coin's throws: int8 [number], the same for the same name and seed."""
    own = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng([*seed, own]).integers(0, 2, number, dtype=np.int8)


def _exchange(baseline: Tally, candidate: Tally, changed: np.ndarray, which: np.ndarray) -> np.ndarray:
    """The differences after both runs have exchanged the answers of some changed units: [rows of which]."""
    moved = which @ (candidate.sums - baseline.sums)[changed]
    after, before = candidate.sums.sum(axis=0) - moved, baseline.sums.sum(axis=0) + moved
    return candidate.combine(after) - baseline.combine(before)


def _as_large(seen: float, drawn: np.ndarray) -> np.ndarray:
    return np.abs(drawn) >= abs(seen) - _NEAR
