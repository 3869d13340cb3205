"""Many runs compared at once: those that were asked the same, in the same order, are paired by place.

A sweep has many thousand pairs of such runs. What a run's samples add up to is in its record
(`benchmarks.stored_tally`): the file's checksum is looked at, and the questions are read of one run
alone. The samples of records that keep nothing are read. Numbers are those of `pairing`, to the last bit.
What can't be compared like that is left to it: other questions, imported results, and whatever is damaged,
which it tells in words.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.benchmarks.scoring.difference import Difference, each, pictures_of, with_intervals
from pdrop_eval.benchmarks.scoring.differences import tallied_differences, values_of
from pdrop_eval.benchmarks.scoring.tally import Tally
from pdrop_eval.benchmarks.stored_tally import added_up, unpacked, with_values
from pdrop_eval.records.imported import IMPORTED
from pdrop_eval.records.rows.run import Run
from pdrop_eval.records.samples import trusted_tally
from pdrop_eval.report.paired.effect import ManyScores, Mean, means_of
from pdrop_eval.report.paired.stored_samples import CannotCompareError, is_near, scored_samples
from pdrop_eval.report.paired.ways import imported

_AT_ONCE = 500_000  # values of the pairs that are compared at once
_HELD = 10_000_000  # values in memory

Pair = tuple[Run, Run]
_Told = TypeVar("_Told")


@dataclass(frozen=True, eq=False)
class Asked:
    """The questions of a benchmark that runs have in common.

    Attributes:
        benchmark: Its key.
        n: How many there are.
        count: How many values a run has.
        tally: Of one of the runs.
        pictures: What each unit is about.
    """

    benchmark: str
    n: int
    count: int
    tally: Tally
    pictures: Sequence[str | None]


Questions = dict[tuple[str, str], Asked]


@dataclass(frozen=True)
class _Added:
    """What a run's samples of each benchmark add up to: the questions, and the values."""

    asked: tuple[Asked, ...]
    values: list[np.ndarray]

    @property
    def count(self) -> int:
        return sum(map(len, self.values))


class Many:
    """Compares runs over some benchmarks; what it has read of the last ones isn't read again.

    Args:
        keys: The benchmarks.
        asked: The questions that were read, by benchmark and hash, where several of these share them.
    """

    def __init__(self, keys: Sequence[str], asked: Questions | None = None) -> None:
        self._tasks = {key: benchmark_of(key).task for key in keys}
        self._asked: Questions = {} if asked is None else asked
        self._added: dict[str, _Added | None] = {}
        self._held = 0

    def means(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Mean]]:
        """Each pair of a baseline and a candidate that were asked the same, with its mean."""
        return self._each(pairs, means_of)

    def differences(self, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, tuple[Difference, ...]]]:
        """The same with the difference of each benchmark, in their order."""
        return self._each(pairs, _differences)

    def _each(
        self, pairs: Sequence[Pair], told: Callable[[Sequence[ManyScores]], Iterable[_Told]]
    ) -> Iterator[tuple[Pair, _Told]]:
        """Each pair with what is told of it. told: makes it of the pairs' scores by benchmark."""
        some: list[tuple[Pair, _Added, _Added]] = []
        count = 0
        for pair in pairs:
            one, other = (self._of(run) for run in pair)
            if one is None or other is None or one.asked != other.asked:
                continue
            some.append((pair, one, other))
            count += one.count
            if count > _AT_ONCE:
                yield from _alike(some, told)
                some, count = [], 0
        yield from _alike(some, told)

    def _of(self, run: Run) -> _Added | None:
        """What a run's samples add up to; None where they can't be relied on."""
        found = self._added.pop(run.folder) if run.folder in self._added else self._read(run)
        self._added[run.folder] = found  # the last to be dropped
        while self._held > _HELD and len(self._added) > 2:
            dropped = self._added.pop(next(iter(self._added)))
            self._held -= dropped.count if dropped else 0
        return found

    def _read(self, run: Run) -> _Added | None:
        asked, values, folder = [], [], run.folder
        for key, task in self._tasks.items():
            found = self._stored(run.results.get(key), key, folder, task) or self._from_samples(run, key)
            if found is None:
                return None
            asked.append(found[0])
            values.append(found[1])
        added = _Added(tuple(asked), values)
        self._held += added.count
        return added

    def _stored(
        self, entry: Mapping[str, Any] | None, key: str, folder: str, task: str
    ) -> tuple[Asked, np.ndarray] | None:
        """By the entry of the record, of questions that are known."""
        told = entry.get("tally") if entry else None
        asked = self._asked.get((key, told["asked"])) if told else None
        if entry is None or asked is None:
            return None
        if entry.get("score") is None or entry["n"] != asked.n or entry.get(IMPORTED):
            return None
        tally = trusted_tally(folder, task, entry)
        values = None if tally is None else unpacked(tally["values"])
        return None if values is None or len(values) != asked.count else (asked, values)

    def _from_samples(self, run: Run, key: str) -> tuple[Asked, np.ndarray] | None:
        if imported(run, key) is not None:
            return None
        try:
            samples = scored_samples(run, key)
        except CannotCompareError:
            return None
        added = added_up(benchmark_of(key), samples)
        which = key, added.asked
        if which not in self._asked:
            pictures = pictures_of(samples)
            self._asked[which] = Asked(key, added.n, len(added.values), added.tally, pictures)
        return self._asked[which], added.values


