"""Differences of two runs that answered the same questions, with intervals from a paired bootstrap.

What belongs together (the questions about one picture, MME's pairs, copies of a question) is drawn together,
and each draw gives both runs the same questions: what makes a question hard for both is no part of a
difference's uncertainty. A score is computed anew for each draw, by the rule of its benchmark; that the rule
gives the record's own score for all questions is checked before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.bootstrap import bootstrap, draw_clusters
from pdrop_eval.benchmarks.scoring.metric import make_metric, number_clusters, parts_of
from pdrop_eval.records.run import NEEDS_JUDGE, Run
from pdrop_eval.records.store import load_samples
from pdrop_eval.report.tables.cells import DIVISOR
from pdrop_eval.utils.errors import UserError

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
    clusters, parts = number_clusters(answers[0]), parts_of(answers[0])
    metrics = (
        make_metric(kind, answers[0], clusters, parts),
        make_metric(kind, answers[1], clusters, parts),
    )
    for run, metric in zip((one, other), metrics, strict=True):
        _check(run, benchmark, metric.value)
    seed = [SEED, list(benchmarks()).index(benchmark)]
    scale = DIVISOR.get(benchmark, 1.0)
    first, second = bootstrap(*metrics, draw_clusters(metrics[0], RESAMPLES, seed))
    gain = (metrics[0].value - metrics[1].value) / scale
    changed = sum(a["score"] != b["score"] for a, b in zip(*answers, strict=True))
    n = len(answers[0])
    return Difference(gain, n, int(clusters.max()) + 1, changed, (first - second) / scale)


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


def _check(run: Run, benchmark: str, value: float) -> None:
    score = float(run.results[benchmark]["score"])
    if not np.isclose(value, score, rtol=_NEAR, atol=_NEAR):
        raise NotPairedError(
            f"the samples of {run.id} give {value:.4f} and its record says {score:.4f}: evaluate it again"
        )
