"""What many pairs of runs differ in, at once: the arithmetic of `difference`, whose docstring derives it.

The runs of all pairs were asked the same, so what depends on the questions alone is the same for all. The
first axis of every array is the pair; each pair has the numbers that it has alone, to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Metric
from pdrop_eval.benchmarks.scoring.tally import Tally


@dataclass(frozen=True)
class Units:
    """What is resampled, in points, an entry for each unit along the last axis.

    Attributes:
        baseline: What the unit moves the baseline's score by.
        candidate: The same of the candidate's.
        weights: The points of the score that it carries.
        pictures: What it is about, by which benchmarks know each other's units; None: not known.
    """

    baseline: np.ndarray
    candidate: np.ndarray
    weights: np.ndarray
    pictures: Sequence[str | None]


NO_UNITS = Units(np.zeros(0), np.zeros(0), np.zeros(0), ())


@dataclass(frozen=True)
class Differences:
    """As `difference.Difference`, which explains the fields; float64 [pairs], but for two counts."""

    value: np.ndarray
    n: int
    clusters: int
    changed: np.ndarray
    error: np.ndarray
    moved: np.ndarray
    span: np.ndarray
    questions: np.ndarray
    effective: np.ndarray
    freedom: np.ndarray
    units: Units

    def relative(self, baseline: np.ndarray, candidate: np.ndarray) -> "Differences":
        """The differences of candidate / baseline from 1, in %, by the delta method; see `Difference`."""
        scale, ratio = 100 / baseline, candidate / baseline
        own, by = self.units, scale[:, None]
        units = Units(own.baseline * by * ratio[:, None], own.candidate * by, own.weights * by, own.pictures)
        return replace(
            self,
            value=100 * (ratio - 1),
            error=_norm(units.candidate - units.baseline),
            moved=self.moved * scale,
            span=self.span * scale,
            units=units,
        )

    def some(self, which: np.ndarray) -> "Differences":
        """Those of some pairs: their places, int64 [some]."""
        own = {name: value[which] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        units = replace(
            self.units,
            **{name: getattr(self.units, name)[which] for name in ("baseline", "candidate", "weights")},
        )
        return replace(self, **own, units=units)


def tallied_differences(
    metric: Metric, one: Tally, other: Tally, pictures: Sequence[str | None], n: int, changed: np.ndarray
) -> Differences:
    """The differences of one benchmark.

    Args:
        metric: The benchmark's.
        one: The baselines' samples, added up: sums [pairs, units, k] and influences [pairs, units]; what
            doesn't depend on the answers is as in the tally of one run.
        other: The candidates', of the same units.
        pictures: What each unit is about, see `difference.pictures_of`.
        n: Questions.
        changed: How many of them earned something else, int64 [pairs].
    """
    scale, pairs = metric.range[1] / 100, len(changed)
    weights = one.weights / scale
    shape = (pairs, len(weights))
    units = Units(one.influences / scale, other.influences / scale, np.broadcast_to(weights, shape), pictures)
    whole = float(weights.sum())
    totals = before, after = _totals(one), _totals(other)
    value = np.asarray(other.combine(after) - one.combine(before))[..., 0]
    return Differences(
        value=value / scale,
        n=n,
        clusters=len(weights),
        changed=changed,
        error=_norm(units.candidate - units.baseline),
        moved=np.abs(contributions(one, other, totals)).sum(axis=-1) / scale,
        span=np.full(pairs, whole),
        questions=np.full(pairs, float(weights.sum() ** 2 / (weights**2 / one.sizes).sum())),
        effective=np.full(pairs, float(weights.sum() ** 2 / (weights**2).sum())),
        freedom=np.full(pairs, one.freedom),
        units=units,
    )


def mean_differences(every: Sequence[Differences]) -> Differences:
    """The means over benchmarks, see `difference.mean_difference`; of a single one it is that one."""
    if len(every) == 1:
        return every[0]
    k, span = len(every), _added([one.span for one in every])
    errors, freedoms, questions, effective = (
        np.stack(columns, axis=-1)
        for columns in (
            [one.error for one in every],
            [one.freedom for one in every],
            [_square(one.span) / one.questions for one in every],
            [_square(one.span) / one.effective for one in every],
        )
    )
    moved, weights, repeated = _shared([one.units for one in every])
    variances = np.clip(moved, 0, errors[:, :, None] * errors[:, None, :])
    variances[:, range(k), range(k)] += errors**2
    rows = variances.sum(axis=-1)
    shared = weights.reshape(len(weights), -1).sum(axis=-1)
    most = np.maximum(1.0, freedoms.sum(axis=-1) - repeated)
    total, known = rows.sum(axis=-1), rows.any(axis=-1)
    spread = (rows**2 / freedoms).sum(axis=-1)
    freedom = np.divide(_square(total), spread, out=most.copy(), where=known)
    return Differences(
        value=_added([one.value for one in every]) / k,
        n=sum(one.n for one in every),
        clusters=sum(one.clusters for one in every) - repeated,
        changed=np.sum([one.changed for one in every], axis=0),
        error=np.sqrt(total) / k,
        moved=_added([one.moved for one in every]) / k,
        span=span / k,
        questions=_square(span) / (questions.sum(axis=-1) + shared),
        effective=_square(span) / (effective.sum(axis=-1) + shared),
        freedom=np.minimum(most, freedom),
        units=NO_UNITS,
    )


def values_of(tally: Tally) -> np.ndarray:
    """The scores of runs: [runs] of sums [runs, units, k]."""
    return np.asarray(tally.combine(tally.sums.sum(axis=-2)))


def _totals(tally: Tally) -> np.ndarray:
    return tally.sums.sum(axis=-2, keepdims=True)


def contributions(
    baseline: Tally, candidate: Tally, totals: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """What each unit adds to the difference: float64 [..., units] of sums [..., units, k].

    The mean of two ways to see it: the baseline with the unit's answers of the candidate, and the candidate
    with those of the baseline. For a mean over questions the sum over units is the difference itself; for F1
    nearly so.

    Args:
        baseline: its answers, added up.
        candidate: the same.
        totals: the sums of both over all units, [..., 1, k], where they are known.
    """
    before, after = totals or (_totals(baseline), _totals(candidate))
    change = candidate.sums - baseline.sums
    gained = baseline.combine(before + change) - baseline.combine(before)
    lost = candidate.combine(after) - candidate.combine(after - change)
    return np.asarray((gained + lost) / 2)


def _norm(values: np.ndarray) -> np.ndarray:
    return np.sqrt((values**2).sum(axis=-1))


def _square(values: np.ndarray) -> np.ndarray:
    """Squares as Python has them of single numbers, which can be a bit from numpy's of an array."""
    return np.array([value**2 for value in values.tolist()])


