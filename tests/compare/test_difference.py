"""The one interval of a difference, against formulas that are written out here."""

import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from compare_samples import marks, mme, sample

from pdrop_eval.benchmarks.scoring.difference import (
    Difference,
    Units,
    ends_of,
    mean_difference,
    paired_difference,
    tango,
    with_intervals,
)
from pdrop_eval.benchmarks.scoring.rules import scoring_rule

Z = NormalDist().inv_cdf(0.975)


def wilson(k, n):
    """The upper end of Wilson's interval of a share."""
    p = k / n
    middle, half = p + Z**2 / 2 / n, Z * math.sqrt(p * (1 - p) / n + Z**2 / 4 / n**2)
    return (middle + half) / (1 + Z**2 / n)


def spread(gained, lost, n, **changes):
    """What n independent questions give, each right or wrong, 100 / n points a question."""
    share = (gained - lost) / n
    made = Difference(
        value=100 * share,
        n=n,
        clusters=n,
        changed=gained + lost,
        error=100 * math.sqrt((gained + lost) / n - share**2) / math.sqrt(n),
        moved=100 * (gained + lost) / n,
        span=100,
        questions=n,
        effective=n,
        freedom=10**6,
        units=Units(np.zeros(n), np.zeros(n), np.full(n, 100 / n), [None] * n),
    )
    return replace(made, **changes)


def mean(before, after):
    return paired_difference(scoring_rule("mean"), before, after)


def about(names, lost=(), gained=()):
    """A question about each of these pictures, the second half wrong at first."""
    before = [sample(i, i < len(names) / 2, images_sha256=name) for i, name in enumerate(names)]
    return mean(
        before,
        [
            {**one, "score": float((one["score"] or i in gained) and i not in lost)}
            for i, one in enumerate(before)
        ],
    )


NAMES = [f"picture {i}" for i in range(64)]
OTHERS = [f"other {i}" for i in range(64)]


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
    found = spread(4, 9, 64).interval
    assert found == pytest.approx(tuple(100 * end for end in tango(4, 9, 64, Z)), abs=1e-4)


def test_with_many_changes_it_is_the_estimate_and_its_standard_errors():
    many = spread(20_000, 21_000, 100_000)
    assert many.interval == pytest.approx((-1 - Z * many.error, -1 + Z * many.error), rel=1e-3)


def test_the_other_way_round_is_the_same_interval():
    before, after = marks(1, 1, 0, 1, 0.5, 0, 1, 1, size=2), marks(0, 1, 1, 0.5, 0.5, 0, 0, 1, size=2)
    low, high = mean(before, after).interval
    assert mean(after, before).interval == pytest.approx((-high, -low))


def test_where_nothing_changed_the_bound_is_exact():
    # a share p of changes goes unseen in 32 questions with a chance of (1 - p)^32: 2.5% at p = 10.89%
    assert pytest.approx(0.025, abs=1e-4) == (1 - 0.1089) ** 32
    alike = marks(*[1, 0] * 16)
    assert mean(alike, alike).interval == pytest.approx((-10.89, 10.89), abs=0.01)
    # sixteen pictures of two questions are sixteen: (1 - 0.2059)^16
    two = marks(*[1, 0] * 16, size=2)
    assert mean(two, two).interval == pytest.approx((-20.59, 20.59), abs=0.01)


def test_where_nothing_changed_the_worst_of_all_subcategories_is_not_added_up():
    sizes = (14, 8, 4, 2, 2, 1, 1)  # 32 questions of MMStar
    alike = [
        sample(i, 1, part=part)
        for i, part in enumerate(p for p, n in zip("abcdefg", sizes, strict=True) for _ in range(n))
    ]
    found = paired_difference(scoring_rule("group_mean"), alike, alike)
    # Kish: 7^2 / (1/14 + 1/8 + 1/4 + 1/2 + 1/2 + 1 + 1) = 49 / 3.4464 = 14.218 questions' worth
    assert found.effective == pytest.approx(14.218, abs=1e-3)
    # 13 + 7 + 3 + 1 + 1 degrees of freedom, and one of the two single ones together
    assert found.freedom == 26
    # 3.69 / 14.2; the heaviest question, 100 / 7 points, times 32 would give a bound of 50
    assert found.interval[1] == pytest.approx(100 * (1 - 0.025 ** (1 / 14.218)), rel=1e-3)
    assert found.interval[1] == pytest.approx(22.85, abs=0.01)


