"""The simulation of the intervals, in small: its truths, and that it would see intervals that are wrong."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from pdrop_eval.benchmarks.scoring import difference
from tools.statistics import coverage, covering
from tools.statistics.coverage_page import ENOUGH, coverage_page

COMMITTED = Path(__file__).resolve().parents[2] / "results" / "compare"


def cell(kind, number=300, changes="many change", questions=120):
    return coverage.run_cell(coverage.KINDS[kind], questions, changes, number)[0]


@pytest.mark.parametrize("kind", range(len(covering.KINDS)))
def test_the_truth_of_each_kind_is_what_its_metric_tends_to(kind):
    kind = covering.KINDS[kind]
    clusters = np.arange(24_000) // kind.size
    parts = covering.part_names(kind, clusters)
    ((before, after),) = covering.answers(kind, clusters, 0.2, 0.1, 1, np.random.default_rng(3))
    one, other = (
        kind.rule.score(covering.samples(kind, marks, clusters, parts)) for marks in (before, after)
    )
    found = (other - one) * 100 / kind.rule.range[1]
    assert found == pytest.approx(covering.true_difference(kind, len(set(parts)), 0.2, 0.1), abs=2.5)
    assert (before == 1).mean() == pytest.approx(0.7, abs=0.02) or kind.soft


@pytest.mark.thin(1)
@pytest.mark.parametrize("kind", [1, 6, 9])
def test_about_95_of_100_intervals_hold_the_truth(kind):
    # 300 simulations: three binomial errors are 3.8 points
    found = cell(kind)
    assert 0.91 < found.covered < 0.99
    assert found.covered + found.above + found.below == pytest.approx(1)


def test_intervals_that_are_too_narrow_are_seen(monkeypatch):
    right = difference.stdtrit
    monkeypatch.setattr(difference, "stdtrit", lambda freedom, share: right(freedom, share) / 2)
    assert cell(1).covered < 0.8


@pytest.mark.thin(1)
@pytest.mark.parametrize("questions", [16, 24])
def test_categories_of_one_picture_are_covered_in_the_mean(questions):
    # without joining them, about 91%: 500 simulations have a binomial error of 1.0
    accuracy, mme = (
        coverage.run_cell(coverage.KINDS[place], questions, "many change", 500) for place in (1, 7)
    )
    found = coverage.run_duo((accuracy[1], accuracy[0].truth), (mme[1], mme[0].truth))
    assert found["covered"] > 0.94
    assert found["below"] < 0.035


def test_benchmarks_about_the_same_pictures_are_covered_in_the_mean():
    found = coverage.share_pictures(0.8, 64, "many change", 400)
    assert found["apart"] < 0.91
    assert found["covered"] > 0.925


def test_intervals_hold_also_where_few_questions_change():
    found = cell(4, changes="few change", questions=64)
    assert found.unchanged > 0.1
    assert found.covered > 0.93


def test_the_page_shows_every_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(coverage, "SIZES", (48,))
    monkeypatch.setattr(coverage, "SMALL", (16,))
    monkeypatch.setattr(sys, "argv", ["coverage", "--simulations", "5", "--out", str(tmp_path)])
    coverage.main()
    found = json.loads((tmp_path / "coverage.json").read_text(encoding="utf-8"))
    page = (tmp_path / "coverage.md").read_text(encoding="utf-8")
    # each of 4 changes: 11 kinds with 48 questions, 4 with 16
    assert (len(found["cells"]), len(found["suites"])) == (4 * 15, 4)
    assert (len(found["duos"]), len(found["pictures"])) == (4 * 3, 4 * 3)
    assert page == coverage_page(found)
    assert page.count("| POPE: F1") == 4
    assert page in capsys.readouterr().out


def test_the_committed_page_is_that_of_its_numbers():
    found = json.loads((COMMITTED / "coverage.json").read_text(encoding="utf-8"))
    assert (COMMITTED / "coverage.md").read_text(encoding="utf-8") == coverage_page(found)
    assert found["simulations"] >= 3000


def test_with_enough_clusters_the_committed_coverage_is_93_to_97_percent():
    found = json.loads((COMMITTED / "coverage.json").read_text(encoding="utf-8"))
    enough = [cell["covered"] for cell in found["cells"] if round(cell["effective"]) >= ENOUGH]
    assert len(enough) > 40
    error = 2 * math.sqrt(0.95 * 0.05 / found["simulations"])
    assert 0.93 - error < min(enough) <= max(enough) < 0.97 + error
