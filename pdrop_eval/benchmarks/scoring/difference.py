"""The difference of two runs that answered the same questions, with its one 95% interval.

`paired_difference` is of one benchmark, `mean_difference` of several; `pdrop-eval-compare`, figures, findings
and the site show what these give, and nothing else.

Standard error: what each unit moves the candidate's score by, less what it moves the baseline's
(`tally.linearise`). A unit that is hard for both runs adds nothing.

Shape: estimate +- t standard errors fails where few questions changed, so the interval has the shape of
Tango's score interval for the difference of paired proportions (Statistics in Medicine 17, 1998, 891-908). It
needs counts of questions gained and lost; here they are those that, if each were worth the same points, would
give the difference, its standard error, and the sum of what single units changed (fractions are allowed). For
independent right-or-wrong questions that is Tango's interval itself, but for the variance of a sample, which
divides by n - 1; with many changes it is estimate +- t standard errors. Two additions, both for few changes
or units: in the points of a change, half a question of mean weight is counted in, because small changes alone
say little of how large the next one is; and the normal quantile is replaced by Student's.

Weights: questions may weigh differently (MMStar's subcategories; benchmarks of different sizes in a mean), so
their number is Kish's effective one, (sum w)^2 / sum w^2 with w the points that each carries (Survey
Sampling, 1965, section 11.7). A weighted mean has the variance of a plain one of so many.

No change: where no unit changed, the bound is the exact binomial one (Clopper and Pearson, Biometrika 26,
1934, 404-413): at most a share 1 - (alpha / 2)^(1 / n) of n units would change, near 3.7 / n. Here n is the
effective number of units (a picture may change with all its questions), and the bound is that share of the
score's range: 10.9 points for 32 questions, and 14.2 if they are MMStar's with subcategories so unequal that
they are worth 24. It is not the sum of the worst that each subcategory could have hidden: that would take all
of them to be as unlucky as can be, all at once.

`make coverage` measures how often these intervals hold the truth (`results/compare/coverage.md`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

from pdrop_eval.benchmarks.scoring.differences import (
    NO_UNITS,
    Differences,
    Units,
    mean_differences,
    tallied_differences,
)
from pdrop_eval.benchmarks.scoring.metric import Metric
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, unit_numbers

LEVEL = 0.95
METHOD = (
    "Intervals: Tango's score interval for paired proportions, with the standard error of the metric itself "
    "over what is resampled together, so that it also holds where few answers changed, and Student's "
    "quantile where pictures are few. results/compare/coverage.md has how often they hold the truth."
)
POWER = 0.8
_STEPS = 60  # halvings of an interval of length 2: to the last bit
_PRIOR = 0.5  # questions of mean weight that count in the points of one change
# Of `Differences`: what each pair has of its own.
_OWN = ("value", "changed", "error", "moved", "span", "questions", "effective", "freedom")
_OF_UNITS = ("baseline", "candidate", "weights")

Interval = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """The candidate's score minus the baseline's, in points of 0 to 100 (MME / 20).

    Attributes:
        value: The difference.
        n: Questions.
        clusters: Units that were resampled; what several benchmarks ask about one picture is one.
        changed: Questions that earned something else.
        error: The standard error.
        moved: The sum of what single units changed, without signs.
        span: The range of the score.
        questions: The effective number of questions.
        effective: The effective number of units.
        freedom: Degrees of freedom of the standard error.
        units: What was resampled; of a mean over benchmarks none.
    """

    value: float
    n: int
    clusters: int
    changed: int
    error: float
    moved: float
    span: float
    questions: float
    effective: float
    freedom: float
    units: Units = field(repr=False, compare=False)

    @cached_property
    def interval(self) -> Interval:
        """The 95% interval."""
        return self.interval_at(LEVEL)

    def interval_at(self, level: float) -> Interval:
        """The interval of a level, as far as scores from 0 to 100 can differ."""
        low, high = self.ends(level)
        return max(low, -100.0), min(high, 100.0)

    def ends(self, level: float = LEVEL) -> Interval:
        """Both ends of the interval of a level, also where they lie beyond what scores can differ."""
        if self.moved == 0:
            bound = self.span * (1 - ((1 - level) / 2) ** (1 / self.effective))
            return self.value - bound, self.value + bound
        gained, lost, size = self._changes()
        low, high = tango(gained, lost, self.questions, float(stdtrit(self.freedom, (1 + level) / 2)))
        return low * size * self.questions, high * size * self.questions

    @property
    def sign(self) -> int:
        """1 or -1 if the whole 95% interval lies on that side of zero, else 0."""
        return self.sign_at(LEVEL)

    def sign_at(self, level: float) -> int:
        """The same of the interval of a level: at no difference, Tango's score is McNemar's."""
        if self.moved == 0:
            low, high = self.ends(level)
            return 1 if low > 0 else -1 if high < 0 else 0
        gained, lost, _ = self._changes()
        z = float(stdtrit(self.freedom, (1 + level) / 2))
        within = abs(gained - lost) / math.sqrt(gained + lost) <= z
        return 0 if within else 1 if gained > lost else -1

    @property
    def detectable(self) -> float:
        """The minimum detectable effect: shown with 80% power at the two-sided level of 5%.

        (1.96 + 0.84) standard errors (Bloom, Evaluation Review 19, 1995, 547-556); the standard error is half
        of the 95% interval over 1.96, which is not 0 where nothing changed.
        """
        low, high = self.ends()
        normal = NormalDist()
        z = normal.inv_cdf((1 + LEVEL) / 2)
        return (z + normal.inv_cdf(POWER)) * (high - low) / 2 / z

    def relative(self, baseline: float, candidate: float) -> "Difference":
        """The difference of candidate / baseline from 1, in %, by the delta method.

        Args:
            baseline: The baseline's score in points; not 0.
            candidate: The candidate's.
        """
        return each(many([self]).relative(np.array([baseline]), np.array([candidate])))[0]

    def _changes(self) -> tuple[float, float, float]:
        """Questions gained and lost, and the points of each."""
        moved, n = max(self.moved, abs(self.value)), self.questions
        question = self.span / n
        prior = _PRIOR * question
        squares = self.error**2 + self.value**2 / n
        size = (squares + prior * question) / (moved + prior)
        size = max(size, moved / n)  # no more questions can change than there are
        return (moved + self.value) / 2 / size, (moved - self.value) / 2 / size, size


def paired_difference(metric: Metric, baseline: Sequence[Sample], candidate: Sequence[Sample]) -> Difference:
    """The difference of one benchmark. Both runs' samples stand in the same order."""
    changed = sum(a["score"] != b["score"] for a, b in zip(baseline, candidate, strict=True))
    tallies = metric.tally(baseline), metric.tally(candidate)
    return tallied_difference(metric, *tallies, pictures_of(baseline), len(baseline), changed)