def test_mmes_points_are_a_twentieth_of_its_sum():
    before, after = mme(*[("color", 1, 1)] * 12), mme(("color", 1, 0), *[("color", 1, 1)] * 11)
    found = paired_difference(scoring_rule("pair_sum"), before, after)
    assert found.value == pytest.approx(-150 / 12 / 20)
    assert found.span == pytest.approx(200 / 20)
    # one of twelve lost 0.625 points: 0.625 sqrt(12 / 11) sqrt(1 - 1 / 12)
    assert found.error == pytest.approx(0.625)
    assert (found.n, found.clusters, found.changed) == (24, 12, 1)


def test_each_category_has_a_variance_of_its_own():
    rows = [("few", 1, 1)] * 2 + [("many", 1, 1)] * 40
    after = [("few", 1, 0), *rows[1:]]
    found = paired_difference(scoring_rule("pair_sum"), mme(*rows), mme(*after))
    # one of two pairs lost 150 / 2 of MME's points; the other category has no part in the error
    assert found.error == pytest.approx(150 / 2 / 20)


def test_questions_that_change_together_give_a_wider_interval():
    alone = spread(3, 8, 64)
    together = replace(alone, error=2 * alone.error)
    assert together.interval[0] < alone.interval[0] < alone.interval[1] < together.interval[1]


def test_small_marks_do_not_promise_that_the_next_change_is_small():
    # one mark of 0.1 lost in 64 questions: its own Wilson interval would end at -0.8 points
    small = spread(0, 1, 64, value=-10 / 64, error=10 / 64, moved=10 / 64)
    assert -100 * wilson(1, 64) < small.interval[0] < -4


def test_few_clusters_make_it_wider():
    few, many = spread(5, 9, 64, freedom=8).interval, spread(5, 9, 64).interval
    assert few[0] < many[0] < many[1] < few[1]


def test_a_higher_level_holds_more():
    one = spread(5, 9, 64)
    assert one.interval_at(0.99)[0] < one.interval[0] < one.interval[1] < one.interval_at(0.99)[1]


def test_the_smallest_difference_is_2_8_standard_errors():
    many = spread(20_000, 21_000, 100_000)
    assert many.detectable == pytest.approx(2.8016 * many.error, rel=1e-3)
    assert spread(0, 0, 64).detectable > 5.6  # nothing changed: it isn't 0


def test_the_sign_is_that_of_a_whole_interval():
    assert [spread(*counts, 64).sign for counts in ((0, 9), (9, 0), (4, 5), (0, 0))] == [-1, 1, 0, 0]


def test_a_single_picture_gives_nearly_the_whole_range():
    one = [sample(i, 1, cluster=0) for i in range(3)]
    low, high = mean(one, [{**one[0], "score": 0.0}, *one[1:]]).interval
    assert high - low > 90


def test_no_difference_beyond_what_scores_can_have_is_shown():
    few = spread(0, 2, 3, freedom=2, span=150)
    assert few.ends()[0] < -100
    assert few.interval[0] == -100


def test_many_intervals_at_once_are_those_of_each_to_the_last_bit():
    every = [
        spread(gained, lost, n, freedom=freedom)
        for gained, lost, n in ((4, 9, 64), (0, 0, 64), (0, 9, 64), (30, 1, 40), (3, 0, 3))
        for freedom in (1, 15, 10**6)
    ]
    assert ends_of(every) == [one.ends() for one in every]
    assert ends_of(every[3:6]) == [one.ends() for one in every[3:6]]  # nothing changed in any
    told = [replace(one).interval for one in every]
    assert [one.interval for one in with_intervals(every)] == told


