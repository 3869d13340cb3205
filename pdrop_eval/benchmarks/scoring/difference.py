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
from functools import cached_property
from statistics import NormalDist

import numpy as np
from scipy.special import stdtrit

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

Interval = tuple[float, float]


@dataclass(frozen=True)
class Units:
    """What is resampled, in points, an entry for each unit.

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
        low, high = self.interval
        return 1 if low > 0 else -1 if high < 0 else 0

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
        scale, ratio = 100 / baseline, candidate / baseline
        units = replace(
            self.units,
            baseline=self.units.baseline * scale * ratio,
            candidate=self.units.candidate * scale,
            weights=self.units.weights * scale,
        )
        return replace(
            self,
            value=100 * (ratio - 1),
            error=_norm(units.candidate - units.baseline),
            moved=self.moved * scale,
            span=self.span * scale,
            units=units,
        )

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
    scale = metric.range[1] / 100
    weights = one.weights / scale
    units = Units(one.influences / scale, other.influences / scale, weights, pictures)
    return Difference(
        value=(other.value - one.value) / scale,
        n=n,
        clusters=len(weights),
        changed=changed,
        error=_norm(units.candidate - units.baseline),
        moved=float(np.abs(contributions(one, other)).sum()) / scale,
        span=float(weights.sum()),
        questions=float(weights.sum() ** 2 / (weights**2 / one.sizes).sum()),
        effective=float(weights.sum() ** 2 / (weights**2).sum()),
        freedom=one.freedom,
        units=units,
    )


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
    k, span = len(differences), sum(one.span for one in differences)
    errors, freedoms, questions, effective = np.array(
        [(one.error, one.freedom, one.span**2 / one.questions, one.span**2 / one.effective)
         for one in differences]
    ).T  # fmt: skip
    moved, weights, repeated = _shared([one.units for one in differences])
    variances = np.diag(errors**2) + np.clip(moved, 0, np.outer(errors, errors))
    rows = variances.sum(axis=1)
    most = max(1.0, float(freedoms.sum()) - repeated)
    return Difference(
        value=sum(one.value for one in differences) / k,
        n=sum(one.n for one in differences),
        clusters=sum(one.clusters for one in differences) - repeated,
        changed=sum(one.changed for one in differences),
        error=math.sqrt(rows.sum()) / k,
        moved=sum(one.moved for one in differences) / k,
        span=span / k,
        questions=float(span**2 / (questions.sum() + weights.sum())),
        effective=float(span**2 / (effective.sum() + weights.sum())),
        freedom=min(most, float(rows.sum() ** 2 / (rows**2 / freedoms).sum())) if rows.any() else most,
        units=NO_UNITS,
    )


def contributions(baseline: Tally, candidate: Tally) -> np.ndarray:
    """What each unit adds to the difference: float64 [units].

    The mean of two ways to see it: the baseline with the unit's answers of the candidate, and the candidate
    with those of the baseline. For a mean over questions the sum over units is the difference itself; for F1
    nearly so.
    """
    change = candidate.sums - baseline.sums
    before, after = baseline.sums.sum(axis=0), candidate.sums.sum(axis=0)
    gained = baseline.combine(before + change) - baseline.combine(before)
    lost = candidate.combine(after) - candidate.combine(after - change)
    return (gained + lost) / 2


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


def _norm(values: np.ndarray) -> float:
    return math.sqrt(float((values**2).sum()))


def pictures_of(samples: Sequence[Sample]) -> list[str | None]:
    """What each unit is about: the hash of its (first) picture; None where none was recorded."""
    found: dict[int, str | None] = {}
    for unit, sample in zip(unit_numbers(samples).tolist(), samples, strict=True):
        found.setdefault(unit, sample.get("images_sha256"))
    return list(found.values())


def _shared(every: Sequence[Units]) -> tuple[np.ndarray, np.ndarray, int]:
    """What benchmarks have in common, by picture.

    Returns:
        For each two benchmarks the sum over shared pictures of what they move in both, and of what they weigh
        in both, float64 [benchmarks, benchmarks] with zeros in the diagonal; and how many times a picture is
        asked about again by another benchmark.
    """
    sums = []
    for units in every:
        found: dict[str, np.ndarray] = {}
        both = np.stack([units.candidate - units.baseline, units.weights], axis=1)
        for picture, unit in zip(units.pictures, both, strict=True):
            if picture is not None:
                found[picture] = found[picture] + unit if picture in found else unit
        sums.append(found)
    products = np.zeros((2, len(every), len(every)))
    for i, one in enumerate(sums):
        for j, other in enumerate(sums[:i]):
            for picture in one.keys() & other.keys():
                products[:, i, j] += one[picture] * other[picture]
    products += products.transpose(0, 2, 1)
    return products[0], products[1], sum(map(len, sums)) - len({p for found in sums for p in found})
