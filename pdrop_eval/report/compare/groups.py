"""VTC-Bench's two groups of questions: those that need the resolution, and those that don't.

VTC-Bench (arXiv 2510.07143) finds that shrinking the image is a strong baseline in usual benchmarks, because
many questions need no more; it asks of a method how it does on those that do. Of the questions that the
baseline has right at full resolution, the hard ones are wrong after shrinking, the easy ones right in both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pdrop_eval.benchmarks.scoring.difference import paired_difference
from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.report.paired.pairing import Pairs, Sample, match_samples

RIGHT = 0.5  # a question that earned more than half is right; marks between 0 and 1 are ANLS's and VQA's


@dataclass(frozen=True)
class Group:
    """Some questions: how many, of how many clusters, both accuracies in %, and the candidate's interval.

    The baseline's accuracy is 100 by the choice of the questions. None where the group is empty.
    """

    n: int
    clusters: int
    baseline: float | None
    candidate: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Groups:
    """The hard and the easy questions of a benchmark, and how many are in neither (baseline wrong)."""

    benchmark: str
    hard: Group
    easy: Group
    neither: int


def groups(pairs: Pairs, downsampled: Sequence[Sample]) -> Groups:
    """The groups of one benchmark.

    Args:
        downsampled: The scored samples (`scored_samples`) of the baseline on shrunk images; they are
            found by what was asked. Right is a score above 0.5: for marks between 0 and 1 (ANLS, VQA's) the
            larger half.

    Raises:
        CannotCompareError: A question wasn't asked on shrunk images.
    """
    shrunk = match_samples(pairs.benchmark, [one for one, _ in pairs.pairs], downsampled)
    hard: list[tuple[Sample, Sample]] = []
    easy: list[tuple[Sample, Sample]] = []
    for (one, other), small in zip(pairs.pairs, shrunk, strict=True):
        if right(one):
            (easy if right(small) else hard).append((one, other))
    neither = len(pairs.pairs) - len(hard) - len(easy)
    return Groups(pairs.benchmark, _group(hard), _group(easy), neither)


def right(sample: Sample) -> bool:
    """Whether a question counts as answered rightly."""
    return float(sample["score"]) > RIGHT


def _group(pairs: Sequence[tuple[Sample, Sample]]) -> Group:
    if not pairs:
        return Group(0, 0, None, None, None)
    kept = [{**other, "score": float(right(other))} for _, other in pairs]
    found = paired_difference(scoring_rule("mean"), [{**one, "score": 1.0} for one in kept], kept)
    low, high = found.interval
    return Group(found.n, found.clusters, 100.0, 100 + found.value, (100 + low, min(100.0, 100 + high)))
