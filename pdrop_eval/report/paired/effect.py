"""What a candidate changes: the difference of each benchmark and of all, with tests of how sure it is.

Differences are candidate - baseline in points of 0 to 100 (MME's sum / 20), so a loss is negative.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.benchmarks.scoring.difference import (
    LEVEL,
    Difference,
    Interval,
    each,
    ends_of,
    many,
    with_intervals,
)
from pdrop_eval.benchmarks.scoring.differences import Differences, mean_differences
from pdrop_eval.benchmarks.scoring.significance import (
    McNemar,
    holm,
    mcnemar,
    p_of,
    permutation_p,
    permutations,
)
from pdrop_eval.benchmarks.scoring.tally import unit_numbers
from pdrop_eval.report.paired.pairing import Pairs, same_answer

FEW = 10  # with fewer clusters, no interval is to be relied on


@dataclass(frozen=True)
class Settings:
    """The randomisation test's number of random exchanges, and their seed."""

    permutations: int = 9999
    seed: int = 1


@dataclass(frozen=True)
class Effect:
    """One benchmark.

    Attributes:
        benchmark: Its key.
        baseline: The baseline's score of the pairs, on the record's scale.
        candidate: The candidate's.
        found: The difference in points, with its interval.
        p: By exchanging the runs' answers of whole clusters.
        p_holm: p after Holm over the family.
        family: The number of benchmarks that are looked at together.
        mcnemar: Only where every answer is right or wrong; it takes questions as independent, also where
            clusters are larger than 1 (`notes` says so).
        agreement: The share of equal answers, 0 to 1.
        changed: Answers that differ.
        left_over: Samples without a partner: the baseline's, the candidate's.
        notes: What to know, in words.
        permuted: Differences in points after random exchanges of the answers.
    """

    benchmark: str
    baseline: float
    candidate: float
    found: Difference
    p: float
    p_holm: float
    family: int
    mcnemar: McNemar | None
    agreement: float
    changed: int
    left_over: tuple[int, int]
    notes: tuple[str, ...]
    permuted: np.ndarray = field(repr=False, compare=False)

    @property
    def adjusted(self) -> Interval:
        """The interval at the level of Bonferroni for the family."""
        return self.found.interval_at(1 - (1 - LEVEL) / self.family)


@dataclass(frozen=True)
class Mean:
    """All benchmarks, each weighing the same.

    Attributes:
        found: The mean difference in points, with its interval.
        relative: The mean over benchmarks of candidate's score / baseline's, in %; None where no baseline
            scores above 0.
        relative_interval: Its interval. It may reach above 100 where the baseline has everything right: it is
            of all questions that might have been asked, and of those a baseline may have fewer right.
        left_out: Benchmarks that `relative` leaves out because the baseline's score is 0.
    """

    found: Difference
    relative: float | None
    relative_interval: Interval | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Overall(Mean):
    """The mean over benchmarks, with what the answers say of it.

    Attributes:
        p: By exchanging answers.
        agreement: The share of equal answers among all questions.
        changed: Answers that differ.
    """

    p: float
    agreement: float
    changed: int


@dataclass(frozen=True)
class Scores:
    """The scores of two runs on one benchmark, without a test."""

    benchmark: str
    baseline: float
    candidate: float
    found: Difference

    @classmethod
    def of(cls, pairs: Pairs) -> "Scores":
        """Return those of paired samples."""
        rule = benchmark_of(pairs.benchmark).rule
        baseline, candidate = (rule.score(samples) for samples in pairs.samples)
        return cls(pairs.benchmark, baseline, candidate, pairs.difference)


@dataclass(frozen=True)
class ManyScores:
    """The same of many pairs of runs that were asked the same; float64 [pairs]."""

    benchmark: str
    baseline: np.ndarray
    candidate: np.ndarray
    found: Differences

    def relative(self, which: np.ndarray) -> Differences:
        """The differences of some pairs in percent of the baseline's score, which is above 0."""
        scale = 100 / benchmark_of(self.benchmark).rule.range[1]
        return self.found.some(which).relative(self.baseline[which] * scale, self.candidate[which] * scale)


