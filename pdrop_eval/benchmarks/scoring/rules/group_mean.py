"""MMStar: the mean over subcategories of their means."""

from collections.abc import Sequence
from typing import Any

from pdrop_eval.benchmarks.scoring.metric import (
    Aggregate,
    Metric,
    marks_of,
    mean_drawn,
    numbered,
    parts_of,
    points_of,
    ratios,
)
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, unit_numbers


class GroupMean(Metric):
    """MMStar: the mean over subcategories of their means; a picture is resampled with all its questions.

    A subcategory of which no question is drawn doesn't count in that draw, as in lmms-eval's own function.
    """

    name = "group_mean"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, inside, earned = unit_numbers(samples), parts_of(samples), marks_of(samples)
        sums = by_unit(units, *(earned * rows for rows in inside), *inside)
        weights, k = points_of(inside), len(inside)
        return Tally(
            sums,
            lambda s: 100 * mean_drawn(ratios(s[..., :k], s[..., k:])),
            by_unit(units, weights)[:, 0],
            sums[:, k:].sum(axis=1),
            *linearise(earned, weights, units, inside),
        )

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`."""
        made = [{"score": float(item["score"]), "part": str(item["l2_category"])} for item in items]
        return numbered(made, units)
