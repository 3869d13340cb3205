"""Intervals of a difference that also hold where few questions changed.

The standard error is the paired cluster bootstrap's, of the metric itself. A symmetric or percentile interval
around it fails where only a few clusters changed (none changed: its width is 0), so the interval is shaped
like Tango's score interval for the difference of paired proportions (Statistics in Medicine 17, 1998,
891-908): the changes are taken for `gained` and `lost` clusters of one size, chosen so that their mean and
their variance are those of the difference. For independent right-or-wrong questions that is Tango's interval
itself; with many changes it is estimate +- z standard errors. Where no cluster changed, its end is the exact
binomial bound (Clopper and Pearson, Biometrika 26, 1934): no more than a share 1 - (alpha/2)^(1/clusters) of
clusters changes. `benchmarks/coverage.py` measures how often the intervals hold the truth.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

LEVEL = 0.95
POWER = 0.8
_STEPS = 60  # halvings of an interval of length 2: to the last bit


@dataclass(frozen=True)
class Spread:
    """What an interval is made from; all sizes in points.

    error: the bootstrap's standard error. moved: the sum of what single clusters changed, without signs.
    clusters: how many there are. most: the largest change that one cluster could have made.
    """

    difference: float
    error: float
    moved: float
    clusters: int
    most: float

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Both ends of the interval of a level, in points."""
        alpha = 1 - level
        if self.moved == 0:
            bound = self.most * self.clusters * (1 - (alpha / 2) ** (1 / self.clusters))
            return self.difference - bound, self.difference + bound
        gained, lost, size = self._changes()
        low, high = tango(gained, lost, self.clusters, NormalDist().inv_cdf(1 - alpha / 2))
        scale = size * self.clusters
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
        """Clusters gained and lost, and the points of each, with the difference's mean and variance."""
        moved = max(self.moved, abs(self.difference))
        size = (self.error**2 + self.difference**2 / self.clusters) / moved
        size = max(size, moved / self.clusters)  # no more clusters can change than there are
        return (moved + self.difference) / 2 / size, (moved - self.difference) / 2 / size, size


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
