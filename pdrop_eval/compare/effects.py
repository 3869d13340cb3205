"""What a candidate changes: the difference of each benchmark and of all, with how sure it is.

Differences are candidate - baseline in points of 0 to 100 (MME's sum / 20), so a loss is negative.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from pdrop_eval.benchmarks import benchmarks
from pdrop_eval.compare.interval import LEVEL, Spread
from pdrop_eval.compare.pairs import Pairs, same_answer
from pdrop_eval.compare.resampling import Metric, bootstrap, contributions, number_clusters
from pdrop_eval.compare.tests_of import McNemar, holm, mcnemar, p_of, swap_p, swaps
from pdrop_eval.report.cells import DIVISOR

Interval = tuple[float, float]
FEW = 10  # with fewer clusters, no interval is to be relied on


@dataclass(frozen=True)
class Settings:
    """resamples: draws of the bootstrap. swaps: random exchanges of the test. seed: of both."""

    resamples: int = 4000
    swaps: int = 9999
    seed: int = 1


@dataclass(frozen=True)
class Effect:
    """One benchmark.

    n: questions. clusters: what was drawn. baseline, candidate: the scores of the pairs, on the record's
    scale. difference, interval, adjusted, smallest: points of 0 to 100. adjusted: the interval at the level
    of Bonferroni, 1 - 0.05 / family, for `family` benchmarks that are looked at together. smallest: the
    smallest difference that would have been shown with 80% power (see `interval`). p: by exchanging the runs'
    answers of whole clusters; p_holm: after Holm over the family. mcnemar: only where every answer is right
    or wrong; it takes questions as independent, also where clusters are larger than 1 (`notes` says so).
    agreement: the share of equal answers, 0 to 1. changed: answers that differ. changed_scores: questions
    that earned something else. left_over: samples without a partner (baseline's, candidate's). notes: what to
    know, in words.
    """

    benchmark: str
    metric: str
    n: int
    clusters: int
    baseline: float
    candidate: float
    difference: float
    interval: Interval
    adjusted: Interval
    smallest: float
    p: float
    p_holm: float
    family: int
    mcnemar: McNemar | None
    agreement: float
    changed: int
    changed_scores: int
    left_over: tuple[int, int]
    notes: tuple[str, ...]
    spread: Spread = field(repr=False)
    parts: "Parts" = field(repr=False, compare=False)

    def interval_at(self, level: float) -> Interval:
        """The interval at another level than 95%."""
        return self.spread.interval(level)


@dataclass(frozen=True)
class Parts:
    """What the overall figures are made of, in points.

    contributions: of each cluster to the difference [clusters]. draws: the bootstrap's scores of baseline and
    candidate [resamples]. swaps: differences after random exchanges. most: what one cluster could change.
    seen: the share of the variance that a bootstrap of so few clusters sees.
    """

    contributions: np.ndarray
    draws: tuple[np.ndarray, np.ndarray]
    swaps: np.ndarray
    most: float
    seen: float

    def error(self, baseline: float = 1.0, candidate: float = 1.0) -> float:
        """The standard error of candidate times its weight minus baseline times its own."""
        first, second = self.draws
        return float(np.std(second * candidate - first * baseline, ddof=1)) / math.sqrt(self.seen)


@dataclass(frozen=True)
class Overall:
    """All benchmarks, each weighing the same.

    benchmarks, n, clusters: how many. difference, interval, smallest: the mean difference in points. p: by
    exchanging answers. relative: the mean over benchmarks of candidate's score / baseline's, in %, with its
    interval; None where no baseline scores above 0. left_out: benchmarks that it leaves out because the
    baseline's score is 0. agreement: the share of equal answers among all questions. changed: answers that
    differ.
    """

    benchmarks: int
    n: int
    clusters: int
    difference: float
    interval: Interval
    smallest: float
    p: float
    relative: float | None
    relative_interval: Interval | None
    left_out: tuple[str, ...]
    agreement: float
    changed: int
    spread: Spread = field(repr=False)


def measure(pairs: Pairs, settings: Settings | None = None) -> Effect:
    """The effect of one benchmark, looked at alone."""
    settings = settings or Settings()
    metrics = pairs.metrics()
    scale = DIVISOR.get(pairs.benchmark, 1.0)
    parts = _parts(pairs.benchmark, metrics, settings)
    baseline, candidate = (metric.value for metric in metrics)
    difference = (candidate - baseline) / scale
    clusters = len(metrics[0].sums)
    spread = Spread(difference, parts.error(), float(np.abs(parts.contributions).sum()), clusters, parts.most)
    interval = spread.interval()
    p = swap_p(*metrics, parts.swaps * scale)
    exact = _mcnemar(pairs)
    return Effect(
        benchmark=pairs.benchmark,
        metric=benchmarks()[pairs.benchmark].metric,
        n=len(pairs.pairs),
        clusters=clusters,
        baseline=baseline,
        candidate=candidate,
        difference=difference,
        interval=interval,
        adjusted=interval,
        smallest=spread.smallest,
        p=p,
        p_holm=p,
        family=1,
        mcnemar=exact,
        agreement=fmean(same_answer(*pair) for pair in pairs.pairs),
        changed=len(pairs.changed),
        changed_scores=sum(one["score"] != other["score"] for one, other in pairs.pairs),
        left_over=pairs.left_over,
        notes=tuple(_notes(pairs, clusters, exact)),
        spread=spread,
        parts=parts,
    )


def measure_all(every: Sequence[Pairs], settings: Settings | None = None) -> list[Effect]:
    """The effects of benchmarks that are looked at together: adjusted for their number."""
    effects = [measure(pairs, settings) for pairs in every]
    level = 1 - (1 - LEVEL) / max(len(effects), 1)
    corrected = holm([effect.p for effect in effects])
    return [
        replace(effect, adjusted=effect.interval_at(level), p_holm=p, family=len(effects))
        for effect, p in zip(effects, corrected, strict=True)
    ]


def overall(effects: Sequence[Effect]) -> Overall:
    """The mean over benchmarks, which ask different questions: each is drawn for itself."""
    if not effects:
        raise ValueError("no benchmark was compared")
    difference = fmean(effect.difference for effect in effects)
    spread = _mean_spread(effects, difference, [(1.0, 1.0)] * len(effects))
    swapped = np.mean([effect.parts.swaps for effect in effects], axis=0)
    n = sum(effect.n for effect in effects)
    above = [effect for effect in effects if effect.baseline > 0]
    relative = 100 * fmean(e.candidate / e.baseline for e in above) if above else None
    return Overall(
        benchmarks=len(effects),
        n=n,
        clusters=spread.clusters,
        difference=difference,
        interval=spread.interval(),
        smallest=spread.smallest,
        p=p_of(difference, swapped) if any(effect.changed_scores for effect in effects) else 1.0,
        relative=relative,
        relative_interval=None if relative is None else _relative_interval(above, relative),
        left_out=tuple(effect.benchmark for effect in effects if effect.baseline <= 0),
        agreement=sum(effect.agreement * effect.n for effect in effects) / n,
        changed=sum(effect.changed for effect in effects),
        spread=spread,
    )


def _parts(benchmark: str, metrics: tuple[Metric, Metric], settings: Settings) -> Parts:
    scale = DIVISOR.get(benchmark, 1.0)
    seed = [settings.seed, list(benchmarks()).index(benchmark)]
    first, second = bootstrap(*metrics, settings.resamples, seed)
    sizes = [len(members) for members in metrics[0].strata]
    return Parts(
        contributions=contributions(*metrics) / scale,
        draws=(first / scale, second / scale),
        swaps=swaps(*metrics, settings.swaps, [*seed, 1]) / scale,
        most=metrics[0].largest / scale,
        # a bootstrap of m clusters sees (m - 1) / m of the variance; of a single one nothing
        seen=fmean((size - 1) / size if size > 1 else 1.0 for size in sizes),
    )


def _mean_spread(effects: Sequence[Effect], difference: float, weights: Sequence[Interval]) -> Spread:
    """The spread of a mean over benchmarks; weights: of each one's baseline and candidate."""
    k = len(effects)
    every = list(zip(effects, weights, strict=True))
    return Spread(
        difference,
        math.sqrt(sum(e.parts.error(*pair) ** 2 for e, pair in every)) / k,
        sum(float(np.abs(e.parts.contributions).sum()) * pair[1] for e, pair in every) / k,
        sum(e.clusters for e in effects),
        max(e.parts.most * pair[1] for e, pair in every) / k,
    )


