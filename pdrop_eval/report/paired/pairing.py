"""The answers of two runs to the same questions, paired by what was asked, never by row number.

What was asked is the hash of prompt and pixels (`content_sha256`), or of imported results what they know of
it (see `ways`); a question that stands in the data several times is paired in order, its k-th occurrence with
the k-th. Whatever makes a pair doubtful is a reason not to compare: a number from other questions is worse
than none.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.benchmarks.scoring.difference import Difference, paired_difference
from pdrop_eval.benchmarks.scoring.tally import unit_numbers
from pdrop_eval.records.imported import CONTENT
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.paired.stored_samples import CannotCompareError, Sample, name_of, scored_samples
from pdrop_eval.report.paired.ways import (
    check_words,
    imported,
    key_of,
    notes_of,
    same_target,
    way_of,
    with_units,
)
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text import numbers

REFUSE, LEAVE_OUT = "refuse", "leave_out"

Samples = list[Sample]


@dataclass(frozen=True)
class Pairs:
    """Two runs' answers to one benchmark.

    Attributes:
        pairs: (baseline's sample, candidate's sample), in the order of the baseline's.
        left_over: How many samples of the baseline and of the candidate have no partner and don't count.
        notes: By what imported results were paired, and what to know of it.
    """

    benchmark: str
    pairs: list[tuple[Sample, Sample]]
    left_over: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()

    @property
    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """The baseline's samples and the candidate's."""
        return [one for one, _ in self.pairs], [other for _, other in self.pairs]

    @property
    def changed(self) -> list[tuple[Sample, Sample]]:
        """The pairs whose answers differ, beyond white space around them."""
        return [pair for pair in self.pairs if not same_answer(*pair)]

    @property
    def difference(self) -> Difference:
        """The candidate's score minus the baseline's, with its interval."""
        return paired_difference(benchmark_of(self.benchmark).rule, *self.samples)


def same_answer(one: Sample, other: Sample) -> bool:
    """Whether two samples have the same answer, but for white space around it."""
    return str(one.get("answer")).strip() == str(other.get("answer")).strip()


def compare(one: Run, other: Run, benchmark: str) -> Difference:
    """The first run's score of a benchmark minus the second's. Raises CannotCompareError with the reason."""
    return pair(other, one, benchmark).difference


def shown(difference: Difference | None) -> str:
    """A difference with its interval: `-1.2 [-2.0, -0.4]`; a dash where there is none."""
    if difference is None:
        return numbers.NONE
    low, high = difference.interval
    return f"{numbers.difference(difference.value)} [{numbers.difference(low)}, {numbers.difference(high)}]"


def pair(baseline: Run, candidate: Run, benchmark: str, unpaired: str = REFUSE) -> Pairs:
    """Both runs' answers to a benchmark, question by question.

    Args:
        unpaired: What happens to questions that only one run was asked: "refuse", or "leave_out" (the scores
            are then of the others).

    Raises:
        CannotCompareError: The runs can't be paired; it says why.
    """
    if unpaired not in (REFUSE, LEAVE_OUT):
        raise UserError(f"unpaired={unpaired}: it is {REFUSE} or {LEAVE_OUT}.")
    first, second = (scored_samples(run, benchmark) for run in (baseline, candidate))
    return pair_samples(baseline, candidate, benchmark, first, second, unpaired)


def pair_samples(
    baseline: Run, candidate: Run, benchmark: str, first: Samples, second: Samples, unpaired: str = REFUSE
) -> Pairs:
    """The pairs of samples that were read already (`scored_samples`), as `pair` makes them."""
    way = way_of(baseline, candidate, benchmark, first, second)
    foreign = imported(baseline, benchmark) is not None or imported(candidate, benchmark) is not None
    if way == CONTENT:
        _check_common(benchmark, first, second)
    shelves = [_by_question(samples, way) for samples in (first, second)]
    pairs: list[tuple[Sample, Sample]] = []
    left = [0, 0]
    for content in {**shelves[0], **shelves[1]}:
        ones, others = (shelf.get(content, []) for shelf in shelves)
        pairs += _match(benchmark, ones, others, same_target if foreign else _equal_targets)
        left = [left[0] + max(0, len(ones) - len(others)), left[1] + max(0, len(others) - len(ones))]
    if any(left) and unpaired == REFUSE:
        raise CannotCompareError(
            CannotCompareError.LEFT_OVER,
            f"{name_of(benchmark)}: {left[0]} of {len(first)} questions were asked of {baseline.id} alone, "
            f"{left[1]} of {len(second)} of {candidate.id} alone. Evaluate both with the same limit and "
            f"data, or compare what they have in common: unpaired={LEAVE_OUT}.",
        )
    if not pairs:
        raise CannotCompareError(
            CannotCompareError.DATA,
            f"{name_of(benchmark)}: the runs have no question in common. Compare runs of the same questions.",
        )
    pairs.sort(key=lambda two: two[0]["doc_id"])
    notes = notes_of(baseline, candidate, benchmark, way, pairs)
    if foreign:
        check_words(benchmark, pairs)
        pairs = with_units(pairs)
    _check_clusters(benchmark, pairs)
    return Pairs(benchmark, pairs, (left[0], left[1]), tuple(notes))


def check_share(pairs: Pairs, least: float) -> None:
    """Raises CannotCompareError if fewer than this share of the smaller side's questions have a partner."""
    paired = len(pairs.pairs)
    smaller = paired + min(pairs.left_over)
    if paired < least * smaller:
        raise CannotCompareError(
            CannotCompareError.LEFT_OVER,
            f"{name_of(pairs.benchmark)}: only {paired} of {smaller} questions of the smaller run were asked "
            f"of the other one too, less than min_paired={least:g}. Evaluate both on the same data.",
        )