def tallied_difference(
    metric: Metric, one: Tally, other: Tally, pictures: Sequence[str | None], n: int, changed: int
) -> Difference:
    """The same of samples that were added up before.

    Args:
        metric: The benchmark's.
        one: The baseline's samples.
        other: The candidate's, of the same units.
        pictures: What each unit is about, see `pictures_of`.
        n: Questions.
        changed: Those that earned something else.
    """
    baseline, candidate = (
        replace(tally, sums=tally.sums[None], influences=tally.influences[None]) for tally in (one, other)
    )
    return each(tallied_differences(metric, baseline, candidate, pictures, n, np.array([changed])))[0]


def mean_difference(differences: Sequence[Difference]) -> Difference:
    """The mean over benchmarks, each of which weighs the same; of a single one it is that one.

    Benchmarks about the same pictures (MMBench and MMBench-CN, those on COCO) are not independent: what is
    lost on a picture is likely to be lost in both. So the variance of the sum has their covariances too, from
    what each shared picture moves in both (Wolter, 2007, chapter 6). A negative one isn't counted: of few
    shared pictures it would be noise that promises precision. Degrees of freedom are Satterthwaite's
    (Biometrics Bulletin 2, 1946, 110-114); what is shared counts once.
    """
    if len(differences) == 1:
        return differences[0]
    return each(mean_differences([many([one]) for one in differences]))[0]


