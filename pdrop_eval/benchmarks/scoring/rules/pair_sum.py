"""MME: accuracy + accuracy+, summed over categories."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Aggregate, Metric, marks_of, numbered, parts_of
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, unit_numbers


class PairSum(Metric):
    """MME: per category the mean over pictures of accuracy + accuracy+, then the sum over categories.

    Resampled is the pair of questions about one picture, within its category: the design fixes their number.
    """

    name, unit = "pair_sum", "pair of questions about a picture"
    range = (0.0, 2000.0)

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units = unit_numbers(samples)
        earned, asked = by_unit(units, marks_of(samples), np.ones(len(samples))).T
        marks = (earned / asked + (earned == asked)) / 2  # of a pair, 0 to 1
        places = np.arange(len(marks))
        inside = [np.isin(places, units[rows]) for rows in parts_of(samples)]
        weights = np.sum([200 / rows.sum() * rows for rows in inside], axis=0)
        strata = tuple(np.flatnonzero(rows) for rows in inside)
        linear = linearise(marks, weights, places, inside)
        return Tally((marks * weights)[:, None], lambda s: s[..., 0], weights, asked, *linear, strata)

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`; a pair is known by its category and question id."""
        made = [{"score": item["score"], "part": str(item["category"])} for item in items]
        return numbered(made, [(item["category"], item["question_id"]) for item in items])