def _differences(compared: Sequence[ManyScores]) -> Iterator[tuple[Difference, ...]]:
    """Those of each pair, with their intervals, which are computed at once."""
    yield from zip(*(with_intervals(each(one.found)) for one in compared), strict=True)


def _alike(
    pairs: Sequence[tuple[Pair, _Added, _Added]],
    told: Callable[[Sequence[ManyScores]], Iterable[_Told]],
) -> Iterator[tuple[Pair, _Told]]:
    """Compare pairs, at once those that were all asked the same."""
    groups: dict[tuple[Asked, ...], dict[str, tuple[Run, list[np.ndarray]]]] = defaultdict(dict)
    members: dict[tuple[Asked, ...], list[Pair]] = defaultdict(list)
    for pair, *both in pairs:
        members[both[0].asked].append(pair)
        for run, added in zip(pair, both, strict=True):
            groups[added.asked][run.folder] = run, added.values
    for asked, some in members.items():
        found, compared = _compared(asked, some, groups[asked])
        if found:
            yield from zip(found, told(compared), strict=True)


def _compared(
    asked: tuple[Asked, ...], pairs: Sequence[Pair], runs: Mapping[str, tuple[Run, list[np.ndarray]]]
) -> tuple[list[Pair], list[ManyScores]]:
    """Compare runs that were all asked the same; those whose records contradict themselves are left out."""
    stacks = [np.stack([values[at] for _, values in runs.values()]) for at in range(len(asked))]
    tallies = [with_values(one.tally, stack) for one, stack in zip(asked, stacks, strict=True)]
    scores = [values_of(tally) for tally in tallies]
    sound = np.ones(len(runs), dtype=bool)
    for one, score in zip(asked, scores, strict=True):
        told = [float(run.results[one.benchmark]["score"]) for run, _ in runs.values()]
        sound &= is_near(score, np.array(told))
    place = {folder: at for at, folder in enumerate(runs) if sound[at]}
    some = [pair for pair in pairs if all(run.folder in place for run in pair)]
    if not some:
        return [], []
    sides = [np.array([place[pair[side].folder] for pair in some]) for side in (0, 1)]
    compared = [
        _scores(one, tally, stack[:, -one.n :], score, sides)
        for one, tally, stack, score in zip(asked, tallies, stacks, scores, strict=True)
    ]
    return some, compared


def _scores(
    asked: Asked, tally: Tally, earned: np.ndarray, score: np.ndarray, sides: Sequence[np.ndarray]
) -> ManyScores:
    """Those of one benchmark.

    Args:
        asked: The questions.
        tally: Of all runs.
        earned: What each run earned with each question, [runs, questions].
        score: Of each run.
        sides: The places of the baselines among the runs, and of the candidates.
    """
    one, other = (replace(tally, sums=tally.sums[side], influences=tally.influences[side]) for side in sides)
    changed = (earned[sides[0]] != earned[sides[1]]).sum(axis=1)
    rule = benchmark_of(asked.benchmark).rule
    found = tallied_differences(rule, one, other, asked.pictures, asked.n, changed)
    return ManyScores(asked.benchmark, score[sides[0]], score[sides[1]], found)
