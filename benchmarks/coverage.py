"""How often the intervals of a comparison hold the truth, and how often its gate gives a false alarm.

python benchmarks/coverage.py [--simulations 3000]; writes coverage.md and coverage.json into results/compare.
Some minutes on one core.

Each simulation makes up the answers of two runs to a few questions of a kind of benchmark, by chances that
are known, so the true difference is known too. The metric, its bootstrap and the interval are then computed
by the very code of `pdrop_eval.compare`. Only the draws are shared by the simulations of a cell: they say
which clusters are drawn, not what is in them.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pdrop_eval import UserError
from pdrop_eval.compare.effects_parts import make_spread
from pdrop_eval.compare.interval import LEVEL, Spread, mean_spread
from pdrop_eval.compare.resampling import bootstrap, draw_clusters
from pdrop_eval.compare.resampling_metrics import make_metric
from pdrop_eval.files import write_atomically
from pdrop_eval.report.coverage_page import coverage_page

SEED, RESAMPLES, SIMULATIONS = 7, 1000, 3000
BASE = 0.7  # the baseline's share of right answers
SHARED = 0.3  # the share of clusters whose questions come out alike
SIZES = (64, 240)
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
    Kind("MME: pairs in categories", "pairs", 2, parts=4, scale=20 * 4 / 10),
    Kind("POPE: F1, six questions a picture", "categories", 6, parts=3),
)
SUITE = (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 6, 1)  # kinds of sixteen benchmarks, by their place above


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


def main() -> None:
    """Simulate, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--out", type=Path, default=Path("results/compare"))
    given = parser.parse_args()
    found = simulate(given.simulations, lambda text: print(text, file=sys.stderr, flush=True), SIZES)
    page = coverage_page(found)
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        write_atomically(given.out / "coverage.json", json.dumps(found, indent=1) + "\n")
        write_atomically(given.out / "coverage.md", page)
    except OSError as error:
        raise UserError(
            f"{given.out} can't be written: {error.strerror}. Name another folder: --out."
        ) from error
    print(page)


def simulate(number: int, say: Callable[[str], None], sizes: tuple[int, ...]) -> dict:
    """All cells, and the mean of sixteen benchmarks of the first size, as plain data."""
    cells, suites = [], []
    for changes in CHANGES:
        for questions in sizes:
            pools = []
            for kind in KINDS:
                say(f"{kind.name}: {questions} questions, {changes}")
                cell, spreads = run_cell(kind, questions, changes, number)
                cells.append(asdict(cell))
                pools.append((spreads, cell.truth))
            suites.append({"changes": changes, "questions": questions, **run_suite(pools)})
    settings = {"simulations": number, "resamples": RESAMPLES, "seed": SEED, "base": BASE, "shared": SHARED}
    return {**settings, "cells": cells, "suites": suites}


def run_cell(kind: Kind, questions: int, changes: str, number: int) -> tuple[Cell, list[Spread]]:
    """One cell, with the spread of each simulation."""
    lost, gained = CHANGES[changes]
    clusters = np.arange(questions // kind.size * kind.size) // kind.size
    parts = _parts(kind, clusters)
    random = np.random.default_rng([SEED, questions, KINDS.index(kind), list(CHANGES).index(changes)])
    blocks: list[np.ndarray] = []
    spreads, held = [], 0
    truth = _truth(kind, lost, gained)
    for marks in _answers(kind, clusters, lost, gained, number, random):
        metrics = tuple(make_metric(kind.resample, _samples(kind, m), clusters, parts) for m in marks)
        blocks = blocks or list(draw_clusters(metrics[0], RESAMPLES, [SEED]))
        draws = bootstrap(metrics[0], metrics[1], blocks)
        spreads.append(make_spread((metrics[0], metrics[1]), draws, kind.scale)[0])
        low, high = np.percentile((draws[1] - draws[0]) / kind.scale, [2.5, 97.5])
        held += bool(low <= truth <= high)
    ends = np.array([spread.interval() for spread in spreads])
    cell = Cell(
        kind.name, len(clusters), int(clusters.max()) + 1, changes, truth,
        *_shares(ends, truth), held / number, float((ends[:, 1] - ends[:, 0]).mean()),
    )  # fmt: skip
    return cell, spreads


def run_suite(pools: list[tuple[list[Spread], float]]) -> dict[str, Any]:
    """Sixteen benchmarks at once, from simulations of their kinds: the mean, and the gate on all of them.

    family: how often the gate sees a drop beyond the limit in any of them though each loses just the limit.
    """
    random = np.random.default_rng(SEED)
    number, k = len(pools[0][0]), len(SUITE)
    orders = [random.permutation(number) for _ in SUITE]
    truths = [pools[kind][1] for kind in SUITE]
    truth, ends, alarms = float(np.mean(truths)), [], 0
    level = 1 - (1 - LEVEL) / k
    adjusted = [[spread.interval(level)[1] for spread in spreads] for spreads, _ in pools]
    for i in range(number):
        spreads = [pools[kind][0][order[i]] for kind, order in zip(SUITE, orders, strict=True)]
        mean = mean_spread(spreads, float(np.mean([spread.difference for spread in spreads])))
        ends.append(mean.interval())
        highs = [adjusted[kind][order[i]] for kind, order in zip(SUITE, orders, strict=True)]
        alarms += any(high < true for high, true in zip(highs, truths, strict=True))
    covered, above, below = _shares(np.array(ends), truth)
    return {"truth": truth, "covered": covered, "above": above, "below": below, "family": alarms / number}


def _shares(ends: np.ndarray, truth: float) -> tuple[float, float, float]:
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
        # from 0: lost, kept, gained, wrong in both
        baseline = (chances < BASE).astype(float)
        candidate = ((chances >= lost) & (chances < BASE + gained)).astype(float)
        if kind.soft:
            marks = random.choice(MARKS, len(clusters))
            baseline, candidate = baseline * marks, candidate * marks
        yield baseline, candidate


def _samples(kind: Kind, marks: np.ndarray) -> list[dict[str, Any]]:
    """Samples that earned these marks; of POPE, every second question is about something that is there."""
    if kind.resample != "categories":
        return [{"score": mark} for mark in marks.tolist()]
    words = ("yes", "no")
    return [
        {
            "score": mark,
            "target": words[i // kind.parts % 2],
            "answer": words[(i // kind.parts + (mark < 1)) % 2],
        }
        for i, mark in enumerate(marks.tolist())
    ]


def _truth(kind: Kind, lost: float, gained: float) -> float:
    """The true difference in points."""
    after = BASE - lost + gained
    if kind.resample == "pairs":  # accuracy + accuracy+, over the parts
        both = [SHARED * p + (1 - SHARED) * p * p for p in (BASE, after)]
        return 100 * (after - BASE + both[1] - both[0]) * kind.parts / kind.scale
    # F1 with as many yes as no, both right with the same chance p, is p / (p + 1 - p)
    return 100 * (after - BASE) * (float(np.mean(MARKS)) if kind.soft else 1.0)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"coverage: {error}")
