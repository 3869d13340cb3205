"""MMBench: the mean over questions that are asked once for each rotation of their choices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Aggregate, Metric, marks_of, percent_right
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, number, unit_numbers


class CircularMean(Metric):
    """MMBench: the mean over questions, each of which counts once with its circular copies.

    Resampled is the question with its copies; it is right only if all of them are.
    """

    name, unit, copies = "circular_mean", "question with its copies", True

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        sums = by_unit(unit_numbers(samples), marks_of(samples), np.ones(len(samples)))
        marks, ones = sums[:, 0] / sums[:, 1], np.ones(len(sums))
        weights = 100 / len(sums) * ones
        linear = linearise(marks, weights, np.arange(len(sums)), [ones > 0])
        return Tally(np.stack([marks, ones], axis=1), percent_right, weights, ones, *linear)

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`; a copy's index is the question's plus a multiple of a million."""
        questions = number([int(doc["index"]) % 1_000_000 for doc in docs])
        earned = [
            float(aggregate([items[i] for i in np.flatnonzero(questions == one).tolist()])) / 100
            for one in range(questions.max() + 1)
        ]
        return [{"score": earned[one], "cluster": one} for one in questions.tolist()]
