"""The mean over questions."""

from collections.abc import Sequence

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Metric, marks_of, percent_right
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, unit_numbers


class Mean(Metric):
    """The mean over questions; a picture is resampled with all its questions."""

    name = "mean"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, earned, ones = unit_numbers(samples), marks_of(samples), np.ones(len(samples))
        sums = by_unit(units, earned, ones)
        weights = 100 / len(samples) * ones
        linear = linearise(earned, weights, units, [ones > 0])
        return Tally(sums, percent_right, by_unit(units, weights)[:, 0], sums[:, 1], *linear)
