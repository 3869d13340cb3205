"""Answers of two runs made up by known chances, and what a comparison says of them: for `coverage.py`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdrop_eval.benchmarks.scoring.bootstrap import bootstrap, draw_clusters
from pdrop_eval.benchmarks.scoring.interval import Spread
from pdrop_eval.benchmarks.scoring.metric import make_metric
from pdrop_eval.report.paired.effect_parts import make_spread

SEED, RESAMPLES = 7, 1000
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
    """A kind of benchmark: how it is resampled, questions in a cluster, parts, and the points of one unit."""

    name: str
    resample: str
    size: int
    parts: int = 0
    scale: float = 1.0
    soft: bool = False


# A gain is worth one of these marks, each as likely as the next; the others are right or wrong.
MARKS = (0.5, 0.6, 0.8, 1.0)
KINDS = (
    Kind("accuracy, one question a picture", "images", 1),
    Kind("accuracy, two questions a picture", "images", 2),
    Kind("ANLS, two questions a picture", "images", 2, soft=True),
    Kind("MMStar: mean of groups", "groups", 1, parts=6),
    Kind("MMBench: four copies a question", "questions", 4),
    Kind("MME: pairs in 4 categories", "pairs", 2, parts=4, scale=20 * 4 / 10),
    Kind("POPE: F1, six questions a picture", "categories", 6, parts=3),
    Kind("MME: pairs in 8 categories", "pairs", 2, parts=8, scale=20 * 8 / 10),
    Kind("MME: pairs in 14 categories", "pairs", 2, parts=14, scale=20 * 14 / 10),
)


@dataclass(frozen=True)
class Cell:
    """The outcome of the simulations of one kind, one size and one rate of change, in shares.

    covered: intervals that hold the truth; above, below: those that lie wholly on one side. A false alarm of
    the gate is `below`: it would say that more is lost than is. percentile: covered by plain percentiles.
    """

    kind: str
    questions: int
    clusters: int
    changes: str
    truth: float
    covered: float
    above: float
    below: float
    percentile: float
    width: float


def run_cell(kind: Kind, questions: int, changes: str, number: int) -> tuple[Cell, list[Spread]]:
    """One cell, with the spread of each simulation."""
    lost, gained = CHANGES[changes]
    clusters = np.arange(questions // kind.size * kind.size) // kind.size
    parts = _parts(kind, clusters)
    random = np.random.default_rng([SEED, questions, KINDS.index(kind), list(CHANGES).index(changes)])
    blocks: list[np.ndarray] = []
    spreads, held = [], 0
    truth = _truth(kind, int(clusters.max()) + 1, lost, gained)
    for earned in _answers(kind, clusters, lost, gained, number, random):
        metrics = tuple(make_metric(kind.resample, _samples(kind, m), clusters, parts) for m in earned)
        blocks = blocks or list(draw_clusters(metrics[0], RESAMPLES, [SEED]))
        draws = bootstrap(metrics[0], metrics[1], blocks)
        spreads.append(make_spread((metrics[0], metrics[1]), draws, kind.scale)[0])
        low, high = np.percentile((draws[1] - draws[0]) / kind.scale, [2.5, 97.5])
        held += bool(low <= truth <= high)
    ends = np.array([spread.interval() for spread in spreads])
    cell = Cell(
        kind.name, len(clusters), int(clusters.max()) + 1, changes, truth,
        *shares(ends, truth), held / number, float((ends[:, 1] - ends[:, 0]).mean()),
    )  # fmt: skip
    return cell, spreads


def run_shared(
    alike: float, questions: int, changes: str, number: int
) -> tuple[list[tuple[Spread, Spread]], float]:
    """Two benchmarks that ask a question each about the same pictures, and the true difference.

    alike: the share of pictures on which both questions come out the same.
    """
    lost, gained = CHANGES[changes]
    kind, places = KINDS[0], np.arange(questions)
    random = np.random.default_rng([SEED, questions, round(100 * alike), list(CHANGES).index(changes)])
    pictures = [str(place) for place in places]
    blocks: list[np.ndarray] = []
    found = []
    for _ in range(number):
        chances = random.random((2, questions))
        chances[1] = np.where(random.random(questions) < alike, chances[0], chances[1])
        two = []
        for row in chances:
            metrics = [make_metric("images", _samples(kind, m), places, []) for m in marks(row, lost, gained)]
            blocks = blocks or list(draw_clusters(metrics[0], RESAMPLES, [SEED]))
            draws = bootstrap(metrics[0], metrics[1], blocks)
            two.append(make_spread((metrics[0], metrics[1]), draws, 1.0, pictures)[0])
        found.append((two[0], two[1]))
    return found, 100 * (gained - lost)


def marks(chances: np.ndarray, lost: float, gained: float) -> tuple[np.ndarray, np.ndarray]:
    """What questions earn in the two runs: from 0, a chance is lost, kept, gained, wrong in both."""
    return (chances < BASE).astype(float), ((chances >= lost) & (chances < BASE + gained)).astype(float)


def shares(ends: np.ndarray, truth: float) -> tuple[float, float, float]:
    """Of intervals [simulations, 2]: those that hold the truth, lie above it, and lie below."""
    above, below = float((ends[:, 0] > truth).mean()), float((ends[:, 1] < truth).mean())
    return 1 - above - below, above, below


def _parts(kind: Kind, clusters: np.ndarray) -> list[str]:
    """The part of each question: of its picture, but POPE asks of each picture in all of them."""
    places = np.arange(len(clusters)) if kind.resample == "categories" else clusters
    return [str(place % kind.parts) if kind.parts else "" for place in places]


def _answers(
    kind: Kind, clusters: np.ndarray, lost: float, gained: float, number: int, random: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What each question earns in the two runs, simulation by simulation: float64 [questions] each."""
    for _ in range(number):
        chances = random.random(len(clusters))
        alike = random.random(clusters.max() + 1) < (1.0 if kind.resample == "questions" else SHARED)
        chances = np.where(alike[clusters], random.random(clusters.max() + 1)[clusters], chances)
        baseline, candidate = marks(chances, lost, gained)
        if kind.soft:
            worth = random.choice(MARKS, len(clusters))
            baseline, candidate = baseline * worth, candidate * worth
        yield baseline, candidate


def _samples(kind: Kind, earned: np.ndarray) -> list[dict[str, Any]]:
    """Samples that earned these marks; of POPE, every second question is about something that is there."""
    if kind.resample != "categories":
        return [{"score": mark} for mark in earned.tolist()]
    words = ("yes", "no")
    return [
        {
            "score": mark,
            "target": words[i // kind.parts % 2],
            "answer": words[(i // kind.parts + (mark < 1)) % 2],
        }
        for i, mark in enumerate(earned.tolist())
    ]


def _truth(kind: Kind, clusters: int, lost: float, gained: float) -> float:
    """The true difference in points."""
    after = BASE - lost + gained
    if kind.resample == "pairs":  # accuracy + accuracy+, over the parts that there are pictures for
        both = [SHARED * p + (1 - SHARED) * p * p for p in (BASE, after)]
        return 100 * (after - BASE + both[1] - both[0]) * min(kind.parts, clusters) / kind.scale
    # F1 with as many yes as no, both right with the same chance p, is p / (p + 1 - p)
    return 100 * (after - BASE) * (float(np.mean(MARKS)) if kind.soft else 1.0)