def test_the_sign_is_that_of_the_whole_interval():
    # McNemar's statistic of 9 gained and 1 lost is 8 / sqrt(10) = 2.53, that of 8 and 2 is 1.90; z is 1.96
    assert [spread(*pair, 64).sign for pair in ((9, 1), (1, 9), (8, 2), (0, 0), (5, 5))] == [1, -1, 0, 0, 0]
    for gained in range(12):
        for level in (0.5, 0.9, 0.99):
            one = spread(gained, 3, 40, freedom=30)
            low, high = one.interval_at(level)
            assert one.sign_at(level) == (low > 0) - (high < 0)


def test_the_mean_of_benchmarks_has_the_root_of_their_variances():
    one = other = spread(4, 9, 64, freedom=63)
    found = mean_difference([one, other])
    assert found.error == pytest.approx(one.error / math.sqrt(2))
    assert found.freedom == pytest.approx(126)  # alike: all degrees of freedom
    assert (found.moved, found.span, found.questions, found.effective) == pytest.approx(
        (one.moved, 100, 128, 128)
    )
    assert (found.n, found.clusters, found.changed) == (128, 128, 26)
    still = spread(0, 0, 64, freedom=63)
    assert mean_difference([one, still]).freedom == pytest.approx(63)  # only one of them varies
    assert mean_difference([still, still]).freedom == 126


def test_a_large_benchmark_does_not_hide_what_a_small_one_may_have_lost():
    still, large = spread(0, 0, 64), spread(0, 0, 10_000)
    # Kish: 2^2 / (1 / 64 + 1 / 10,000) = 254.4
    found = mean_difference([still, large])
    assert found.effective == pytest.approx(254.4, abs=0.1)
    assert found.interval[1] == pytest.approx(100 * (1 - 0.025 ** (1 / 254.4)), rel=1e-3)


def test_the_mean_of_one_is_that_one():
    one = spread(2, 7, 64)
    assert mean_difference([one]) is one


def test_the_same_changes_on_the_same_pictures_are_seen_once():
    one = about(NAMES, lost=range(6))
    both = mean_difference([one, about(NAMES, lost=range(6))])
    assert both.error == pytest.approx(one.error)
    assert (both.clusters, both.freedom, both.effective) == (64, 62, pytest.approx(64))
    assert both.interval == pytest.approx(one.interval, abs=0.05)
    apart = mean_difference([one, about(OTHERS, lost=range(6))])
    assert apart.error == pytest.approx(one.error / math.sqrt(2))
    assert (apart.clusters, apart.freedom) == (128, pytest.approx(126))


def test_half_of_the_changes_in_common_is_in_between():
    one = about(NAMES, lost=range(6))
    # shares of 6 / 64 lost, of which 3 are the same: covariance over variance
    p, common = 6 / 64, 3 / 64
    alike = (common - p * p) / (p - p * p)
    both = mean_difference([one, about(NAMES, lost=range(3, 9))])
    assert both.error == pytest.approx(one.error * math.sqrt((1 + alike) / 2))


def test_opposite_changes_promise_no_more_than_independent_ones():
    one = about(NAMES, lost=range(6))
    mirrored = about(NAMES[32:] + NAMES[:32], gained=range(32, 38))  # the very six pictures
    assert mean_difference([one, mirrored]).error == pytest.approx(math.hypot(one.error, mirrored.error) / 2)


def test_a_ratio_has_the_error_of_both_scores():
    # 10 are left of the 50 that were right: .2 * .8 / 50, as if only those had been asked
    found = mean(marks(*[1] * 50, *[0] * 50), marks(*[1] * 10, *[0] * 90)).relative(50, 10)
    assert found.value == pytest.approx(-80)
    assert found.error == pytest.approx(100 * math.sqrt(0.2 * 0.8 / 50), rel=0.01)