def many(differences: Sequence[Difference]) -> Differences:
    """Differences of pairs of runs that were asked the same, as arrays."""
    first = differences[0]
    columns = {name: np.array([getattr(one, name) for one in differences]) for name in _OWN}
    units = {name: np.stack([getattr(one.units, name) for one in differences]) for name in _OF_UNITS}
    return Differences(
        **columns, n=first.n, clusters=first.clusters, units=Units(**units, pictures=first.units.pictures)
    )


def each(differences: Differences) -> list[Difference]:
    """The difference of each pair."""
    columns = {name: getattr(differences, name).tolist() for name in _OWN}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    fixed, units = {"n": differences.n, "clusters": differences.clusters}, differences.units
    if units is NO_UNITS:
        return [Difference(**row, **fixed, units=units) for row in rows]
    return [
        Difference(**row, **fixed, units=Units(one, other, weights, units.pictures))
        for row, one, other, weights in zip(rows, units.baseline, units.candidate, units.weights, strict=True)
    ]


@lru_cache(maxsize=2**14)  # a table and a page ask for the interval of the same two runs
def tango(gained: float, lost: float, n: float, z: float) -> Interval:
    """Tango's score interval of the share gained minus the share lost, of n; the counts may be fractions."""
    found, sqrt = (gained - lost) / n, math.sqrt
    constant, linear, product, four = -(gained + lost), 2 * n - gained + lost, 8 * n * lost, 4 * n

    def end(outside: float) -> float:
        inside = found
        for _ in range(_STEPS):
            shift = (inside + outside) / 2
            b = constant + linear * shift
            square = b * b + product * shift * (1 - shift)
            share = ((sqrt(square) if square > 0.0 else 0.0) - b) / four
            variance = n * (2 * share + shift - shift * shift)
            if variance > 0 and abs(n * (found - shift) / sqrt(variance)) <= z:  # the score of this shift
                inside = shift
            else:
                outside = shift
        return inside

    return end(-1.0), end(1.0)


def ends_of(every: Sequence[Difference]) -> list[Interval]:
    """The ends of many differences' 95% intervals at once, as `Difference.ends` has each."""
    found = {place: one.ends() for place, one in enumerate(every) if one.moved == 0}
    moved = [place for place in range(len(every)) if place not in found]
    changes = np.array([every[place]._changes() for place in moved]).reshape(-1, 3)
    gained, lost, size = changes.T
    n = np.array([every[place].questions for place in moved])
    z = stdtrit(np.array([every[place].freedom for place in moved]), (1 + LEVEL) / 2)
    both = np.stack([end * size * n for end in tangos(gained, lost, n, z)], axis=1)
    found |= {place: (low, high) for place, (low, high) in zip(moved, both.tolist(), strict=True)}
    return [found[place] for place in range(len(every))]


def with_intervals(every: Sequence[Difference]) -> Sequence[Difference]:
    """The differences, with their intervals computed at once."""
    for one, (low, high) in zip(every, ends_of(every), strict=True):
        one.__dict__["interval"] = max(low, -100.0), min(high, 100.0)  # where a cached property is kept
    return every


def tangos(
    gained: np.ndarray, lost: np.ndarray, n: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`tango` of arrays, to the last bit: what it does step by step, for all at once."""
    found = (gained - lost) / n
    constant, linear, product, four = -(gained + lost), 2 * n - gained + lost, 8 * n * lost, 4 * n

    def end(limit: float) -> np.ndarray:
        inside, outside = found, np.full_like(found, limit)
        for _ in range(_STEPS):
            shift = (inside + outside) / 2
            b = constant + linear * shift
            square = b * b + product * shift * (1 - shift)
            share = (np.sqrt(np.maximum(square, 0.0)) - b) / four
            variance = n * (2 * share + shift - shift * shift)
            score = np.abs(n * (found - shift) / np.sqrt(np.where(variance > 0, variance, np.nan)))
            within = score <= z
            inside, outside = np.where(within, shift, inside), np.where(within, outside, shift)
        return inside

    return end(-1.0), end(1.0)


def pictures_of(samples: Sequence[Sample]) -> list[str | None]:
    """What each unit is about: the hash of its (first) picture; None where none was recorded."""
    found: dict[int, str | None] = {}
    for unit, sample in zip(unit_numbers(samples).tolist(), samples, strict=True):
        found.setdefault(unit, sample.get("images_sha256"))
    return list(found.values())
