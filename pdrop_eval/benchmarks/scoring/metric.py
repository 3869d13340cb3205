"""The scoring rules: how each makes one score of its samples, what is resampled together, and its range.

A rule is one class. Every score can be computed from sums over units (a picture with all its questions, MME's
pair, a question with its circular copies), so the score of drawn units, or with some units' answers exchanged
between two runs, is a product of matrices and the metric itself is computed anew each time. No torch, no
pandas.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from pdrop_eval.benchmarks.scoring.tally import Sample, Tally, by_unit, linearise, number, unit_numbers

Aggregate = Callable[[list[Any]], float]


class Metric:
    """A scoring rule; a benchmark's entry in the registry names it (`scoring`).

    A new rule is a subclass with `tally`, and with `rows` where lmms-eval's items have another shape. It
    reads what the record's samples have: `score` (0 to 1), `cluster` (the unit's number), `part`, `target`,
    `answer`.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "picture with its questions"  # what is resampled together
    range: ClassVar[tuple[float, float]] = (0.0, 100.0)
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
        return _numbered([{"score": score} for score in scores], units)

    def aggregated(self, items: Sequence[Any], rows: Sequence[Sample], aggregate: Aggregate) -> float:
        """The score by lmms-eval's own aggregation, on its scale; `tally` has to give the same."""
        return float(aggregate(list(items)))


class Mean(Metric):
    """The mean over questions; a picture is resampled with all its questions."""

    name = "mean"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, earned, ones = unit_numbers(samples), _earned(samples), np.ones(len(samples))
        sums = by_unit(units, earned, ones)
        weights = 100 / len(samples) * ones
        linear = linearise(earned, weights, units, [ones > 0])
        return Tally(sums, _percent_right, by_unit(units, weights)[:, 0], sums[:, 1], *linear)


class CircularMean(Metric):
    """MMBench: the mean over questions, each of which counts once with its circular copies.

    Resampled is the question with its copies; it is right only if all of them are.
    """

    name, unit, copies = "circular_mean", "question with its copies", True

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        sums = by_unit(unit_numbers(samples), _earned(samples), np.ones(len(samples)))
        marks, ones = sums[:, 0] / sums[:, 1], np.ones(len(sums))
        weights = 100 / len(sums) * ones
        linear = linearise(marks, weights, np.arange(len(sums)), [ones > 0])
        return Tally(np.stack([marks, ones], axis=1), _percent_right, weights, ones, *linear)

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


