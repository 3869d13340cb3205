"""What a miniature was meant to reach: differences, intervals, and what is met."""

import pytest

from pdrop_eval.benchmarks.rendered.suite import TASKS
from tools.mini.cards import targets


def shares(value, **others):
    return dict.fromkeys(TASKS, value) | others


def rights(count, right):
    return {task: [True] * right + [False] * (count - right) for task in TASKS}


def test_what_is_lost_is_the_mean_over_tasks_of_the_same_questions():
    """One of four lost in one task of two: 12.5 points; each fall's variance is .25, the other's 0."""
    before = {"a": [True] * 4, "b": [True, False]}
    after = {"a": [True, True, True, False], "b": [True, False]}
    mean, low, high = targets.lost(before, after)
    assert mean == 0.125
    half = 1.96 * (0.25 / 4) ** 0.5 / 2
    assert (low, high) == (pytest.approx(0.125 - half), pytest.approx(0.125 + half))


def test_each_target_is_met_or_missed_by_what_was_measured():
    measured = {
        "image": shares(0.8, pope=0.6),
        "blank image": shares(0.2, pope=0.45),
        "best constant answer": shares(0.1),
    }
    right = {
        "image": rights(100, 80) | {"pope": [True] * 60 + [False] * 40},
        "blank image": rights(100, 20) | {"pope": [True] * 45 + [False] * 55},
        "best constant answer": rights(100, 10),
        "10% after 8 layers": rights(100, 78) | {"pope": [True] * 58 + [False] * 42},
        "PyramidDrop, λ=0.5": rights(100, 70),
        "PyramidDrop, positions kept": rights(100, 75),
    }
    above, half, positions = targets.targets(measured, right, 16).items()
    assert above[0].endswith("the lowest is POPE")
    assert above[1]["points"][0] == pytest.approx(0.15)
    # 15 of 100 answers differ, with variance .15 x .85 x 100 / 99
    assert above[1]["points"][2] == pytest.approx(0.15 + 1.96 * (0.15 * 0.85 / 99) ** 0.5)
    assert not above[1]["is_met"]
    assert half[0] == "cost of 10% after 8 layers"
    assert half[1]["points"][0] == pytest.approx(0.02)
    assert half[1]["is_met"]
    assert positions[1]["points"][0] == pytest.approx(0.05)
    assert not positions[1]["is_met"]
    table = targets.target_table(dict([above, half, positions]))
    assert "| cost of 10% after 8 layers | under 3 | 2.0 [" in table
    assert table.count("| missed |") == 2
