"""A run's answers to a benchmark, with what each of its comparisons needs of them: found out once.

In a sweep one run is compared with hundreds, and most were asked the same questions in the same order. Two
such runs are paired by their places: what `pair_samples` would find, question by question, is the same.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.benchmarks.scoring.difference import pictures_of, tallied_difference
from pdrop_eval.benchmarks.scoring.tally import Tally, unit_numbers
from pdrop_eval.records.imported import CONTENT
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.paired.effect import Scores
from pdrop_eval.report.paired.pairing import Samples, pair_samples
from pdrop_eval.report.paired.stored_samples import tallied_samples
from pdrop_eval.report.paired.ways import imported, key_of

_TEXT = json.JSONEncoder(sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True)
class Answers:
    """A run's samples of a benchmark that have a score, by doc_id, and what they add up to."""

    run: Run
    benchmark: str
    samples: Samples
    tally: Tally

    @classmethod
    def of(cls, run: Run, benchmark: str) -> "Answers":
        """Read them. Raises CannotCompareError where they can't be relied on."""
        return cls(run, benchmark, *tallied_samples(run, benchmark))

    @cached_property
    def asked(self) -> tuple[list[str], list[str]] | None:
        """What was asked, and the targets; None of imported answers, whose questions are known otherwise."""
        if imported(self.run, self.benchmark) is not None:
            return None
        keys = [key_of(sample, CONTENT) for sample in self.samples]
        return keys, [_TEXT.encode(sample.get("target")) for sample in self.samples]

    @cached_property
    def units(self) -> np.ndarray:
        """The number of each sample's unit."""
        return unit_numbers(self.samples)

    @cached_property
    def pictures(self) -> Sequence[str | None]:
        """What each unit is about."""
        return pictures_of(self.samples)

    def asks_as(self, other: "Answers") -> bool:
        """Whether both were asked the same, in the same order, about the same units."""
        return (
            self.asked is not None and self.asked == other.asked and np.array_equal(self.units, other.units)
        )


def scores_of(baseline: Answers, candidate: Answers) -> Scores:
    """The scores of two runs on one benchmark, paired. Raises CannotCompareError where they can't be."""
    key = baseline.benchmark
    if not baseline.asks_as(candidate):
        runs, samples = (baseline.run, candidate.run), (baseline.samples, candidate.samples)
        return Scores.of(pair_samples(*runs, key, *samples))
    both = zip(baseline.samples, candidate.samples, strict=True)
    changed = sum(one["score"] != other["score"] for one, other in both)
    one, other = baseline.tally, candidate.tally
    found = tallied_difference(
        benchmark_of(key).rule, one, other, baseline.pictures, len(baseline.samples), changed
    )
    return Scores(key, one.value, other.value, found)
