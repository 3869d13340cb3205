"""A run's score with its standard error, from what lmms-eval's own metric functions gave.

lmms-eval's standard errors are closed forms for means. Most of our scores are no plain mean of independent
questions, so the error is a cluster bootstrap: what belongs together (`Metric.unit`) is drawn together, and
the score is computed anew for each draw.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.metric import Aggregate, Metric
from pdrop_eval.benchmarks.scoring.tally import Tally

_CELLS = 20_000_000  # numbers of one block of draws: 160 MB
_STORED = ("score", "cluster", "part")


@dataclass(frozen=True)
class Score:
    """A score on the record's scale, with its basis.

    Attributes:
        value: The score.
        stderr: Its standard error; None with fewer than two units.
        n: Questions.
        clusters: Units that were resampled.
        parts: Scores of parts, where there are any.
        rows: Of each question what it earned (`score`, 0 to 1), the number of its unit (`cluster`), and its
            `part`, where there are any.
    """

    value: float
    stderr: float | None
    n: int
    clusters: int
    parts: dict[str, float]
    rows: tuple[dict[str, Any], ...]


def score(
    metric: Metric, items: Sequence[Any], docs: Sequence[dict], units: Sequence[Any], aggregate: Aggregate,
    factor: float = 1.0, resamples: int = 1000, seed: int = 1,
) -> Score:  # fmt: skip
    """The score of a task from what lmms-eval's `process_results` gave for each sample.

    Args:
        metric: The benchmark's scoring rule.
        items: lmms-eval's items, one for each sample, as are `docs` and `units`.
        docs: The rows of the data.
        units: A label of what each sample is resampled with.
        aggregate: lmms-eval's own aggregation for the metric.
        factor: From lmms-eval's scale to the record's.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.
    """
    if not items:
        raise ValueError("no sample gives this metric; a score needs at least one")
    rows = metric.rows(items, docs, units, aggregate)
    tally, value = metric.tally(rows), metric.aggregated(items, rows, aggregate) * factor
    if not np.isclose(value, tally.value, rtol=1e-9, atol=1e-9):
        raise RuntimeError(f"lmms-eval aggregates to {value}, the metric {metric.name} to {tally.value}")
    stored = tuple({name: row[name] for name in _STORED if name in row} for row in rows)
    parts = metric.parts(rows)
    return Score(value, standard_error(tally, resamples, seed), len(items), len(tally.sums), parts, stored)


def standard_error(tally: Tally, resamples: int, seed: int) -> float | None:
    """The standard deviation of a score's draws; None where nothing can be drawn."""
    if len(tally.sums) < 2 or resamples < 2:
        return None
    drawn = [tally.combine(counts @ tally.sums) for counts in _draws(tally, resamples, seed)]
    return float(np.concatenate(drawn).std(ddof=1))


def _draws(tally: Tally, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each unit is drawn: blocks of float64 [some draws, units], `resamples` rows in all."""
    random, number = np.random.default_rng(seed), len(tally.sums)
    block = max(1, _CELLS // number)
    for start in range(0, resamples, block):
        counts = np.zeros((min(block, resamples - start), number))
        for members in tally.strata or (np.arange(number),):
            n = len(members)
            counts[:, members] = random.multinomial(n, np.full(n, 1 / n), size=len(counts))
        yield counts
