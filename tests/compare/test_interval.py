"""Intervals against formulas that are written out here."""

import math
from statistics import NormalDist

import pytest

from pdrop_eval.benchmarks.scoring.interval import Spread, possible, student, tango
from pdrop_eval.benchmarks.scoring.mean_interval import mean_spread

Z = NormalDist().inv_cdf(0.975)


def wilson(k, n):
    """The upper end of Wilson's interval of a share."""
    p = k / n
    middle, half = p + Z**2 / 2 / n, Z * math.sqrt(p * (1 - p) / n + Z**2 / 4 / n**2)
    return (middle + half) / (1 + Z**2 / n)


def spread(gained, lost, n, **changes):
    """What n independent questions give, each right or wrong, 100 / n points a question."""
    share = (gained - lost) / n
    error = 100 * math.sqrt((gained + lost) / n - share**2) / math.sqrt(n)
    made = {
        "moved": 100 * (gained + lost) / n,
        "most": 100 / n,
        "questions": n,
        "clusters": n,
        "freedom": 10**6,
    }
    return Spread(**{"difference": 100 * share, "error": error, **made, **changes})


@pytest.mark.parametrize(("lost", "n"), [(1, 64), (3, 64), (12, 40)])
def test_with_losses_alone_the_far_end_is_wilsons(lost, n):
    low, high = tango(0, lost, n, Z)
    assert low == pytest.approx(-wilson(lost, n), abs=1e-12)
    assert tango(lost, 0, n, Z) == pytest.approx((-high, -low), abs=1e-12)


def test_a_published_example():
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014): of 21 pairs, 1 gained and 7 lost
    assert tango(1, 7, 21, Z) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_zero_is_the_end_where_mcnemars_statistic_is_the_quantile():
    # (gained - lost) / sqrt(gained + lost) = 9 - 1 over sqrt(10) = 2.53; and with losses alone sqrt(lost)
    assert tango(9, 1, 50, 8 / math.sqrt(10))[0] == pytest.approx(0, abs=1e-12)
    assert tango(0, 4, 50, 2.0)[1] == pytest.approx(0, abs=1e-12)


def test_of_independent_questions_the_interval_is_tangos():
    found = spread(4, 9, 64).interval()
    assert found == pytest.approx(tuple(100 * end for end in tango(4, 9, 64, Z)), abs=1e-9)


def test_with_many_changes_it_is_the_estimate_and_its_standard_errors():
    many = spread(20_000, 21_000, 100_000)
    low, high = many.interval()
    assert (low, high) == pytest.approx((-1 - Z * many.error, -1 + Z * many.error), rel=1e-3)


def test_where_nothing_changed_the_bound_is_exact_and_not_zero():
    # a share p of changes goes unseen in 64 questions with a chance of (1 - p)^64: 2.5% at p = 5.6%
    p = 1 - 0.025 ** (1 / 64)
    assert spread(0, 0, 64).interval() == pytest.approx((-100 * p, 100 * p))
    assert (1 - p) ** 64 == pytest.approx(0.025)


def test_questions_that_change_together_give_a_wider_interval():
    alone = spread(3, 8, 64).interval()
    together = spread(3, 8, 64, error=2 * spread(3, 8, 64).error).interval()
    assert together[0] < alone[0] < alone[1] < together[1]


def test_small_marks_do_not_promise_that_the_next_change_is_small():
    # one mark of 0.1 lost in 64 questions: its own Wilson interval would end at -0.8 points
    small = Spread(-10 / 64, 10 / 64, 10 / 64, 100 / 64, 64, 64, 10**6)
    assert -100 * wilson(1, 64) < small.interval()[0] < -4


def test_few_clusters_make_it_wider():
    few, many = spread(5, 9, 64, freedom=8).interval(), spread(5, 9, 64).interval()
    assert few[0] < many[0] < many[1] < few[1]


def test_a_higher_level_holds_more():
    one = spread(5, 9, 64)
    assert one.interval(0.99)[0] < one.interval()[0] < one.interval()[1] < one.interval(0.99)[1]


def test_the_smallest_difference_is_2_8_standard_errors():
    many = spread(20_000, 21_000, 100_000)
    assert many.smallest == pytest.approx(2.8016 * many.error, rel=1e-3)
    assert spread(0, 0, 64).smallest > 5.6  # nothing changed: it isn't 0


@pytest.mark.parametrize(
    ("level", "freedom", "t"),
    # Student's table
    [
        (0.95, 1, 12.706),
        (1 - 0.05 / 15, 1, 190.984),
        (0.95, 4, 2.776),
        (0.95, 30, 2.042),
        (0.99, 10, 3.169),
        (0.95, 10**6, 1.960),
    ],
)
def test_students_quantile(level, freedom, t):
    assert student(level, freedom) == pytest.approx(t, rel=3e-4)


def test_the_mean_of_benchmarks_has_the_root_of_their_variances():
    one, other = spread(4, 9, 64, freedom=63), spread(4, 9, 64, freedom=63)
    mean = mean_spread([one, other], one.difference)
    assert mean.error == pytest.approx(one.error / math.sqrt(2))
    assert mean.freedom == pytest.approx(126)  # alike: all degrees of freedom
    assert (mean.moved, mean.most) == pytest.approx((one.moved, one.most / 2))
    assert (mean.questions, mean.clusters) == (128, 128)
    still = spread(0, 0, 64, freedom=63)
    assert mean_spread([one, still], 0).freedom == pytest.approx(63)  # only one of them varies
    assert mean_spread([still, still], 0).freedom == 126


def test_no_difference_beyond_what_scores_can_have_is_shown():
    """Three pictures of POPE, each of which could change F1 by more than its share."""
    few = Spread(difference=0.0, error=0.0, moved=0.0, most=50.0, questions=16, clusters=3, freedom=2.0)
    bound = 150 * (1 - 0.025 ** (1 / 3))  # 106.1
    assert few.interval() == pytest.approx((-bound, bound))
    assert possible(few.interval()) == (-100.0, 100.0)
    assert possible((-3.0, 2.0)) == (-3.0, 2.0)
