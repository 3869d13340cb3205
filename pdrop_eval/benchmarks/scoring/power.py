"""Which difference of two runs could be seen, before any is made; of one benchmark or of the mean of several.

Where a share c of the questions earns something else in the other run, and the scores differ by d (a share of
the range), a question's difference has the variance c at d = 0 and c - d^2 at d. A difference is seen with a
power of 80% at the two-sided level of 5% if

    d = t sqrt(c D / n) + z sqrt((c - d^2) D / n)

with t Student's quantile at 0.975, z the normal one at 0.8, n the effective number of questions, and D the
design effect (Connett, Smith and McHugh, Statistics in Medicine 6, 1987, 537-544, for McNemar's test; D as in
Kish, Survey Sampling, 1965, section 8.2). n is that of the one interval (`difference`): Kish's number for
questions of unequal weight. D is 1 where what is resampled together changes one by one, and n over the
effective number of units where it changes as one; two runs that are there say what it is between them.

A score that isn't a mean of questions (F1, MME's pairs) is taken as one, whose questions carry the weights of
its own rule.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from scipy.special import stdtrit

from pdrop_eval.benchmarks.scoring.difference import LEVEL, POWER, Difference
from pdrop_eval.benchmarks.scoring.metric import Metric
from pdrop_eval.benchmarks.scoring.tally import Sample

_STEPS = 60  # halvings: to the last bit


@dataclass(frozen=True)
class Design:
    """What is known of a benchmark's questions.

    Attributes:
        n: Questions.
        units: What is resampled.
        questions: The effective number of questions.
        effective: The effective number of units.
        freedom: Degrees of freedom of a standard error.
    """

    n: int
    units: int
    questions: float
    effective: float
    freedom: float

    @classmethod
    def of(cls, metric: Metric, samples: Sequence[Sample]) -> "Design":
        """Return that of questions, of which what they earn doesn't count."""
        tally = metric.tally(samples)
        whole = tally.weights.sum() ** 2
        return cls(
            n=len(samples),
            units=len(tally.weights),
            questions=float(whole / (tally.weights**2 / tally.sizes).sum()),
            effective=float(whole / (tally.weights**2).sum()),
            freedom=tally.freedom,
        )

    @property
    def worst(self) -> float:
        """The design effect where all questions of a unit change together."""
        return max(1.0, self.questions / self.effective)


@dataclass(frozen=True)
class Part:
    """A benchmark as it is expected to be.

    Attributes:
        design: Its questions.
        changed: The share that earns something else in the other run, above 0.
        inflation: The design effect D.
    """

    design: Design
    changed: float
    inflation: float = 1.0

    def variance(self, difference: float) -> float:
        """Of the difference of the two scores, where it is so large; both as shares of the range."""
        return max(0.0, self.changed - difference**2) * self.inflation / self.design.questions


def inflation_of(found: Difference) -> float:
    """The design effect between two runs: their squared standard error over that of questions one by one."""
    changed, value = found.changed / found.n, found.value / found.span
    alone = (changed - value**2) / found.questions
    most = max(1.0, found.questions / found.effective)
    if alone <= 0:
        return most
    return min(max(1.0, (found.error / found.span) ** 2 / alone), most)


def detectable(parts: Sequence[Part]) -> float | None:
    """The smallest difference that is seen, in points; None where no more answers change than it would take.

    Args:
        parts: A benchmark, or several for the mean over them, to which each contributes alike.
    """
    low, high = 0.0, most(parts) / 100
    if high < _needed(parts, high):
        return None
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if middle < _needed(parts, middle) else (low, middle)
    return 100 * high


def times(parts: Sequence[Part], points: float) -> float | None:
    """How many times as many questions it takes to see so many points; None where too few answers change."""
    difference = points / 100
    return None if points > most(parts) else (_needed(parts, difference) / difference) ** 2


def most(parts: Sequence[Part]) -> float:
    """The points by which the scores can differ: no more than answers change."""
    return 100 * sum(part.changed for part in parts) / len(parts)


def _needed(parts: Sequence[Part], difference: float) -> float:
    """The right side of the equation above."""
    freedom = sum(part.design.freedom for part in parts)
    t, z = float(stdtrit(freedom, (1 + LEVEL) / 2)), NormalDist().inv_cdf(POWER)
    none, there = (
        math.sqrt(sum(part.variance(one) for part in parts)) / len(parts) for one in (0.0, difference)
    )
    return t * none + z * there