class GroupMean(Metric):
    """MMStar: the mean over subcategories of their means; a picture is resampled with all its questions.

    A subcategory of which no question is drawn doesn't count in that draw, as in lmms-eval's own function.
    """

    name = "group_mean"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, inside, earned = unit_numbers(samples), _inside(samples), _earned(samples)
        sums = by_unit(units, *(earned * rows for rows in inside), *inside)
        weights, k = _shares(inside), len(inside)
        return Tally(
            sums,
            lambda s: 100 * _mean(_share(s[..., :k], s[..., k:])),
            by_unit(units, weights)[:, 0],
            sums[:, k:].sum(axis=1),
            *linearise(earned, weights, units, inside),
        )

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`."""
        made = [{"score": float(item["score"]), "part": str(item["l2_category"])} for item in items]
        return _numbered(made, units)


class CategoryF1(Metric):
    """POPE: the mean over its categories of F1; a picture is resampled with all its questions.

    F1 is 2TP / (2TP + FP + FN). An answer that is neither yes nor no is no mistake, as in lmms-eval.
    """

    name = "category_f1"

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units, inside = unit_numbers(samples), _inside(samples)
        yes = np.array([_plain(sample["target"]) == "yes" for sample in samples])
        said = [_plain(sample["answer"]) for sample in samples]
        said_yes, said_no = (np.array([word == wanted for word in said]) for wanted in ("yes", "no"))
        right, wrong = yes & said_yes, (~yes & said_yes) | (yes & said_no)
        sums = by_unit(units, *(column & rows for column in (right, wrong, right | True) for rows in inside))
        k = len(inside)
        return Tally(
            sums,
            lambda s: 100 * _mean(_f1(s[..., :k], s[..., k : 2 * k], s[..., 2 * k :])),
            by_unit(units, _shares(inside))[:, 0],
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
        return _numbered(made, units)

    def aggregated(self, items: Sequence[Any], rows: Sequence[Sample], aggregate: Aggregate) -> float:
        """See `Metric.aggregated`; lmms-eval's F1 of each category."""
        inside = _inside(rows)
        return sum(aggregate([items[i] for i in np.flatnonzero(part).tolist()]) for part in inside) / len(
            inside
        )


class PairSum(Metric):
    """MME: per category the mean over pictures of accuracy + accuracy+, then the sum over categories.

    Resampled is the pair of questions about one picture, within its category: the design fixes their number.
    """

    name, unit, range = "pair_sum", "pair of questions about a picture", (0.0, 2000.0)

    def tally(self, samples: Sequence[Sample]) -> Tally:
        """See `Metric.tally`."""
        units = unit_numbers(samples)
        earned, asked = by_unit(units, _earned(samples), np.ones(len(samples))).T
        marks = (earned / asked + (earned == asked)) / 2  # of a pair, 0 to 1
        places = np.arange(len(marks))
        inside = [np.isin(places, units[rows]) for rows in _inside(samples)]
        weights = np.sum([200 / rows.sum() * rows for rows in inside], axis=0)
        strata = tuple(np.flatnonzero(rows) for rows in inside)
        linear = linearise(marks, weights, places, inside)
        return Tally((marks * weights)[:, None], lambda s: s[..., 0], weights, asked, *linear, strata)

    def rows(
        self, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate
    ) -> list[dict[str, Any]]:
        """See `Metric.rows`; a pair is known by its category and question id."""
        made = [{"score": item["score"], "part": str(item["category"])} for item in items]
        return _numbered(made, [(item["category"], item["question_id"]) for item in items])


METRICS: dict[str, Metric] = {
    kind.name: kind() for kind in (Mean, CircularMean, GroupMean, CategoryF1, PairSum)
}


def _numbered(rows: list[dict[str, Any]], labels: Sequence[Any]) -> list[dict[str, Any]]:
    return [{**row, "cluster": unit} for row, unit in zip(rows, number(labels).tolist(), strict=True)]


def _earned(samples: Sequence[Sample]) -> np.ndarray:
    return np.array([float(sample["score"]) for sample in samples])


def _inside(samples: Sequence[Sample]) -> list[np.ndarray]:
    """For each part, which samples are of it: bool [samples]."""
    parts = np.array([str(sample.get("part", "")) for sample in samples])
    return [parts == part for part in sorted(set(parts.tolist()))]


def _shares(inside: Sequence[np.ndarray]) -> np.ndarray:
    """The points that each sample carries if all parts weigh the same: [samples], 100 in all."""
    return np.sum([100 / len(inside) / rows.sum() * rows for rows in inside], axis=0)


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


def _percent_right(sums: np.ndarray) -> np.ndarray:
    return 100 * _share(sums[..., 0], sums[..., 1])


def _share(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means; NaN where nothing was drawn."""
    return np.divide(sums, sizes, out=np.full(np.shape(sizes), np.nan), where=sizes > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over parts (last axis); a part that isn't drawn doesn't count."""
    return np.nanmean(values, axis=-1)


def _f1(right: np.ndarray, wrong: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN), 0 where no yes was right, NaN where nothing was drawn."""
    empty = np.where(asked > 0, 0.0, np.nan)
    return np.divide(2 * right, 2 * right + wrong, out=empty, where=right > 0)


def _plain(text: Any) -> str:
    return str(text).lower().strip()
