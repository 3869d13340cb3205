"""Answers of two runs made up by known chances, and what a comparison says of them: for `coverage.py`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.difference import Difference, paired_difference
from pdrop_eval.benchmarks.scoring.metric import Metric
from pdrop_eval.benchmarks.scoring.rules import scoring_rule

SEED = 7
BASE = 0.7  # the baseline's share of right answers
SHARED = 0.3  # the share of clusters whose questions come out alike
# Shares of questions that the candidate loses and gains.
CHANGES = {
    "no difference": (0.05, 0.05),
    "few change": (0.05, 0.03),
    "many change": (0.20, 0.15),
    "most are losses": (0.12, 0.02),
}


@dataclass(frozen=True)
class Kind:
    """A kind of benchmark: its scoring rule, the questions of a cluster, its parts.

    Attributes:
        unequal: Each part has two thirds of the questions of the one before.
        soft: Answers earn marks.
    """

    name: str
    scoring: str
    size: int
    parts: int = 0
    unequal: bool = False
    soft: bool = False

    @property
    def rule(self) -> Metric:
        """Its scoring rule."""
        return scoring_rule(self.scoring)


# A gain is worth one of these marks, each as likely as the next; the others are right or wrong.
MARKS = (0.5, 0.6, 0.8, 1.0)
KINDS = (
    Kind("accuracy, one question a picture", "mean", 1),
    Kind("accuracy, two questions a picture", "mean", 2),
    Kind("ANLS, two questions a picture", "mean", 2, soft=True),
    Kind("MMStar: 6 subcategories", "group_mean", 1, parts=6),
    Kind("MMBench: four copies a question", "circular_mean", 4),
    Kind("MME: pairs in 4 categories", "pair_sum", 2, parts=4),
    Kind("POPE: F1, six questions a picture", "category_f1", 6, parts=3),
    Kind("MME: pairs in 8 categories", "pair_sum", 2, parts=8),
    Kind("MME: pairs in 14 categories", "pair_sum", 2, parts=14),
    Kind("MMStar: 18 subcategories", "group_mean", 1, parts=18),
    Kind("MMStar: 6 unequal subcategories", "group_mean", 1, parts=6, unequal=True),
)


@dataclass(frozen=True)
class Cell:
    """The outcome of the simulations of one kind, one size and one rate of change, in shares.

    Attributes:
        covered: Intervals that contain the true difference.
        above, below: Those that lie wholly on one side. A false alarm of the gate is `below`: it would say
            that more is lost than is.
        unchanged: Simulations in which no question earned something else.
        effective: The effective number of clusters.
    """

    kind: str
    questions: int
    clusters: int
    effective: float
    changes: str
    truth: float
    covered: float
    above: float
    below: float
    unchanged: float
    width: float


def run_cell(kind: Kind, questions: int, changes: str, number: int) -> tuple[Cell, list[Difference]]:
    """One cell, with the difference of each simulation."""
    lost, gained = CHANGES[changes]
    clusters = np.arange(questions // kind.size * kind.size) // kind.size
    units, parts = int(clusters.max()) + 1, part_names(kind, clusters)
    random = np.random.default_rng([SEED, questions, KINDS.index(kind), list(CHANGES).index(changes)])
    found = [
        paired_difference(kind.rule, *(samples(kind, earned, clusters, parts) for earned in two))
        for two in answers(kind, clusters, lost, gained, number, random)
    ]
    truth = true_difference(kind, len(set(parts)), lost, gained)
    ends = np.array([one.interval for one in found])
    cell = Cell(
        kind.name, len(clusters), units, found[0].effective, changes, truth, *shares(ends, truth),
        float(np.mean([one.changed == 0 for one in found])), float((ends[:, 1] - ends[:, 0]).mean()),
    )  # fmt: skip
    return cell, found


def run_shared(
    alike: float, questions: int, changes: str, number: int
) -> tuple[list[tuple[Difference, Difference]], float]:
    """Two benchmarks that ask a question each about the same pictures, and the true difference.

    Args:
        alike: The share of pictures on which both questions come out the same.
    """
    lost, gained = CHANGES[changes]
    kind, places = KINDS[0], np.arange(questions)
    random = np.random.default_rng([SEED, questions, round(100 * alike), list(CHANGES).index(changes)])
    pictures = [str(place) for place in places]
    found = []
    for _ in range(number):
        chances = random.random((2, questions))
        chances[1] = np.where(random.random(questions) < alike, chances[0], chances[1])
        two = []
        for row in chances:
            runs = (samples(kind, earned, places, []) for earned in marks(row, lost, gained))
            one = paired_difference(kind.rule, *runs)
            two.append(replace(one, units=replace(one.units, pictures=pictures)))
        found.append((two[0], two[1]))
    return found, 100 * (gained - lost)


def marks(chances: np.ndarray, lost: float, gained: float) -> tuple[np.ndarray, np.ndarray]:
    """What questions earn in the two runs: from 0, a chance is lost, kept, gained, wrong in both."""
    return (chances < BASE).astype(float), ((chances >= lost) & (chances < BASE + gained)).astype(float)


def shares(ends: np.ndarray, truth: float) -> tuple[float, float, float]:
    """Of intervals [simulations, 2]: those that hold the truth, lie above it, and lie below."""
    above, below = float((ends[:, 0] > truth).mean()), float((ends[:, 1] < truth).mean())
    return 1 - above - below, above, below


def part_names(kind: Kind, clusters: np.ndarray) -> list[str]:
    """The part of each question: of its picture, but POPE asks of each picture in all of them."""
    if not kind.parts:
        return []
    if kind.unequal:
        sizes = (2 / 3) ** np.arange(kind.parts)
        ends = np.cumsum(sizes / sizes.sum())[:-1] * (clusters.max() + 1)
        return [str(np.searchsorted(ends, place, side="right")) for place in clusters]
    places = np.arange(len(clusters)) if kind.scoring == "category_f1" else clusters
    return [str(place % kind.parts) for place in places]


def answers(
    kind: Kind, clusters: np.ndarray, lost: float, gained: float, number: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What each question earns in the two runs, simulation by simulation: float64 [questions] each."""
    for _ in range(number):
        chances = random.random(len(clusters))
        alike = random.random(clusters.max() + 1) < (1.0 if kind.rule.copies else SHARED)
        chances = np.where(alike[clusters], random.random(clusters.max() + 1)[clusters], chances)
        baseline, candidate = marks(chances, lost, gained)
        if kind.soft:
            worth = random.choice(MARKS, len(clusters))
            baseline, candidate = baseline * worth, candidate * worth
        yield baseline, candidate


