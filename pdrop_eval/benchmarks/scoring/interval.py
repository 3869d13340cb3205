"""Intervals of a difference that also hold where few questions changed.

The standard error is the paired cluster bootstrap's, of the metric itself. Percentiles of its draws, or
estimate +- t standard errors, fail where only a few questions changed (where none did, their width is 0), so
the interval has the shape of Tango's score interval for the difference of paired proportions (Statistics in
Medicine 17, 1998, 891-908). It needs counts of questions gained and lost; here they are those that, if each
were worth the same points, would give the difference, its standard error, and the sum of what single clusters
changed (the moments' counts; fractions are allowed). For independent right-or-wrong questions that is Tango's
interval itself; with many changes it is estimate +- t standard errors. Two additions, both for few changes or
clusters: in the points of a change, half a question of the largest change is counted in, because small
changes alone say little of how large the next one is; and the normal quantile is replaced by Student's. Where
no cluster changed, the ends are the exact binomial bound (Clopper and Pearson, Biometrika 26, 1934, 404-413):
at most a share 1 - (alpha/2)^(1/clusters) of the clusters would change.

`tools/statistics/coverage.py` measures how often these intervals, and the usual ones, hold the truth.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
POWER = 0.8
_STEPS = 60  # halvings of an interval of length 2: to the last bit
_PRIOR = 0.5  # questions of the largest change that count in the points of one change
NORMAL = 10_000  # degrees of freedom from which Student's quantile is the normal one


@dataclass(frozen=True)
class Spread:
    """What an interval is made from; all sizes in points.

    error: the bootstrap's standard error. moved: the sum of what single clusters changed, without signs.
    most: the largest change that one cluster could have made. questions, clusters: how many. freedom: the
    degrees of freedom of the standard error. pictures: by the hash of a picture, its share in the difference
    against the mean share, so scaled that the squares over all clusters sum to 1: with them, benchmarks about
    the same pictures aren't taken as independent (`means`).
    """

    difference: float
    error: float
    moved: float
    most: float
    questions: int
    clusters: int
    freedom: float
    pictures: Mapping[str, float] = field(default_factory=dict, repr=False)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Both ends of the interval of a level, in points."""
        alpha = 1 - level
        if self.moved == 0:
            bound = self.most * self.clusters * (1 - (alpha / 2) ** (1 / self.clusters))
            return self.difference - bound, self.difference + bound
        gained, lost, size = self._changes()
        low, high = tango(gained, lost, self.questions, student(level, self.freedom))
        scale = size * self.questions
        return low * scale, high * scale

    @property
    def smallest(self) -> float:
        """The smallest difference that would have been shown with 80% power at the two-sided level of 5%.

        (1.96 + 0.84) standard errors (Bloom, Evaluation Review 19, 1995, 547-556); the standard error is half
        of the 95% interval over 1.96, which is not 0 where nothing changed.
        """
        low, high = self.interval()
        normal = NormalDist()
        z = normal.inv_cdf((1 + LEVEL) / 2)
        return (z + normal.inv_cdf(POWER)) * (high - low) / 2 / z

    def _changes(self) -> tuple[float, float, float]:
        """Questions gained and lost, and the points of each."""
        moved = max(self.moved, abs(self.difference))
        prior = _PRIOR * self.most * self.clusters / self.questions
        squares = self.error**2 + self.difference**2 / self.questions
        unit = prior / _PRIOR
        size = (squares + prior * unit) / (moved + prior)
        size = max(size, moved / self.questions)  # no more questions can change than there are
        return (moved + self.difference) / 2 / size, (moved - self.difference) / 2 / size, size


def possible(interval: tuple[float, float]) -> tuple[float, float]:
    """The part of an interval of a difference that scores from 0 to 100 can have."""
    low, high = interval
    return max(low, -100.0), min(high, 100.0)


def tango(gained: float, lost: float, n: int, z: float) -> tuple[float, float]:
    """Tango's score interval of the share gained minus the share lost, of n; the counts may be fractions."""
    found = (gained - lost) / n

    def score(shift: float) -> float:
        b = -(gained + lost) + (2 * n - gained + lost) * shift
        share = (math.sqrt(max(b * b + 8 * n * lost * shift * (1 - shift), 0.0)) - b) / (4 * n)
        variance = n * (2 * share + shift - shift * shift)
        return n * (found - shift) / math.sqrt(variance) if variance > 0 else math.inf

    def end(outside: float) -> float:
        inside = found
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if abs(score(middle)) > z else (middle, outside)
        return inside

    return end(-1.0), end(1.0)


@cache
def student(level: float, freedom: float) -> float:
    """The t between whose negative and itself Student's distribution has a share `level`.

    With t = sqrt(freedom) tan(angle), the density in the angle is the cosine to the power freedom - 1, up to
    a right angle (Cauchy's distribution, with 1 degree of freedom, has half of its tail in the last steps).
    """
    if freedom >= NORMAL:
        return NormalDist().inv_cdf((1 + level) / 2)
    angles = np.linspace(0, math.pi / 2, 8_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(level, mass / mass[-1], angles)))
