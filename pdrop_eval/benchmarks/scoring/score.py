"""Scores with standard errors, both from lmms-eval's own metric functions.

lmms-eval's standard errors are closed forms for means. Most of our scores are no plain mean of independent
questions, so the error is a cluster bootstrap: what belongs together (the questions about one image, MME's
pair, MMBench's circular copies) is drawn together, and the score is computed anew for each draw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Aggregate = Callable[[list[Any]], float]


@dataclass(frozen=True)
class Score:
    """A score in lmms-eval's units, its standard error (None with fewer than two clusters), and their basis.

    `n` counts questions, `clusters` what was resampled; `parts` are scores of parts, where there are any;
    `per_item` is what each question earned, 0 to 1, `cluster_of` the number of what it is drawn with, and
    `part_of` its part, empty where there are none.
    """

    value: float
    stderr: float | None
    n: int
    clusters: int
    parts: dict[str, float]
    per_item: tuple[float, ...]
    cluster_of: tuple[int, ...]
    part_of: tuple[str, ...] = ()


def score(
    kind: str, items: Sequence[Any], docs: Sequence[dict], images: Sequence[str], aggregate: Aggregate,
    resamples: int = 1000, seed: int = 1,
) -> Score:  # fmt: skip
    """The score of a task from what lmms-eval's `process_results` gave for each sample.

    `kind` is "images" (mean; questions of one image are a cluster), "pairs" (MME), "questions" (MMBench),
    "categories" (POPE: the mean over categories) or "groups" (MMStar: the mean over groups of their means).
    `aggregate` is lmms-eval's own aggregation for the metric.
    `items`, `docs` and `images` (an identifier of each sample's images) have one entry per sample.
    """
    if not items:
        raise ValueError("no sample gives this metric; a score needs at least one")
    return _KINDS[kind](items, docs, images, aggregate, Draws(resamples, seed))


class Draws:
    """Seeded resamples of cluster indices."""

    def __init__(self, resamples: int, seed: int | Sequence[int]):
        self.resamples = resamples
        self._random = np.random.default_rng(seed)

    def counts(self, clusters: int) -> np.ndarray:
        """How often each cluster is drawn: int64 [resamples, clusters], each row sums to `clusters`."""
        return self._random.multinomial(clusters, np.full(clusters, 1 / clusters), size=self.resamples)

    def error(self, values: np.ndarray, clusters: int) -> float | None:
        """The standard deviation of a score's draws; None where nothing can be drawn."""
        return float(values.std(ddof=1)) if clusters > 1 and self.resamples > 1 else None


def _over_images(items, docs, images, aggregate, draws) -> Score:
    """A mean over questions; the clusters are the images. An item that is no number is aggregated alone."""
    values = np.array([float(aggregate([item]) if isinstance(item, dict) else item) for item in items])
    which = _numbered(images)
    clusters = which.max() + 1
    sums = np.bincount(which, values, clusters)
    sizes = np.bincount(which, minlength=clusters)
    counts = draws.counts(clusters)
    value = _checked(float(aggregate(list(items))), values.mean())
    return Score(
        value,
        draws.error(counts @ sums / (counts @ sizes), clusters),
        len(items),
        clusters,
        {},
        tuple(values),
        _plain(which),
    )


def _over_questions(items, docs, images, aggregate, draws) -> Score:
    """MMBench: a question and its circular copies count once, right only if all of them are."""
    which = _numbered([int(doc["index"]) % 1_000_000 for doc in docs])
    clusters = which.max() + 1
    values = np.array([aggregate([items[i] for i in np.flatnonzero(which == c)]) for c in range(clusters)])
    means = draws.counts(clusters) @ values / clusters
    value = _checked(float(aggregate(list(items))), values.mean())
    earned = tuple(values[which] / 100)
    return Score(value, draws.error(means, clusters), len(items), clusters, {}, earned, _plain(which))


def _over_pairs(items, docs, images, aggregate, draws) -> Score:
    """MME: per category the mean over images of accuracy + accuracy+, then the sum over categories.

    The categories are fixed by the benchmark's design, so images are drawn within each.
    """
    pairs: dict[str, dict[Any, list[Any]]] = {}
    for item in items:
        pairs.setdefault(item["category"], {}).setdefault(item["question_id"], []).append(item)
    parts, total, clusters = {}, np.zeros(draws.resamples), 0
    for category, images_of in sorted(pairs.items()):
        values = np.array([aggregate(pair) for pair in images_of.values()])
        parts[category] = float(values.mean())
        total = total + draws.counts(len(values)) @ values / len(values)
        clusters += len(values)
    value = _checked(float(aggregate(list(items))), sum(parts.values()))
    earned = tuple(item["score"] for item in items)
    which = _numbered([(item["category"], item["question_id"]) for item in items])
    part_of = tuple(str(item["category"]) for item in items)
    error = draws.error(total, clusters)
    return Score(value, error, len(items), clusters, parts, earned, _plain(which), part_of)


def _over_categories(items, docs, images, aggregate, draws) -> Score:
    """POPE: the mean over its categories of lmms-eval's F1; an image is drawn with all its questions."""
    which = _numbered(images)
    clusters = which.max() + 1
    categories = sorted({doc["category"] for doc in docs})
    members = [[i for i, doc in enumerate(docs) if doc["category"] == name] for name in categories]
    scores = [float(aggregate([items[i] for i in rows])) for rows in members]
    values = []
    for counts in draws.counts(clusters):
        drawn = [[items[i] for i in rows for _ in range(counts[which[i]])] for rows in members]
        values.append(np.mean([aggregate(rows) for rows in drawn if rows]))
    value, parts = float(np.mean(scores)), dict(zip(categories, scores, strict=True))
    earned = tuple(item["score"] for item in items)
    part_of = tuple(str(doc["category"]) for doc in docs)
    error = draws.error(np.array(values), clusters)
    return Score(value, error, len(items), clusters, parts, earned, _plain(which), part_of)


def _over_groups(items, docs, images, aggregate, draws) -> Score:
    """MMStar: the mean over its subcategories of their means; an image is drawn with all its questions.

    A subcategory that a draw leaves out doesn't count in that draw, as lmms-eval's own function has it.
    """
    which = _numbered(images)
    clusters = which.max() + 1
    groups = sorted({item["l2_category"] for item in items})
    values = np.array([float(item["score"]) for item in items])
    drawn = draws.counts(clusters)[:, which]  # [resamples, questions]
    parts, means = {}, []
    for group in groups:
        rows = np.flatnonzero([item["l2_category"] == group for item in items])
        parts[group] = float(values[rows].mean())
        sizes = drawn[:, rows].sum(axis=1)
        sums = drawn[:, rows] @ values[rows]
        means.append(np.divide(sums, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0))
    value = _checked(float(aggregate(list(items))), float(np.mean(list(parts.values()))))
    error = draws.error(np.nanmean(np.array(means), axis=0), clusters)
    part_of = tuple(str(item["l2_category"]) for item in items)
    return Score(value, error, len(items), clusters, parts, tuple(values), _plain(which), part_of)


_KINDS: dict[str, Callable[..., Score]] = {
    "images": _over_images,
    "questions": _over_questions,
    "pairs": _over_pairs,
    "categories": _over_categories,
    "groups": _over_groups,
}


def _numbered(labels: Sequence[Any]) -> np.ndarray:
    """Labels as consecutive integers in order of appearance: int64 [len(labels)]."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def _plain(which: np.ndarray) -> tuple[int, ...]:
    return tuple(which.tolist())


def _checked(value: float, recomputed: float) -> float:
    """lmms-eval's value, after making sure that the resampled statistic is the same one."""
    if not np.isclose(value, recomputed, rtol=1e-9, atol=1e-9):
        raise RuntimeError(f"lmms-eval aggregates to {value}, the bootstrap's statistic to {recomputed}")
    return value
