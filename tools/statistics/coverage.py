"""How often the intervals of a comparison hold the truth, and how often its gate gives a false alarm.

python -m tools.statistics.coverage [--simulations 3000]; writes results/compare/coverage.{md,json}.
Some minutes on one core.

Each simulation makes up the answers of two runs to a few questions of a kind of benchmark, by chances that
are known, so the true difference is known too. The interval is then computed by the code that computes it
everywhere: `paired_difference` and `mean_difference` of `benchmarks/scoring/difference.py`.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from pdrop_eval import UserError
from pdrop_eval.benchmarks.scoring.difference import Difference, mean_difference
from pdrop_eval.report.compare.gate import levels
from pdrop_eval.utils.files import write_atomically
from tools.statistics.coverage_page import coverage_page
from tools.statistics.covering import (
    BASE,
    CHANGES,
    KINDS,
    SEED,
    SHARED,
    run_cell,
    run_shared,
    shares,
)

SIMULATIONS = 3000
SIZES, SMALL = (64, 240), (16, 24)
SUITE = (0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 4, 5, 6, 1)  # kinds of sixteen benchmarks, by their place
ACCURACY, MME = 1, (5, 7, 8)  # kinds that are simulated with few questions too
ALIKE = (0.0, 0.5, 0.8)  # shares of pictures on which two benchmarks come out the same

Pool = tuple[list[Difference], float]  # the differences of a cell's simulations, and the truth


def main() -> None:
    """Simulate, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--simulations", type=int, default=SIMULATIONS)
    parser.add_argument("--out", type=Path, default=Path("results/compare"))
    given = parser.parse_args()
    found = simulate(given.simulations, lambda text: print(text, file=sys.stderr, flush=True))
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


def simulate(number: int, say: Callable[[str], None]) -> dict[str, Any]:
    """All cells, and what they give together, as plain data."""
    cells, suites, duos, shared = [], [], [], []
    for changes in CHANGES:
        for questions in (*SMALL, *SIZES):
            pools: dict[int, Pool] = {}
            for place in (ACCURACY, *MME) if questions in SMALL else range(len(KINDS)):
                say(f"{KINDS[place].name}: {questions} questions, {changes}")
                cell, found = run_cell(KINDS[place], questions, changes, number)
                cells.append(asdict(cell))
                pools[place] = found, cell.truth
            named = {"changes": changes, "questions": questions}
            if questions in SMALL:
                duos += [{**named, "kind": KINDS[i].name, **run_duo(pools[ACCURACY], pools[i])} for i in MME]
                continue
            suites.append({**named, **run_suite([pools[kind] for kind in SUITE])})
            say(f"two benchmarks about the same pictures: {questions} questions, {changes}")
            shared += [{**named, **share_pictures(alike, questions, changes, number)} for alike in ALIKE]
    settings = {"simulations": number, "seed": SEED, "base": BASE, "shared": SHARED}
    return {**settings, "cells": cells, "suites": suites, "duos": duos, "pictures": shared}


def run_suite(pools: Sequence[Pool]) -> dict[str, Any]:
    """Benchmarks at once, from simulations of their kinds: the mean, and the gate on all of them.

    Returns:
        `family`: how often the gate sees a drop beyond the limit in any of them, though each loses exactly
        the limit; `gate`: how often with a limit for their mean as well, which shares the level.
    """
    orders, k = _orders(pools), len(pools)
    truths = np.array([truth for _, truth in pools])
    means = _means(pools, orders)
    shared, among = levels(k, both=True)
    family = _alarms(pools, orders, levels(k, both=False)[1])
    either = _alarms(pools, orders, among) | (_highs(means, shared) < truths.mean())
    found = _outcome(means, float(truths.mean()))
    return {**found, "family": float(family.mean()), "gate": float(either.mean())}


def run_duo(one: Pool, other: Pool) -> dict[str, Any]:
    """The mean of two benchmarks, from simulations of each."""
    pools = [one, other]
    return _outcome(_means(pools, _orders(pools)), (one[1] + other[1]) / 2)


def share_pictures(alike: float, questions: int, changes: str, number: int) -> dict[str, Any]:
    """The mean of two benchmarks about the same pictures; and if it were taken for that of two others."""
    pairs, truth = run_shared(alike, questions, changes, number)
    unknown = [None] * questions
    apart = [
        mean_difference([one, replace(other, units=replace(other.units, pictures=unknown))])
        for one, other in pairs
    ]
    found = _outcome([mean_difference(two) for two in pairs], truth)
    return {"alike": alike, **found, "apart": _outcome(apart, truth)["covered"]}


def _orders(pools: Sequence[Pool]) -> list[np.ndarray]:
    """For each pool an order of its simulations, so that those of one kind don't stand beside themselves."""
    random = np.random.default_rng(SEED)
    return [random.permutation(len(found)) for found, _ in pools]


def _means(pools: Sequence[Pool], orders: Sequence[np.ndarray]) -> list[Difference]:
    """The mean of all pools in each simulation."""
    columns = [[pool[0][i] for i in order] for pool, order in zip(pools, orders, strict=True)]
    return [mean_difference(row) for row in zip(*columns, strict=True)]


def _alarms(pools: Sequence[Pool], orders: Sequence[np.ndarray], level: float) -> np.ndarray:
    """In which simulations an interval of any benchmark lies below its truth: bool [simulations]."""
    below = {id(pool[0]): _highs(pool[0], level) < pool[1] for pool in pools}
    return np.any([below[id(pool[0])][order] for pool, order in zip(pools, orders, strict=True)], axis=0)


def _highs(found: Sequence[Difference], level: float) -> np.ndarray:
    return np.array([one.interval_at(level)[1] for one in found])


def _outcome(means: Sequence[Difference], truth: float) -> dict[str, Any]:
    covered, above, below = shares(np.array([mean.interval for mean in means]), truth)
    return {"truth": truth, "covered": covered, "above": above, "below": below}


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"coverage: {error}")
