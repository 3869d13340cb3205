"""Differences of two runs that answered the same questions, with intervals from a paired bootstrap.

What belongs together (the questions about one picture, MME's pairs, copies of a question) is drawn together,
and each draw gives both runs the same questions: what makes a question hard for both is no part of a
difference's uncertainty. A score is computed anew for each draw, by the rule of its benchmark; that the rule
gives the record's own score for all questions is checked before. Only this and `findings` import numpy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pdrop_eval.benchmarks import benchmarks
from pdrop_eval.errors import UserError
from pdrop_eval.lmms.scores import Draws
from pdrop_eval.records import load_samples
from pdrop_eval.report.cells import DIVISOR
from pdrop_eval.report.runs import NEEDS_JUDGE, Run

RESAMPLES = 4000
SEED = 1
_NEAR = 1e-6  # a score from its samples is the record's, but for rounding


class NotPairedError(Exception):
    """Why two runs can't be compared question by question."""


@dataclass(frozen=True)
class Difference:
    """One run's score minus another's, in points of 0 to 100 (MME / 20), with a 95% interval.

    n: questions. clusters: what was drawn. changed: questions that earned something else; with 0 of them
    there is no interval, because a bootstrap can't see what didn't vary.
    """

    value: float
    n: int
    clusters: int
    changed: int
    draws: np.ndarray = field(repr=False, compare=False)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the 95% interval: percentiles of the draws."""
        if not self.changed:
            return None
        low, high = np.percentile(self.draws, [2.5, 97.5])
        return float(low), float(high)

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval lies on that side of zero, else 0."""
        if self.interval is None:
            return 0
        low, high = self.interval
        return 1 if low > 0 else -1 if high < 0 else 0


def compare(one: Run, other: Run, benchmark: str) -> Difference:
    """The first run's score of a benchmark minus the second's. Raises NotPairedError, with the reason."""
    answers = [_answers(run, benchmark) for run in (one, other)]
    asked = [[(s["doc_id"], s.get("content_sha256")) for s in samples] for samples in answers]
    if asked[0] != asked[1]:
        raise NotPairedError("not the same questions")
    kind = benchmarks()[benchmark].resample
    clusters, parts = _clusters(answers[0]), [str(s.get("part", "")) for s in answers[0]]
    statistics = [_statistic(kind, samples, clusters, parts) for samples in answers]
    whole = np.ones((1, clusters.max() + 1))
    for run, statistic in zip((one, other), statistics, strict=True):
        _check(run, benchmark, float(statistic(whole)[0]))
    draws = Draws(RESAMPLES, [SEED, list(benchmarks()).index(benchmark)])
    counts = _counts(kind, draws, clusters, parts)
    scale = DIVISOR.get(benchmark, 1.0)
    found = [statistic(np.concatenate([whole, counts])) / scale for statistic in statistics]
    gains = found[0] - found[1]
    changed = sum(a["score"] != b["score"] for a, b in zip(*answers, strict=True))
    n = len(answers[0])
    return Difference(float(gains[0]), n, int(clusters.max()) + 1, changed, gains[1:])


def mean_of(differences: Sequence[Difference]) -> Difference:
    """The mean over benchmarks, which ask different questions: each is drawn for itself."""
    return Difference(
        float(np.mean([d.value for d in differences])),
        sum(d.n for d in differences),
        sum(d.clusters for d in differences),
        sum(d.changed for d in differences),
        np.mean([d.draws for d in differences], axis=0),
    )


def _answers(run: Run, benchmark: str) -> list[dict[str, Any]]:
    """The stored samples that count for the score."""
    entry = run.results.get(benchmark)
    if entry is None:
        raise NotPairedError(f"not in {run.id} yet")
    if entry.get("status") == NEEDS_JUDGE or entry.get("score") is None:
        raise NotPairedError("it needs a judge")
    try:
        samples = load_samples(Path(run.folder), benchmarks()[benchmark].task)
    except UserError as error:
        raise NotPairedError(str(error)) from error
    counted = [sample for sample in samples if sample.get("score") is not None]
    if len(counted) != entry["n"]:
        raise NotPairedError(f"{run.id} has {len(counted)} scored samples for {entry['n']} questions")
    return counted