def measure(pairs: Pairs, settings: Settings | None = None) -> Effect:
    """The effect of one benchmark, looked at alone."""
    settings = settings or Settings()
    rule = benchmark_of(pairs.benchmark).rule
    baseline, candidate = (rule.tally(samples) for samples in pairs.samples)
    found, exact = pairs.difference, _exact_test(pairs)
    coins = _coins(pairs.benchmark, found.units.pictures)
    permuted = permutations(baseline, candidate, settings.permutations, [settings.seed], coins)
    p = permutation_p(baseline, candidate, permuted)
    return Effect(
        benchmark=pairs.benchmark,
        baseline=baseline.value,
        candidate=candidate.value,
        found=found,
        p=p,
        p_holm=p,
        family=1,
        mcnemar=exact,
        agreement=fmean(same_answer(*pair) for pair in pairs.pairs),
        changed=len(pairs.changed),
        left_over=pairs.left_over,
        notes=tuple(_notes(pairs, found.clusters, exact)),
        permuted=permuted * 100 / rule.range[1],
    )


def measure_all(every: Sequence[Pairs], settings: Settings | None = None) -> list[Effect]:
    """The effects of benchmarks that are looked at together: adjusted for their number."""
    effects = [measure(pairs, settings) for pairs in every]
    corrected = holm([effect.p for effect in effects])
    return [
        replace(effect, p_holm=p, family=len(effects)) for effect, p in zip(effects, corrected, strict=True)
    ]


def overall(effects: Sequence[Effect]) -> Overall:
    """The mean over benchmarks. Those that ask about the same pictures are not independent.

    In the test, too, what they ask about one picture is exchanged together (`significance.permutations`).
    """
    if not effects:
        raise ValueError("no benchmark was compared")
    mean = mean_of(effects)
    permuted = np.mean([effect.permuted for effect in effects], axis=0)
    return Overall(
        **vars(mean),
        p=p_of(mean.found.value, permuted) if mean.found.changed else 1.0,
        agreement=sum(effect.agreement * effect.found.n for effect in effects) / mean.found.n,
        changed=sum(effect.changed for effect in effects),
    )


def mean_of(compared: Sequence[Effect | Scores]) -> Mean:
    """The mean over benchmarks, in points and in percent of the baseline."""
    return means_of([_alone(one) for one in compared])[0]


def means_of(compared: Sequence[ManyScores]) -> list[Mean]:
    """The same of many pairs of runs that were asked the same: the mean of each."""
    found = with_intervals(each(mean_differences([one.found for one in compared])))
    able = np.stack([one.baseline > 0 for one in compared], axis=1)
    relative: list[tuple[float, Interval] | None] = [None] * len(found)
    for kind in {tuple(row) for row in able.tolist()}:
        if any(kind):
            which = np.flatnonzero((able == kind).all(axis=1))
            ratios = [one.relative(which) for one, above in zip(compared, kind, strict=True) if above]
            mean = each(mean_differences(ratios))
            for pair, one, ends in zip(which.tolist(), mean, ends_of(mean), strict=True):
                relative[pair] = one.value, ends
    names = [one.benchmark for one in compared]
    out = [tuple(name for name, above in zip(names, row, strict=True) if not above) for row in able.tolist()]
    return [_mean(*one) for one in zip(found, relative, out, strict=True)]


def _mean(found: Difference, relative: tuple[float, Interval] | None, left_out: tuple[str, ...]) -> Mean:
    if relative is None:
        return Mean(found, None, None, left_out)
    value, (low, high) = relative
    return Mean(found, 100 + value, (max(0.0, 100 + low), 100 + high), left_out)


def _alone(one: Effect | Scores) -> ManyScores:
    return ManyScores(one.benchmark, np.array([one.baseline]), np.array([one.candidate]), many([one.found]))


def _coins(benchmark: str, pictures: Sequence[str | None]) -> list[str]:
    """Names of units by which benchmarks know each other's: the k-th about a picture."""
    times: Counter[str] = Counter()
    names = []
    for place, picture in enumerate(pictures):
        name = f"{benchmark} {place}" if picture is None else picture
        names.append(f"{name} {times[name]}")
        times[name] += 1
    return names


def _exact_test(pairs: Pairs) -> McNemar | None:
    """Of questions (MMBench's with all their copies); None where a score is between right and wrong."""
    first, second = pairs.samples
    if any(sample["score"] not in (0, 1) for sample in (*first, *second)):
        return None
    marks = list(zip(first, second, strict=True))
    if benchmark_of(pairs.benchmark).rule.copies:  # the copies of a question all have its score
        marks = list(dict(zip(unit_numbers(first).tolist(), marks, strict=True)).values())
    gained = sum(one["score"] < other["score"] for one, other in marks)
    return mcnemar(gained, sum(one["score"] > other["score"] for one, other in marks))


def _notes(pairs: Pairs, clusters: int, exact: McNemar | None) -> list[str]:
    """What a reader should know of these numbers."""
    n, notes = len(pairs.pairs), list(pairs.notes)
    if exact and clusters < n and not benchmark_of(pairs.benchmark).rule.copies:
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