def match_samples(benchmark: str, asked: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    """For each sample (by doc_id) the one among others that was asked the same.

    Raises:
        CannotCompareError: There is none.
    """
    ordered = [sorted(samples, key=lambda s: s["doc_id"]) for samples in (asked, others)]
    shelves = [_by_question(samples, CONTENT) for samples in ordered]
    found: dict[int, Sample] = {}
    for content, ones in shelves[0].items():
        for one, other in _match(benchmark, ones, shelves[1].get(content, [])):
            found[one["doc_id"]] = other
    if len(found) < len(asked):
        raise CannotCompareError(
            CannotCompareError.LEFT_OVER,
            f"{name_of(benchmark)}: {len(asked) - len(found)} of {len(asked)} questions were not asked in "
            "the third run. Evaluate all with the same limit and data.",
        )
    return [found[sample["doc_id"]] for sample in asked]


def _by_question(samples: Sequence[Sample], way: str) -> dict[str, list[Sample]]:
    """Samples (by doc_id) by what was asked, and of which part: POPE asks some questions in two of them."""
    shelf: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        shelf[key_of(sample, way)].append(sample)
    return shelf


def _equal_targets(one: Sample, other: Sample) -> bool:
    return _target(one) == _target(other)


def _match(
    benchmark: str,
    ones: list[Sample],
    others: list[Sample],
    same: Callable[[Sample, Sample], bool] = _equal_targets,
) -> list[tuple[Sample, Sample]]:
    """The occurrences of one question, the k-th with the k-th."""
    targets = [[_target(sample) for sample in samples] for samples in (ones, others)]
    both = min(len(ones), len(others))
    if len(ones) != len(others) and both and len({*targets[0], *targets[1]}) > 1:
        raise CannotCompareError(
            CannotCompareError.TARGETS,
            f"{name_of(benchmark)}: a question is there {len(ones)} and {len(others)} times, with different "
            f"targets ({_places(ones)}; {_places(others)}): which belong together isn't known. Evaluate both "
            "runs on the same data.",
        )
    for one, other in zip(ones, others, strict=False):
        if not same(one, other):
            raise CannotCompareError(
                CannotCompareError.TARGETS,
                f"{name_of(benchmark)}: the same question has the target {_short(one)} in the baseline "
                f"({_places([one])}) and {_short(other)} in the candidate ({_places([other])}). The data "
                "were changed between the runs: evaluate both on the same data.",
            )
    return list(zip(ones[:both], others[:both], strict=True))


def _check_common(benchmark: str, first: list[Sample], second: list[Sample]) -> None:
    """Refuses runs that were not asked a single question in common, with the likely reason."""
    contents, images = (
        [{sample.get(name) for sample in samples} - {None} for samples in (first, second)]
        for name in ("content_sha256", "images_sha256")
    )
    if contents[0] & contents[1]:
        return
    if images[0] & images[1]:
        raise CannotCompareError(
            CannotCompareError.PROMPTS,
            f"{name_of(benchmark)}: the pictures are the same, the prompts are not. Evaluate both runs with "
            "the same tasks, suite and version of lmms-eval.",
        )
    raise CannotCompareError(
        CannotCompareError.DATA,
        f"{name_of(benchmark)}: the runs have no question in common; they were made on other data. Evaluate "
        "both on the same suite.",
    )


def _check_clusters(benchmark: str, pairs: list[tuple[Sample, Sample]]) -> None:
    """What is drawn together must be the same in both."""
    first, second = (unit_numbers([two[side] for two in pairs]) for side in (0, 1))
    if not np.array_equal(first, second):
        raise CannotCompareError(
            CannotCompareError.SAMPLES,
            f"{name_of(benchmark)}: the runs say differently which questions belong to one picture. Evaluate "
            "both with this version.",
        )


def _target(sample: Sample) -> str:
    return json.dumps(sample.get("target"), sort_keys=True, ensure_ascii=False)


def _short(sample: Sample) -> str:
    text = _target(sample)
    return text if len(text) <= 60 else text[:57] + "..."


def _places(samples: Sequence[Sample]) -> str:
    return "doc_id " + ", ".join(str(sample["doc_id"]) for sample in samples[:4])