def _clusters(samples: Sequence[dict[str, Any]]) -> np.ndarray:
    """The number of what each sample is drawn with: as recorded, else by its picture. int64 [samples]."""
    labels = [sample.get("cluster", sample.get("images_sha256")) for sample in samples]
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def _counts(kind: str, draws: Draws, clusters: np.ndarray, parts: list[str]) -> np.ndarray:
    """How often each cluster is drawn: [resamples, clusters]. MME's categories are fixed by its design."""
    number = clusters.max() + 1
    if kind != "pairs":
        return draws.counts(number).astype(float)
    counts = np.zeros((draws.resamples, number))
    for part in sorted(set(parts)):
        members = np.unique(clusters[_of(part, parts)])
        counts[:, members] = draws.counts(len(members))
    return counts


def _statistic(
    kind: str, samples: Sequence[dict[str, Any]], clusters: np.ndarray, parts: list[str]
) -> Callable[[np.ndarray], np.ndarray]:
    """The score on its scale as a function of how often each cluster counts: [draws, clusters] -> [draws]."""
    number = clusters.max() + 1
    earned = np.array([float(sample["score"]) for sample in samples])

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(clusters, values, number)

    ones = np.ones(len(samples))
    if kind == "images":
        return lambda counts: 100 * _share(counts @ total(earned), counts @ total(ones))
    if kind == "questions":  # a question counts once, with all its copies
        means = total(earned) / total(ones)
        return lambda counts: 100 * _share(counts @ means, counts.sum(axis=1))
    inside = [_of(part, parts) for part in sorted(set(parts))]
    if kind == "groups":
        return lambda counts: (
            100
            * _mean([_share(counts @ total(earned * rows), counts @ total(ones * rows)) for rows in inside])
        )
    if kind == "categories":
        yes = np.array([_plain(sample["target"]) == "yes" for sample in samples])
        said = [_plain(sample["answer"]) for sample in samples]
        said_yes, said_no = (np.array([word == wanted for word in said]) for wanted in ("yes", "no"))
        right = [total(yes & said_yes & rows) for rows in inside]
        wrong = [total(((~yes & said_yes) | (yes & said_no)) & rows) for rows in inside]
        return lambda counts: (
            100 * _mean([_f1(counts @ r, counts @ w) for r, w in zip(right, wrong, strict=True)])
        )
    assert kind == "pairs", kind
    pairs = 100 * total(earned) / total(ones) + 100 * (total(earned) == total(ones))
    members = [np.unique(clusters[rows]) for rows in inside]
    return lambda counts: sum(
        (_share(counts[:, m] @ pairs[m], counts[:, m].sum(axis=1)) for m in members), np.zeros(len(counts))
    )


def _of(part: str, parts: list[str]) -> np.ndarray:
    return np.array([name == part for name in parts])


def _share(sums: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means; NaN where nothing was drawn."""
    return np.divide(sums, sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)


def _mean(values: list[np.ndarray]) -> np.ndarray:
    """The mean over parts; a part that isn't drawn doesn't count."""
    return np.nanmean(np.array(values), axis=0)


def _f1(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """2TP / (2TP + FP + FN), 0 where no yes was right. An answer that is neither yes nor no is no mistake."""
    return np.divide(2 * right, 2 * right + wrong, out=np.zeros(len(right)), where=right > 0)


def _plain(text: Any) -> str:
    return str(text).lower().strip()


def _check(run: Run, benchmark: str, value: float) -> None:
    score = float(run.results[benchmark]["score"])
    if not np.isclose(value, score, rtol=_NEAR, atol=_NEAR):
        raise NotPairedError(
            f"the samples of {run.id} give {value:.4f} and its record says {score:.4f}: evaluate it again"
        )
