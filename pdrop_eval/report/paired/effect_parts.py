"""What one benchmark's figures are made of: its standard error, its exchanges, its notes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.bootstrap import Metric, contributions
from pdrop_eval.benchmarks.scoring.interval import Spread
from pdrop_eval.benchmarks.scoring.metric import number_clusters
from pdrop_eval.benchmarks.scoring.significance import McNemar, mcnemar
from pdrop_eval.report.paired.pairing import Pairs

FEW = 10  # with fewer clusters, no interval is to be relied on


@dataclass(frozen=True)
class Parts:
    """What the overall figures are made of too, in points (a score in points is 0 to 100).

    baseline: its score. draws: the bootstrap's scores of baseline and candidate [resamples]. swaps:
    differences after random exchanges of the answers. seen: the share of the variance that a bootstrap of so
    few clusters sees.
    """

    baseline: float
    candidate: float
    draws: tuple[np.ndarray, np.ndarray]
    swaps: np.ndarray
    seen: float

    def error(self, baseline: float = 1.0, candidate: float = 1.0) -> float:
        """The standard error of candidate times its weight minus baseline times its own."""
        first, second = self.draws
        return float(np.std(second * candidate - first * baseline, ddof=1)) / math.sqrt(self.seen)

    def ratio(self, spread: Spread) -> Spread:
        """The spread of candidate / baseline in %, minus 100, from that of the difference.

        By the delta method: a draw's baseline may be 0, a ratio to it can't be formed.
        """
        scale, ratio = 100 / self.baseline, self.candidate / self.baseline
        return replace(
            spread,
            difference=100 * (ratio - 1),
            error=self.error(scale * ratio, scale),
            moved=spread.moved * scale,
            most=spread.most * scale,
        )


def make_spread(
    metrics: tuple[Metric, Metric],
    draws: tuple[np.ndarray, np.ndarray],
    scale: float,
    pictures: Sequence[str | None] = (),
) -> tuple[Spread, float]:
    """The spread of one benchmark's difference, and the share of its variance that the bootstrap sees.

    draws: the bootstrap's scores of both runs, in the metric's units; scale: of those to a point. pictures:
    what each cluster is about, if that is known.
    """
    baseline, candidate = metrics
    added = contributions(baseline, candidate)
    apart = added.copy()
    for members in baseline.strata:
        apart[members] -= added[members].mean()
    seen = _seen(apart, baseline.strata)
    spread = Spread(
        difference=(candidate.value - baseline.value) / scale,
        error=float(np.std(draws[1] - draws[0], ddof=1)) / math.sqrt(seen) / scale,
        moved=float(np.abs(added).sum()) / scale,
        most=baseline.largest / scale,
        questions=baseline.questions,
        clusters=len(baseline.sums),
        freedom=max(1.0, len(baseline.sums) - len(baseline.strata)),
        pictures=_by_picture(apart, pictures),
    )
    return spread, seen


def _seen(apart: np.ndarray, strata: Sequence[np.ndarray]) -> float:
    """The share of the variance that a bootstrap sees: (m - 1) / m of each stratum of m clusters.

    apart: what each cluster adds to the difference, less the mean of its stratum. A stratum of one has no
    variance to see; only where there is no other cluster at all (`resampling_metrics` joins them).
    """
    inside = [float((apart[members] ** 2).sum()) for members in strata]
    sizes = [max(len(members), 2) for members in strata]
    whole = sum(part * size / (size - 1) for part, size in zip(inside, sizes, strict=True))
    return sum(inside) / whole if whole > 0 else fmean((size - 1) / size for size in sizes)


def _by_picture(apart: np.ndarray, pictures: Sequence[str | None]) -> dict[str, float]:
    """What each picture adds, in units of the root of the sum of squares over clusters."""
    unit = math.sqrt(float((apart**2).sum())) or 1.0
    found: dict[str, float] = {}
    for picture, share in zip(pictures, (apart / unit).tolist(), strict=False):
        if picture is not None:
            found[picture] = found.get(picture, 0.0) + share
    return found


def exact_test(pairs: Pairs) -> McNemar | None:
    """Of questions (MMBench's with all their copies); None where a score is between right and wrong."""
    first, second = pairs.samples
    if any(sample["score"] not in (0, 1) for sample in (*first, *second)):
        return None
    marks = list(zip(first, second, strict=True))
    if benchmarks()[pairs.benchmark].resample == "questions":  # the copies of a question all have its score
        marks = list(dict(zip(number_clusters(first).tolist(), marks, strict=True)).values())
    gained = sum(one["score"] < other["score"] for one, other in marks)
    return mcnemar(gained, sum(one["score"] > other["score"] for one, other in marks))


def make_notes(pairs: Pairs, clusters: int, exact: McNemar | None) -> list[str]:
    """What a reader should know of these numbers."""
    n, notes = len(pairs.pairs), []
    if exact and clusters < n and benchmarks()[pairs.benchmark].resample != "questions":
        notes.append(
            f"McNemar's test treats the {n} questions as independent; they are about {clusters} pictures. "
            "Interval and p don't."
        )
    if clusters < FEW:
        notes.append(f"only {clusters} clusters: the interval is rough")
    if any(pairs.left_over):
        notes.append(
            f"left out: {pairs.left_over[0]} samples of the baseline, {pairs.left_over[1]} of the candidate, "
            "that the other has not"
        )
    return notes
