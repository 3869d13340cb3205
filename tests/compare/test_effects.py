"""Effects of pairs that are small enough to work out by hand."""

import math

import numpy as np
import pytest
from compare_samples import marks, mme, pairs, pope, sample

from pdrop_eval.benchmarks.scoring.difference import tango
from pdrop_eval.benchmarks.scoring.significance import McNemar
from pdrop_eval.report.paired.effect import Settings, _coins, measure, measure_all, overall

QUICK = Settings(permutations=999)


def lost(number, n, benchmark="gqa", size=1):
    """n right answers of which the candidate loses some."""
    return pairs(marks(*[1] * n, size=size), marks(*[0] * number, *[1] * (n - number), size=size), benchmark)


def test_an_effect_counts_and_scores_what_was_paired():
    found = measure(pairs(marks(1, 1, 0, 1), marks(1, 0, 1, 0.5)), QUICK)
    assert (found.found.n, found.found.clusters) == (4, 4)
    assert (found.baseline, found.candidate) == pytest.approx((75, 62.5))
    assert found.found.value == pytest.approx(-12.5)
    assert (found.changed, found.found.changed, found.agreement) == (2, 3, 0.5)
    assert found.mcnemar is None  # a mark of 0.5 is neither right nor wrong


def test_the_interval_of_independent_questions_is_tangos():
    found = measure(lost(12, 200), QUICK)
    low, high = tango(0, 12, 200, 1.9719)  # Student's quantile of 199
    assert found.found.interval == pytest.approx((100 * low, 100 * high), rel=0.05)
    assert found.p == pytest.approx(2 / 2**12)  # all exchanges of 12
    assert found.mcnemar == McNemar(0, 12, pytest.approx(2 / 2**12))


def test_questions_that_change_together_are_no_more_than_their_pictures():
    alone, together = measure(lost(12, 200), QUICK), measure(lost(12, 200, size=4), QUICK)
    # three pictures of 50: the variance is four times that of twelve questions of 200
    assert together.found.error / alone.found.error == pytest.approx(2, rel=0.1)
    assert together.p == 2 / 2**3
    assert any(
        "takes the 200 questions as independent; they are about 50 pictures" in n for n in together.notes
    )
    assert alone.notes == ()


def test_the_standard_error_of_few_pictures_divides_by_one_less():
    # one of four lost: the variance 0.25 * 0.75 * 4 / 3, over 4
    assert measure(lost(1, 4), QUICK).found.error == pytest.approx(25)


def test_mme_is_in_points_of_a_twentieth():
    before, after = mme(*[("color", 1, 1)] * 12), mme(("color", 1, 0), *[("color", 1, 1)] * 11)
    found = measure(pairs(before, after, "mme"), QUICK)
    assert (found.baseline, found.candidate) == pytest.approx((200, 200 - 150 / 12))
    assert found.found.value == pytest.approx(-150 / 12 / 20)
    assert found.mcnemar == McNemar(0, 1, 1.0)
    assert (found.found.n, found.found.clusters) == (24, 12)


def test_popes_effect_is_of_f1():
    before = pope(*[("a", "yes", "yes")] * 6, *[("a", "no", "no")] * 6)
    after = pope(*[("a", "yes", "yes")] * 6, *[("a", "no", "no")] * 4, *[("a", "no", "yes")] * 2)
    found = measure(pairs(before, after, "pope"), QUICK)
    assert found.found.value == pytest.approx(100 * 12 / 14 - 100)
    assert found.found.interval[0] < found.found.value < found.found.interval[1]


def test_copies_of_a_question_are_one_question():
    before, after = marks(*[1] * 40, size=4), marks(*[0] * 4, *[1] * 36, size=4)
    found = measure(pairs(before, after, "mmbench_en"), QUICK)
    assert found.mcnemar == McNemar(0, 1, 1.0)
    assert found.found.value == pytest.approx(-10)
    assert found.notes == ()


def test_without_a_change_there_is_a_bound_and_no_evidence():
    found = measure(lost(0, 64), QUICK)
    bound = 100 * (1 - 0.025 ** (1 / 64))
    assert found.found.interval == pytest.approx((-bound, bound), abs=1e-3)
    assert (found.p, found.mcnemar, found.agreement) == (1.0, McNemar(0, 0, 1.0), 1.0)


def test_few_clusters_are_said_to_be_few():
    assert measure(lost(1, 9), QUICK).notes == ("only 9 clusters: the interval is rough",)