def _relative_interval(effects: Sequence[Effect], relative: float) -> Interval:
    """The interval of the mean ratio in %, by the delta method: a draw's baseline may be 0, a ratio can't."""
    weights = []
    for effect in effects:
        score = effect.baseline / DIVISOR.get(effect.benchmark, 1.0)
        weights.append((100 / score * effect.candidate / effect.baseline, 100 / score))
    low, high = _mean_spread(effects, relative - 100, weights).interval()
    return max(0.0, 100 + low), 100 + high


def _mcnemar(pairs: Pairs) -> McNemar | None:
    """Of questions (MMBench's with all their copies); None where a score is between right and wrong."""
    first, second = pairs.samples
    if any(sample["score"] not in (0, 1) for sample in (*first, *second)):
        return None
    marks = list(zip(first, second, strict=True))
    if benchmarks()[pairs.benchmark].resample == "questions":  # the copies of a question all have its score
        marks = list(dict(zip(number_clusters(first).tolist(), marks, strict=True)).values())
    gained = sum(one["score"] < other["score"] for one, other in marks)
    return mcnemar(gained, sum(one["score"] > other["score"] for one, other in marks))


def _notes(pairs: Pairs, clusters: int, exact: McNemar | None) -> list[str]:
    """What a reader should know of these numbers."""
    n, notes = len(pairs.pairs), []
    if exact and clusters < n and benchmarks()[pairs.benchmark].resample != "questions":
        notes.append(
            f"McNemar's test takes the {n} questions as independent; they are about {clusters} pictures. "
            "Interval and p don't."
        )
    if clusters < FEW:
        notes.append(f"only {clusters} clusters: the interval is rough")
    if any(pairs.left_over):
        notes.append(
            f"left out: {pairs.left_over[0]} samples of the baseline, {pairs.left_over[1]} of the candidate, "
            "that the other has not"
        )
    return notes
