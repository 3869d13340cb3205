"""What a candidate changes: the difference of each benchmark and of all, with how sure it is.

Differences are candidate - baseline in points of 0 to 100 (MME's sum / 20), so a loss is negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.bootstrap import bootstrap, draw_clusters
from pdrop_eval.benchmarks.scoring.interval import LEVEL, Spread, possible
from pdrop_eval.benchmarks.scoring.mean_interval import mean_spread
from pdrop_eval.benchmarks.scoring.significance import McNemar, holm, p_of, swap_p, swaps
from pdrop_eval.report.paired.effect_parts import Parts, exact_test, make_notes, make_spread
from pdrop_eval.report.paired.pairing import Pairs, same_answer
from pdrop_eval.report.tables.cells import DIVISOR

Interval = tuple[float, float]


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
    parts: Parts = field(repr=False, compare=False)

    def interval_at(self, level: float) -> Interval:
        """The interval at another level than 95%."""
        return possible(self.spread.interval(level))


@dataclass(frozen=True)
class Overall:
    """All benchmarks, each weighing the same.

    benchmarks, n, clusters: how many; a picture that several ask about is one cluster. difference, interval,
    smallest: the mean difference in points. p: by exchanging answers. relative: the mean over benchmarks of
    candidate's score / baseline's, in %, with its interval; None where no baseline scores above 0. The
    interval may reach above 100 where the baseline has everything right: it is of all questions that might
    have been asked, and of those a baseline may have fewer right. left_out: benchmarks that it leaves out
    because the baseline's score is 0. agreement: the share of equal answers among all questions. changed:
    answers that differ.
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

    def interval_at(self, level: float) -> Interval:
        """The interval at another level than 95%."""
        return possible(self.spread.interval(level))


def measure(pairs: Pairs, settings: Settings | None = None) -> Effect:
    """The effect of one benchmark, looked at alone."""
    settings = settings or Settings()
    metrics = pairs.metrics()
    scale = DIVISOR.get(pairs.benchmark, 1.0)
    seed = [settings.seed, list(benchmarks()).index(pairs.benchmark)]
    draws = bootstrap(*metrics, draw_clusters(metrics[0], settings.resamples, seed))
    spread, seen = make_spread(metrics, draws, scale, pairs.pictures())
    swapped = swaps(*metrics, settings.swaps, [settings.seed], pairs.coins())
    baseline, candidate = (metric.value for metric in metrics)
    parts = Parts(
        baseline / scale, candidate / scale, (draws[0] / scale, draws[1] / scale), swapped / scale, seen
    )
    p, exact = swap_p(*metrics, swapped), exact_test(pairs)
    return Effect(
        benchmark=pairs.benchmark,
        metric=benchmarks()[pairs.benchmark].metric,
        n=len(pairs.pairs),
        clusters=spread.clusters,
        baseline=baseline,
        candidate=candidate,
        difference=spread.difference,
        interval=possible(spread.interval()),
        adjusted=possible(spread.interval()),
        smallest=spread.smallest,
        p=p,
        p_holm=p,
        family=1,
        mcnemar=exact,
        agreement=fmean(same_answer(*pair) for pair in pairs.pairs),
        changed=len(pairs.changed),
        changed_scores=sum(one["score"] != other["score"] for one, other in pairs.pairs),
        left_over=pairs.left_over,
        notes=tuple(make_notes(pairs, spread.clusters, exact)),
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
    """The mean over benchmarks. Those that ask about the same pictures are not independent (`means`).

    In the test, too, what they ask about one picture is exchanged together (`tests_of.swaps`).
    """
    if not effects:
        raise ValueError("no benchmark was compared")
    difference = fmean(effect.difference for effect in effects)
    spread = mean_spread([effect.spread for effect in effects], difference)
    swapped = np.mean([effect.parts.swaps for effect in effects], axis=0)
    n = sum(effect.n for effect in effects)
    above = [effect for effect in effects if effect.baseline > 0]
    relative = 100 * fmean(effect.candidate / effect.baseline for effect in above) if above else None
    return Overall(
        benchmarks=len(effects),
        n=n,
        clusters=spread.clusters,
        difference=difference,
        interval=possible(spread.interval()),
        smallest=spread.smallest,
        p=p_of(difference, swapped) if any(effect.changed_scores for effect in effects) else 1.0,
        relative=relative,
        relative_interval=None if relative is None else _relative_interval(above, relative),
        left_out=tuple(effect.benchmark for effect in effects if effect.baseline <= 0),
        agreement=sum(effect.agreement * effect.n for effect in effects) / n,
        changed=sum(effect.changed for effect in effects),
        spread=spread,
    )


def _relative_interval(effects: Sequence[Effect], relative: float) -> Interval:
    """The interval of the mean ratio, in %."""
    spreads = [effect.parts.ratio(effect.spread) for effect in effects]
    low, high = mean_spread(spreads, relative - 100).interval()
    return max(0.0, 100 + low), 100 + high