def test_a_family_has_wider_intervals_and_larger_ps():
    one = measure(lost(8, 100), QUICK)
    found = measure_all([lost(8, 100), lost(0, 100, "textvqa"), lost(1, 100, "vqav2")], QUICK)
    assert found[0].found.interval == one.found.interval
    assert found[0].adjusted == one.found.interval_at(1 - 0.05 / 3)
    assert found[0].adjusted[0] < one.found.interval[0]
    assert found[0].p_holm == pytest.approx(3 * 2 / 2**8)
    assert {effect.family for effect in found} == {3}


def test_the_overall_difference_weighs_benchmarks_alike():
    effects = measure_all([lost(20, 100), lost(0, 400, "textvqa")], QUICK)
    found = overall(effects)
    assert (found.found.value, found.found.n) == (pytest.approx(-10), 500)
    assert found.agreement == pytest.approx(480 / 500)
    assert found.found.error == pytest.approx(effects[0].found.error / 2)
    assert found.found.interval[1] < 0
    assert found.p == pytest.approx(1 / 1000)


def test_relative_performance_is_the_mean_of_ratios():
    half = pairs(marks(*[1] * 50, *[0] * 50), marks(*[1] * 40, *[0] * 60), "textvqa")
    found = overall(measure_all([lost(10, 100), half], QUICK))
    assert found.relative == pytest.approx((90 + 80) / 2)
    low, high = found.relative_interval
    # the ratio 40 / 50: (its error)^2 = .8 * .2 / 50, as if only the 50 that were right had been asked
    errors = [0.9 * 0.1 / 100, 0.8 * 0.2 / 50]
    assert (high - low) / 2 == pytest.approx(1.97 * 100 * math.sqrt(sum(errors)) / 2, rel=0.1)


def test_the_error_of_a_ratio_is_of_both_scores():
    # 10 are left of the 50 that were right: .2 * .8 / 50, as if only those had been asked
    fifth = pairs(marks(*[1] * 50, *[0] * 50), marks(*[1] * 10, *[0] * 90))
    low, high = overall([measure(fifth, QUICK)]).relative_interval
    assert (high - low) / 2 == pytest.approx(198 * math.sqrt(0.2 * 0.8 / 50), rel=0.1)


def test_a_baseline_of_zero_has_no_ratio_and_is_named():
    nothing = pairs(marks(0, 0, 0), marks(0, 1, 0), "textvqa")
    found = overall(measure_all([lost(1, 20), nothing], QUICK))
    assert found.left_out == ("textvqa",)
    assert found.relative == pytest.approx(95)
    alone = overall([measure(nothing, QUICK)])
    assert (alone.relative, alone.relative_interval) == (None, None)


def test_a_ratio_stays_finite_where_a_draw_has_nothing_right():
    rare = pairs(marks(1, *[0] * 19), marks(1, 1, *[0] * 18))
    assert np.isfinite(overall([measure(rare, QUICK)]).relative_interval).all()


def test_the_same_pairs_give_the_same_numbers():
    one, other = (measure(lost(9, 80), QUICK) for _ in range(2))
    assert one == other


def test_nothing_to_compare_is_no_result():
    with pytest.raises(ValueError, match="no benchmark"):
        overall([])


def test_both_at_100_leave_a_ratio_as_unsure_as_the_difference():
    perfect = pairs(marks(*[1] * 8), marks(*[1] * 8))
    found = overall(measure_all([perfect], QUICK))
    bound = 100 * (1 - 0.025 ** (1 / 8))
    assert found.relative_interval == pytest.approx((100 - bound, 100 + bound), abs=1e-2)


def about(names, benchmark):
    """A right answer about each picture; the candidate loses the first six."""
    before = [sample(i, 1, images_sha256=name) for i, name in enumerate(names)]
    return pairs(before, [{**one, "score": float(i > 5)} for i, one in enumerate(before)], benchmark)


def test_what_changes_together_is_exchanged_together():
    names = [f"picture {i}" for i in range(64)]
    settings = Settings(permutations=9_999)
    one = measure(about(names, "mmbench_en"), settings)
    together = overall([one, measure(about(names, "mmbench_cn"), settings)])
    apart = overall([one, measure(about([f"other {name}" for name in names], "mmbench_cn"), settings)])
    # six of each, all lost: 2 of 2^6 exchanges together, 2 of 2^12 apart
    assert one.p == 2 / 2**6
    assert together.p == pytest.approx(2 / 2**6, abs=0.008)
    assert apart.p < 0.003


def test_several_questions_about_a_picture_have_coins_of_their_own():
    english, chinese = (_coins(key, ["one picture"] * 3) for key in ("mmbench_en", "mmbench_cn"))
    assert english == chinese == [f"one picture {i}" for i in range(3)]
    assert not set(_coins("gqa", [None] * 3)) & set(_coins("textvqa", [None] * 3))
