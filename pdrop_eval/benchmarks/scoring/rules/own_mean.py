"""The mean over questions on lmms-eval's own scale."""

from collections.abc import Sequence

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Metric, marks_of, ratios
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, unit_numbers


class OwnMean(Metric):
    """The mean of what questions earned, on a scale that isn't 0 to 1: points out of 5 or 10, a distance.

    A picture is resampled with all its questions. The scale's ends aren't known, so no interval is cut.
    """

    name = "own_mean"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, earned, ones = unit_numbers(samples), marks_of(samples), np.ones(len(samples))
        sums = by_unit(units, earned, ones)
        weights = ones / len(samples)
        linear = linearise(earned, weights, units, [ones > 0])
        return Tally(
            sums,
            lambda s: ratios(s[..., 0], s[..., 1]),
            by_unit(units, 100 * weights)[:, 0],
            sums[:, 1],
            *linear,
        )
