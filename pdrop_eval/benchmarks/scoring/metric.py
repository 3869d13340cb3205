"""The registry's scores as sums over clusters: one function for each kind of `resample`."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.bootstrap import Metric


def number_clusters(samples: Sequence[dict[str, Any]]) -> np.ndarray:
    """The number of what each sample is drawn with: as recorded, else by its picture. int64 [samples]."""
    labels = [sample.get("cluster", sample.get("images_sha256")) for sample in samples]
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def parts_of(samples: Sequence[dict[str, Any]]) -> list[str]:
    """The part (MME's category, POPE's setting, MMStar's subcategory) that each sample is of; else empty."""
    return [str(sample.get("part", "")) for sample in samples]


def make_metric(
    kind: str, samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]
) -> Metric:
    """The metric of one kind of the registry's `resample`, of these samples."""
    return _KINDS[kind](samples, clusters, parts)


def _earned(samples: Sequence[dict[str, Any]]) -> np.ndarray:
    return np.array([float(sample["score"]) for sample in samples])


def _whole(clusters: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.arange(clusters.max() + 1),)


def _table(clusters: np.ndarray, columns: Sequence[np.ndarray]) -> np.ndarray:
    """Sums over clusters of some columns: [clusters, len(columns)]."""
    number = clusters.max() + 1
    return np.stack([np.bincount(clusters, column, number) for column in columns], axis=1)


def _inside(parts: Sequence[str]) -> list[np.ndarray]:
    """For each part, which samples are of it: bool [samples]."""
    return [np.array([name == part for name in parts]) for part in sorted(set(parts))]


def _over_images(samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]) -> Metric:
    """The mean over questions."""
    sums = _table(clusters, [_earned(samples), np.ones(len(samples))])
    return _marks(sums, 1, lambda s: 100 * _share(s[..., 0], s[..., 1]), _whole(clusters))


def _over_questions(samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]) -> Metric:
    """MMBench: a question counts once, with all its copies."""
    sums = _table(clusters, [_earned(samples), np.ones(len(samples))])
    means = np.stack([sums[:, 0] / sums[:, 1], np.ones(len(sums))], axis=1)
    return _marks(means, 1, lambda s: 100 * _share(s[..., 0], s[..., 1]), _whole(clusters))


def _over_groups(samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]) -> Metric:
    """MMStar: the mean over subcategories of their means."""
    inside = _inside(parts)
    earned = _earned(samples)
    sums = _table(clusters, [earned * rows for rows in inside] + [1.0 * rows for rows in inside])
    k = len(inside)
    return _marks(sums, k, lambda s: 100 * _mean(_share(s[..., :k], s[..., k:])), _whole(clusters))


def _over_categories(samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]) -> Metric:
    """POPE: the mean over its categories of F1."""
    inside = _inside(parts)
    yes = np.array([_plain(sample["target"]) == "yes" for sample in samples])
    said = [_plain(sample["answer"]) for sample in samples]
    said_yes, said_no = (np.array([word == wanted for word in said]) for wanted in ("yes", "no"))
    right = [yes & said_yes & rows for rows in inside]
    wrong = [((~yes & said_yes) | (yes & said_no)) & rows for rows in inside]
    nothing = [np.zeros(len(samples))] * len(inside)

    def table(*columns: list[np.ndarray]) -> np.ndarray:
        return _table(clusters, [1.0 * column for three in (*columns, inside) for column in three])

    k = len(inside)
    return Metric(
        table(right, wrong),
        lambda s: 100 * _mean(_f1(s[..., :k], s[..., k : 2 * k], s[..., 2 * k :])),
        _whole(clusters),
        table([yes & rows for rows in inside], nothing),
        table(nothing, inside),
        len(samples),
    )


def _over_pairs(samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: Sequence[str]) -> Metric:
    """MME: per category the mean over pictures of accuracy + accuracy+, then the sum over categories."""
    inside = _inside(parts)
    earned, asked = _table(clusters, [_earned(samples), np.ones(len(samples))]).T
    pairs = 100 * earned / asked + 100 * (earned == asked)
    members = [np.unique(clusters[rows]) for rows in inside]
    # a category's number of pictures is fixed, so a pair's part of the sum is its mark over that number
    weights = np.sum([np.isin(np.arange(len(pairs)), m) / len(m) for m in members], axis=0)
    return Metric(
        (pairs * weights)[:, None],
        lambda s: s[..., 0],
        _joined(members),
        (200 * weights)[:, None],
        np.zeros((len(pairs), 1)),
        len(samples),
    )


def _joined(strata: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Strata of at least two clusters, where there are two: a single one's variance can't be seen.

    Collapsed strata (Cochran, Sampling Techniques, 1977, section 5A.12): those of one are taken as one
    stratum, and a last one with the smallest other. What their means differ is counted as variance, so that
    errs on the wide side.
    """
    alone = [members for members in strata if len(members) == 1]
    others = [members for members in strata if len(members) > 1]
    if len(alone) == 1 and others:
        alone.append(others.pop(min(range(len(others)), key=lambda i: len(others[i]))))
    return (*others, np.sort(np.concatenate(alone))) if alone else tuple(others)


def _marks(
    sums: np.ndarray,
    k: int,
    combine: Callable[[np.ndarray], np.ndarray],
    strata: tuple[np.ndarray, ...],
) -> Metric:
    """A metric whose sums are k columns of marks, 0 to 1 a question, and k of numbers of questions."""
    asked = sums[:, k:]
    return Metric(
        sums,
        combine,
        strata,
        np.concatenate([asked, asked], axis=1),
        np.concatenate([0 * asked, asked], axis=1),
        round(asked.sum()),
    )


_KINDS: dict[str, Callable[[Sequence[dict[str, Any]], np.ndarray, Sequence[str]], Metric]] = {
    "images": _over_images,
    "questions": _over_questions,
    "groups": _over_groups,
    "categories": _over_categories,
    "pairs": _over_pairs,
}


def _share(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means; NaN where nothing was drawn."""
    return np.divide(sums, sizes, out=np.full(np.shape(sizes), np.nan), where=sizes > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over parts (last axis); a part that isn't drawn doesn't count."""
    return np.nanmean(values, axis=-1)


def _f1(right: np.ndarray, wrong: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN), 0 where no yes was right, NaN where nothing was drawn.

    An answer that is neither yes nor no is no mistake.
    """
    empty = np.where(asked > 0, 0.0, np.nan)
    return np.divide(2 * right, 2 * right + wrong, out=empty, where=right > 0)


def _plain(text: Any) -> str:
    return str(text).lower().strip()