def samples(
    kind: Kind, earned: np.ndarray, clusters: np.ndarray, parts: Sequence[str]
) -> list[dict[str, Any]]:
    """Samples that earned these marks; of POPE, every second question is about something that is there."""
    made: list[dict[str, Any]] = [
        {"score": mark, "cluster": cluster}
        for mark, cluster in zip(earned.tolist(), clusters.tolist(), strict=True)
    ]
    for sample, part in zip(made, parts, strict=False):
        sample["part"] = part
    if kind.scoring == "category_f1":
        words = ("yes", "no")
        for i, sample in enumerate(made):
            sample["target"] = words[i // kind.parts % 2]
            sample["answer"] = words[(i // kind.parts + (sample["score"] < 1)) % 2]
    return made


def true_difference(kind: Kind, parts: int, lost: float, gained: float) -> float:
    """The true difference in points."""
    after = BASE - lost + gained
    if kind.scoring == "pair_sum":  # accuracy + accuracy+, over the parts that there are pictures for
        both = [SHARED * p + (1 - SHARED) * p * p for p in (BASE, after)]
        return 100 * (after - BASE + both[1] - both[0]) * parts * 100 / kind.rule.range[1]
    # F1 with as many yes as no, both right with the same chance p, is p / (p + 1 - p)
    return 100 * (after - BASE) * (float(np.mean(MARKS)) if kind.soft else 1.0)