def _added(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Sums over benchmarks as Python has them: newer versions add more exactly than numpy."""
    return np.array([sum(row) for row in np.stack(columns, axis=-1).tolist()])


def _shared(every: Sequence[Units]) -> tuple[np.ndarray, np.ndarray, int]:
    """What benchmarks have in common, by picture.

    Returns:
        For each two benchmarks the sum over shared pictures of what they move in both, and of what they weigh
        in both, float64 [pairs, benchmarks, benchmarks] with zeros in the diagonal; and how many times a
        picture is asked about again by another benchmark.
    """
    known = [_places(units.pictures) for units in every]
    products = np.zeros((2, max(len(units.baseline) for units in every), len(every), len(every)))
    sums: dict[int, np.ndarray] = {}
    for i, one in enumerate(known):
        for j, other in enumerate(known[:i]):
            both = [picture for picture in one if picture in other]
            if not both:
                continue
            for at in (i, j):
                if at not in sums:
                    sums[at] = _by_picture(every[at], known[at])
            first, second = (sums[at][:, :, [known[at][picture] for picture in both]] for at in (i, j))
            products[:, :, i, j] = products[:, :, j, i] = (first * second).sum(axis=-1)
    return products[0], products[1], sum(map(len, known)) - len({name for one in known for name in one})


def _places(pictures: Sequence[str | None]) -> dict[str, int]:
    """Numbers of the pictures that are known, in order of appearance."""
    found: dict[str, int] = {}
    for picture in pictures:
        if picture is not None:
            found.setdefault(picture, len(found))
    return found


def _by_picture(units: Units, places: Mapping[str, int]) -> np.ndarray:
    """What each picture moves, and what it weighs: float64 [2, pairs, pictures]."""
    known = [unit for unit, picture in enumerate(units.pictures) if picture is not None]
    both = np.stack([units.candidate - units.baseline, units.weights])[..., known]
    found = np.zeros((len(places), *both.shape[:2]))
    at = np.array([places[picture] for picture in units.pictures if picture is not None], dtype=int)
    np.add.at(found, at, np.moveaxis(both, -1, 0))
    return np.moveaxis(found, 0, -1)
