"""A benchmark's score as a function of sums over clusters, and what follows: its draws and its swaps.

A cluster is what belongs together: the questions about one picture, MME's pairs, a question with its copies.
Every score of the registry can be computed from sums over clusters (of marks, of true positives, of a
category's questions), so drawing clusters again, or giving some of them the other run's answers, is a product
of matrices and the metric itself is computed anew each time. No torch, no pandas.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_CELLS = 20_000_000  # numbers of one block of draws: 160 MB


@dataclass(frozen=True)
class Metric:
    """A run's score from its samples.

    sums: what each cluster adds, float64 [clusters, k]. combine: sums [..., k] -> scores [...], in the units
    of the record (MME's sum, else 0 to 100). strata: indices of the clusters that are drawn among themselves;
    MME's categories are fixed by its design (with one picture each, several are
    one), everything else is one stratum. best, worst: what each cluster
    would add with all of its questions right, and wrong. questions: how many count, MMBench's with its copies
    as one.
    """

    sums: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray]
    strata: tuple[np.ndarray, ...]
    best: np.ndarray
    worst: np.ndarray
    questions: int

    @property
    def value(self) -> float:
        """The score of all samples."""
        return float(self.combine(self.sums.sum(axis=0)))

    @property
    def largest(self) -> float:
        """The largest change of the score that the answers of one cluster could make."""
        others = self.sums.sum(axis=0) - self.sums
        return float(np.max(self.combine(others + self.best) - self.combine(others + self.worst)))


def draw_clusters(metric: Metric, resamples: int, seed: Sequence[int]) -> Iterator[np.ndarray]:
    """How often each cluster is drawn: blocks of float64 [some draws, clusters], `resamples` rows in all."""
    random = np.random.default_rng(seed)
    number = len(metric.sums)
    for block in _blocks(resamples, number):
        counts = np.zeros((block, number))
        for members in metric.strata:
            counts[:, members] = random.multinomial(
                len(members), np.full(len(members), 1 / len(members)), size=block
            )
        yield counts


def bootstrap(
    baseline: Metric, candidate: Metric, blocks: Iterable[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Both runs' scores for the same draws (see `draw_clusters`): float64 [resamples] each."""
    found = [[metric.combine(counts @ metric.sums) for metric in (baseline, candidate)] for counts in blocks]
    first, second = (np.concatenate(part) for part in zip(*found, strict=True))
    return first, second


def swapped(baseline: Metric, candidate: Metric, moved: np.ndarray) -> np.ndarray:
    """The difference candidate - baseline after the two have exchanged the answers of some clusters.

    moved: candidate's sums minus baseline's of the clusters that are exchanged, [draws, k]. Returns [draws].
    """
    after, before = candidate.sums.sum(axis=0) - moved, baseline.sums.sum(axis=0) + moved
    return candidate.combine(after) - baseline.combine(before)


def contributions(baseline: Metric, candidate: Metric) -> np.ndarray:
    """What each cluster adds to the difference: float64 [clusters].

    The mean of two ways to see it: the baseline with the cluster's answers of the candidate, and the
    candidate with those of the baseline. For a mean over questions the sum over clusters is the difference
    itself; for F1 and for what isn't linear nearly so.
    """
    change = candidate.sums - baseline.sums
    before, after = baseline.sums.sum(axis=0), candidate.sums.sum(axis=0)
    gained = baseline.combine(before + change) - baseline.combine(before)
    lost = candidate.combine(after) - candidate.combine(after - change)
    return (gained + lost) / 2


def _blocks(rows: int, width: int) -> Iterator[int]:
    size = max(1, _CELLS // max(width, 1))
    while rows > 0:
        yield min(size, rows)
        rows -= size
