"""POPE: the mean over categories of F1."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Aggregate, Metric, mean_drawn, numbered, parts_of, points_of
from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, unit_numbers


class CategoryF1(Metric):
    """POPE: the mean over its categories of F1; a picture is resampled with all its questions.

    F1 is 2TP / (2TP + FP + FN). An answer that is neither yes nor no is no mistake, as in lmms-eval.
    """

    name = "category_f1"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, inside = unit_numbers(samples), parts_of(samples)
        yes = np.array([_plain(sample["target"]) == "yes" for sample in samples])
        said = [_plain(sample["answer"]) for sample in samples]
        said_yes, said_no = (np.array([word == wanted for word in said]) for wanted in ("yes", "no"))
        right, wrong = yes & said_yes, (~yes & said_yes) | (yes & said_no)
        sums = by_unit(units, *(column & rows for column in (right, wrong, right | True) for rows in inside))
        k = len(inside)
        return Tally(
            sums,
            lambda s: 100 * mean_drawn(_f1(s[..., :k], s[..., k : 2 * k], s[..., 2 * k :])),
            by_unit(units, points_of(inside))[:, 0],
            sums[:, 2 * k :].sum(axis=1),
            *linearise(_slopes(right, wrong, inside), np.ones(len(units)), units, inside),
        )

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`."""
        made = [
            {"score": item["score"], "part": str(doc["category"]), "target": item["ground_truth"],
             "answer": item["prediction"]}
            for item, doc in zip(items, docs, strict=True)
        ]  # fmt: skip
        return numbered(made, units)

    def aggregated(self, items: Sequence[Any], rows: Sequence[Sample], aggregate: Aggregate) -> float:
        """See `Metric.aggregated`; lmms-eval's F1 of each category."""
        inside = parts_of(rows)
        return sum(aggregate([items[i] for i in np.flatnonzero(part).tolist()]) for part in inside) / len(
            inside
        )


def _slopes(right: np.ndarray, wrong: np.ndarray, inside: Sequence[np.ndarray]) -> np.ndarray:
    """What each question moves the mean of F1 by.

    The derivative of F1 by TP is 2 (1 - F1) / (2TP + FP + FN), that by FP or FN is -F1 / (2TP + FP + FN).
    """
    moved = np.zeros(len(right))
    for rows in inside:
        whole = 2 * (right & rows).sum() + (wrong & rows).sum()
        if whole:
            f1 = 2 * (right & rows).sum() / whole
            moved += rows * (2 * (1 - f1) * right - f1 * wrong) / whole
    return 100 / len(inside) * moved


def _f1(right: np.ndarray, wrong: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN), 0 where no yes was right, NaN where nothing was drawn."""
    empty = np.where(asked > 0, 0.0, np.nan)
    return np.divide(2 * right, 2 * right + wrong, out=empty, where=right > 0)


def _plain(text: Any) -> str:
    return str(text).lower().strip()
