"""Means over benchmarks: with categories of one picture, and about the same pictures."""

import math

import pytest
from compare_samples import marks, mme, pairs, sample

from pdrop_eval.benchmarks.scoring.interval import Spread
from pdrop_eval.benchmarks.scoring.mean_interval import mean_spread
from pdrop_eval.report.paired.effect import Settings, measure, measure_all, overall

MANY = Settings(resamples=20_000, swaps=9_999)
QUICK = Settings(resamples=2_000, swaps=9_999)


def mme_pairs(*sizes, lost=()):
    """Categories of so many pictures each; of the pictures in `lost`, by their place, one answer is lost."""
    rows = [f"category {i:02}" for i, size in enumerate(sizes) for _ in range(size)]
    after = [(category, 1, int(place not in lost)) for place, category in enumerate(rows)]
    return pairs(mme(*[(category, 1, 1) for category in rows]), mme(*after), "mme")


def about(names, benchmark, lost=(), gained=()):
    """A question about each of these pictures, the second half wrong at first."""
    right = [int(i < len(names) / 2) for i in range(len(names))]
    before = [
        sample(i, mark, images_sha256=name) for i, (mark, name) in enumerate(zip(right, names, strict=True))
    ]
    after = [
        {**one, "score": float((one["score"] or i in gained) and i not in lost)}
        for i, one in enumerate(before)
    ]
    return pairs(before, after, benchmark)


def test_categories_of_one_picture_are_taken_together():
    found = measure(mme_pairs(*[1] * 8, lost=(0, 1)), MANY).spread
    # two of eight lost 150 of MME's points, 7.5 of ours: sum of squares about their mean, times 8 / 7
    squares = 2 * (7.5 - 15 / 8) ** 2 + 6 * (15 / 8) ** 2
    assert found.error == pytest.approx(math.sqrt(squares * 8 / 7), rel=0.03)
    assert found.freedom == 7


def test_a_last_category_of_one_picture_joins_the_smallest():
    found = measure(mme_pairs(3, 2, 1, lost=(5,)), MANY).spread
    # 7.5 points lost by one of three: 7.5^2 * 2 / 3 about their mean, times 3 / 2
    assert found.error == pytest.approx(7.5, rel=0.03)
    assert found.freedom == 4


def test_each_category_is_corrected_for_its_own_size():
    # one of two pictures lost, 7.5 / 2 points; the other category, of 40, has no part in the error
    found = measure(mme_pairs(2, 40, lost=(0,)), MANY).spread
    assert found.error == pytest.approx(7.5 / 2 * math.sqrt(2 * 0.5), rel=0.03)


def test_a_benchmark_of_which_the_error_is_not_known_widens_the_mean():
    whole = Spread(-4, 3, 20, 100 / 64, 64, 64, 63)
    # one cluster says nothing: in the mean of two, half of its interval is the least that is left
    single = Spread(0, 0, 0, 100, 1, 1, 1)
    low, high = mean_spread([whole, single], -2).interval()
    assert high - low > 0.9 * (single.interval()[1] - single.interval()[0]) / 2
    # two clusters that lost as much each: their interval isn't a point, so neither is its part of the mean
    alike = Spread(-100, 0, 100, 50, 2, 2, 1)
    assert mean_spread([whole, alike], -52).error > 20
    # where nothing changed, all benchmarks together have a bound
    still = Spread(0, 0, 0, 100 / 64, 64, 64, 63)
    assert mean_spread([still, still], 0).interval()[1] < 0.6 * still.interval()[1]


def test_the_mean_of_one_is_that_one():
    one = Spread(-100, 0, 100, 50, 2, 2, 1)
    assert mean_spread([one], -100).interval() == one.interval()


@pytest.fixture
def shared():
    names = [f"picture {i}" for i in range(64)]
    return names, measure(about(names, "mmbench_en", lost=range(6)), QUICK)


def together(first, names, **changes):
    return overall([first, measure(about(names, "mmbench_cn", **changes), QUICK)])


def test_the_same_changes_on_the_same_pictures_are_seen_once(shared):
    names, one = shared
    both = together(one, names, lost=range(6))
    assert both.spread.error == pytest.approx(one.spread.error, rel=0.05)
    assert both.spread.freedom == pytest.approx(63)
    assert both.interval == pytest.approx(one.interval, rel=0.05)
    assert both.clusters == 64
    apart = together(one, [f"other {name}" for name in names], lost=range(6))
    assert apart.spread.error == pytest.approx(one.spread.error / math.sqrt(2), rel=0.05)
    assert (apart.clusters, apart.spread.freedom) == (128, pytest.approx(126, rel=0.02))


def test_what_changes_together_is_exchanged_together(shared):
    names, one = shared
    # six of each, all lost: 2 of 2^6 exchanges together, 2 of 2^12 apart
    assert one.p == 2 / 2**6
    assert together(one, names, lost=range(6)).p == pytest.approx(2 / 2**6, abs=0.008)
    assert together(one, [f"other {name}" for name in names], lost=range(6)).p < 0.003


def test_half_of_the_changes_in_common_is_in_between(shared):
    names, one = shared
    # shares of 6 / 64 lost, of which 3 are the same: covariance over variance
    p, common = 6 / 64, 3 / 64
    both = together(one, names, lost=range(3, 9))
    alike = (common - p * p) / (p - p * p)
    assert both.spread.error == pytest.approx(one.spread.error * math.sqrt((1 + alike) / 2), rel=0.05)


def test_opposite_changes_promise_no_more_than_independent_ones():
    names = [f"picture {i}" for i in range(64)]
    one = measure(about(names, "mmbench_en", lost=range(6)), QUICK)
    other = measure(about(names, "mmbench_cn", gained=range(32, 38)), QUICK)
    mirrored = about(names[32:] + names[:32], "mmbench_cn", gained=range(32, 38))  # the very six pictures
    assert overall([one, measure(mirrored, QUICK)]).spread.error == pytest.approx(
        math.hypot(one.spread.error, other.spread.error) / 2, rel=0.05
    )


def test_of_two_that_share_the_largest_change_is_of_both(shared):
    names, one = shared
    both = together(one, names)
    assert both.spread.most == pytest.approx(100 / 64)  # a picture changes both: 2 * 100 / 64, over 2
    assert together(one, ["x" + name for name in names]).spread.most == pytest.approx(100 / 64 / 2)


def test_several_questions_about_a_picture_have_coins_of_their_own():
    first = [sample(i, 1, images_sha256="one picture") for i in range(3)]
    english, chinese = (pairs(first, first, key) for key in ("mmbench_en", "mmbench_cn"))
    assert english.coins() == chinese.coins() == [f"one picture {i}" for i in range(3)]
    assert english.pictures() == ["one picture"] * 3
    bare = [{name: value for name, value in one.items() if name != "images_sha256"} for one in first]
    assert not set(pairs(bare, bare).coins()) & set(pairs(bare, bare, "textvqa").coins())


def test_both_at_100_leave_a_ratio_as_unsure_as_the_difference():
    perfect = pairs(marks(*[1] * 8), marks(*[1] * 8))
    found = overall(measure_all([perfect], QUICK))
    bound = 100 * (1 - 0.025 ** (1 / 8))
    assert found.relative_interval == pytest.approx((100 - bound, 100 + bound))
