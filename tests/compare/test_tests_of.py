"""Tests of significance against counts."""

import numpy as np
import pytest
from compare_samples import marks, mme

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring import significance
from pdrop_eval.benchmarks.scoring.significance import (
    McNemar,
    holm,
    mcnemar,
    p_of,
    permutation_p,
    permutations,
)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (3, 3, 1.0),
        (1, 5, 2 * (1 + 6) / 64),
        (0, 6, 2 / 64),
        (6, 0, 2 / 64),
    ],
)
def test_mcnemar_is_the_binomial_test_of_what_changed(gained, lost, p):
    assert mcnemar(gained, lost) == McNemar(gained, lost, pytest.approx(p))


def test_holm_multiplies_by_what_is_left_and_never_falls():
    # .01 * 3, .03 * 2, and .04 * 1 raised to the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def p_value(before, after, benchmark="gqa"):
    tallies = [benchmarks()[benchmark].rule.tally(samples) for samples in (before, after)]
    return permutation_p(*tallies, permutations(*tallies, 999, [1]))


def test_an_exchange_of_everything_turns_the_difference_round():
    before = mme(("color", 1, 1), ("color", 1, 0), ("count", 0, 0))
    after = mme(("color", 1, 1), ("color", 1, 1), ("count", 1, 0))
    one, other = (benchmarks()["mme"].rule.tally(samples) for samples in (before, after))
    # color: (200 + 50) / 2 = 125 -> 200, count: 0 -> 50
    found = significance._exchange(one, other, np.array([1, 2]), np.array([[0, 0], [1, 1]]))
    assert found.tolist() == pytest.approx([125, -125])


def test_few_changes_are_tested_by_all_exchanges():
    # three lost: of eight exchanges, all as they are and all exchanged are as large
    assert p_value(marks(1, 1, 1, 1), marks(0, 0, 0, 1)) == 2 / 8
    # two lost and one gained: only -2+1, and what is alike: |sum of three signs| >= 1 always
    assert p_value(marks(1, 1, 0, 1), marks(0, 0, 1, 1)) == 1.0
    assert p_value(marks(1, 0), marks(1, 0)) == 1.0


def test_questions_about_one_picture_are_exchanged_together():
    # all four were lost, in two pictures: 2 of 4 exchanges
    assert p_value(marks(1, 1, 1, 1, size=2), marks(0, 0, 0, 0, size=2)) == 2 / 4


def test_many_changes_are_tested_by_random_exchanges_and_p_is_never_zero():
    assert p_value(marks(*[1] * 40), marks(*[0] * 40)) == 1 / 1000


def test_random_exchanges_agree_with_all(monkeypatch):
    before, after = marks(*[1] * 10, 0, 0), marks(*[0] * 10, 1, 1)
    exact = p_value(before, after)
    # 12 changed, 10 against 2: both tails of the binomial
    assert exact == pytest.approx(2 * (1 + 12 + 66) / 4096)
    monkeypatch.setattr(significance, "_ALL", 5)
    assert p_value(before, after) == pytest.approx(exact, abs=0.02)


def test_p_counts_what_is_as_large_on_either_side():
    assert p_of(-2.0, np.array([2.0, -3.0, 1.0])) == 3 / 4
