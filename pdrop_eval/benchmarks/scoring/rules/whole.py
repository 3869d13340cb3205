"""One number that lmms-eval computes from all answers together, such as BLEU or a correlation."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Aggregate, Metric
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally


class Whole(Metric):
    """What is no mean of per-question numbers: lmms-eval's number as it is, without an interval.

    No question has a score of its own, so nothing is resampled and no difference of two runs is tested.
    """

    name, unit = "whole", "all answers together"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`: a single unit, which holds the number."""
        number, one = np.array([[float(samples[0]["score"])]]), np.ones(1)
        return Tally(number, lambda s: s[..., 0], 100 * one, len(samples) * one, 0 * one, 1.0)

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`; the number stands with every question while it is checked."""
        return [{"score": float(aggregate(list(items)))} for _ in items]
