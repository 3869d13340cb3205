"""What a scoring rule is: how it makes one score of its samples, what is resampled together, and its range.

A rule is one class, in a file of its own in `rules`; what several of them compute stands here. Every score
can be computed from sums over units (a picture with all its questions, MME's pair, a question with its
circular copies), so the score of drawn units, or with some units' answers exchanged between two runs, is a
product of matrices and the metric itself is computed anew each time. No torch, no pandas.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from pdrop_eval.benchmarks.scoring import PERCENT
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, number

Aggregate = Callable[[list[Any]], float]


class Metric:
    """A scoring rule; a benchmark's entry in the registry names it (`scoring`).

    A new rule is a subclass, in `rules/<name>.py`, with `tally`, and with `rows` where lmms-eval's items have
    another shape. It reads what the record's samples have: `score` (0 to 1), `cluster` (the unit's number),
    `part`, `target`, `answer`.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "picture with its questions"  # what is resampled together
    range: ClassVar[tuple[float, float]] = PERCENT
    copies: ClassVar[bool] = False  # whether the samples of a unit are copies of one question

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """The samples added up by unit."""
        raise NotImplementedError

    def score(self, samples: Sequence[Sample]) -> float:
        """The score of some samples, on the record's scale."""
        return self.tally(samples).value

    def parts(self, samples: Sequence[Sample]) -> dict[str, float]:
        """The score of each part alone (MME's categories); empty where there are none."""
        names = sorted({str(sample["part"]) for sample in samples if "part" in sample})
        return {name: self.score([s for s in samples if str(s["part"]) == name]) for name in names}

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """What `tally` reads of each sample, from lmms-eval's items.

        Args:
            items: What lmms-eval's `process_results` gave for each sample.
            docs: The rows of the data.
            units: A label of what each sample is resampled with (its pictures, or the registry's `cluster`).
            aggregate: lmms-eval's own aggregation of items.
        """
        scores = [float(aggregate([item]) if isinstance(item, dict) else item) for item in items]
        return numbered([{"score": score} for score in scores], units)

    def aggregated(self, items: Sequence[Any], rows: Sequence[Sample], aggregate: Aggregate) -> float:
        """The score by lmms-eval's own aggregation, on its scale; `tally` has to give the same."""
        return float(aggregate(list(items)))


def numbered(rows: list[dict[str, Any]], labels: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows with the number of the unit that each is of."""
    return [{**row, "cluster": unit} for row, unit in zip(rows, number(labels).tolist(), strict=True)]


def marks_of(samples: Sequence[Sample]) -> np.ndarray:
    """What each sample earned, 0 to 1: float64 [samples]."""
    return np.array([float(sample["score"]) for sample in samples])


def parts_of(samples: Sequence[Sample]) -> list[np.ndarray]:
    """For each part, which samples are of it: bool [samples]."""
    parts = np.array([str(sample.get("part", "")) for sample in samples])
    return [parts == part for part in sorted(set(parts.tolist()))]


def points_of(inside: Sequence[np.ndarray]) -> np.ndarray:
    """The points that each sample carries if all parts weigh the same: [samples], 100 in all."""
    return np.sum([100 / len(inside) / rows.sum() * rows for rows in inside], axis=0)


def percent_right(sums: np.ndarray) -> np.ndarray:
    """The score of sums [..., earned and asked], 0 to 100."""
    return 100 * ratios(sums[..., 0], sums[..., 1])


def ratios(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means; NaN where nothing was drawn."""
    return np.divide(sums, sizes, out=np.full(np.shape(sizes), np.nan), where=sizes > 0)


def mean_drawn(values: np.ndarray) -> np.ndarray:
    """The mean over parts (last axis); a part that isn't drawn doesn't count."""
    return np.nanmean(values, axis=-1)
