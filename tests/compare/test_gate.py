"""The gate: which drops pass, on what, and what it refuses to say."""

import pytest
from compare_samples import marks, pairs

from pdrop_eval.report.compare.gate import Gate, verdict
from pdrop_eval.report.paired.effect import Settings, measure_all, overall
from pdrop_eval.utils.errors import UserError

QUICK = Settings(permutations=99)


def lost(number, n=200, key="gqa"):
    return pairs(marks(*[1] * n), marks(*[0] * number, *[1] * (n - number)), key)


def judge(*every, **gate):
    effects = measure_all(every, QUICK)
    return verdict(effects, overall(effects), Gate(**gate))


@pytest.mark.parametrize(
    ("number", "on", "passed"),
    [
        # 30 of 200 lost: -15 [-21, -11]; a limit of 12 points
        (30, "shown", True),
        (30, "estimate", False),
        (30, "possible", False),
        # 10 of 200: -5 [-9, -3]: nothing beyond 12 is possible
        (10, "possible", True),
        (10, "estimate", True),
        # 60 of 200: -30 [-37, -24]
        (60, "shown", False),
    ],
)
def test_a_drop_fails_where_it_is_shown_estimated_or_possible(number, on, passed):
    found = judge(lost(number), max_drop=12, on=on)
    assert found.passed is passed
    assert [check.passed for check in found.checks] == [passed]


def test_a_drop_of_just_the_limit_passes():
    assert judge(lost(24), max_drop=12, on="estimate").passed
    assert not judge(lost(25), max_drop=12, on="estimate").passed


def test_a_gain_passes():
    better = pairs(marks(*[0] * 50, *[1] * 50), marks(*[1] * 100))
    assert all(judge(better, max_drop=0, on=on).passed for on in ("shown", "estimate", "possible"))


def test_no_change_is_no_shown_drop_but_one_isnt_ruled_out():
    assert judge(lost(0), max_drop=1).passed
    # the exact bound of 200 questions: 1.8 points
    assert not judge(lost(0), max_drop=1, on="possible").passed
    assert judge(lost(0), max_drop=2, on="possible").passed


def test_a_benchmark_has_its_own_limit():
    found = judge(lost(30), lost(30, key="textvqa"), max_drop=20, benchmarks={"textvqa": 5}, on="estimate")
    assert [(check.name, check.limit, check.passed) for check in found.checks] == [
        ("gqa", 20, True),
        ("textvqa", 5, False),
    ]
    assert not found.passed
    alone = judge(lost(30), lost(30, key="textvqa"), benchmarks={"gqa": 20}, on="estimate")
    assert [check.name for check in alone.checks] == ["gqa"]


def test_the_mean_over_all_is_a_check_of_its_own():
    found = judge(lost(30), lost(0, key="textvqa"), overall=5, on="estimate")
    (check,) = found.checks
    assert (check.kind, check.name, check.passed) == ("overall", "overall", False)
    assert check.value == pytest.approx(-7.5)
    assert judge(lost(30), lost(0, key="textvqa"), overall=8, on="estimate").passed


def test_several_benchmarks_need_stronger_evidence():
    # 10 of 200: the interval alone ends at -2.7, the one for eight benchmarks nearer to zero
    keys = ("gqa", "textvqa", "vqav2", "vizwiz", "ocrvqa", "chartqa", "docvqa", "infovqa")
    alone = judge(lost(10), max_drop=2.4)
    among = judge(*(lost(10 if key == "gqa" else 0, key=key) for key in keys), max_drop=2.4)
    assert (alone.passed, among.passed) == (False, True)
    assert (alone.checks[0].level, among.checks[0].level) == pytest.approx((0.95, 1 - 0.05 / 8))
    # only what is checked counts, and what must be ruled out of each needs no correction
    one = judge(*(lost(10 if key == "gqa" else 0, key=key) for key in keys), benchmarks={"gqa": 2.4})
    assert not one.passed
    every = judge(*(lost(1, key=key) for key in keys), max_drop=9, on="possible")
    assert {check.level for check in every.checks} == {0.95}


def test_changed_answers_count_whatever_they_score():
    permuted = pairs(marks(0, *[1] * 9), marks(*[1] * 9, 0))
    assert judge(permuted, max_drop=0, on="estimate").passed
    found = judge(permuted, lost(0, n=40, key="textvqa"), changed=0)
    (check,) = found.checks
    assert (check.passed, check.kind, check.value, check.interval) == (False, "changed", 4.0, None)
    assert check.words == "The answers: 2 of 50 differ (4.0%: GQA 2); none may"
    (check,) = judge(permuted, lost(0, n=40, key="textvqa"), changed=4).checks
    assert (check.passed, check.words[-12:]) == (True, "up to 4% may")
    assert judge(lost(0), changed=0).passed


def test_the_mean_and_the_benchmarks_share_the_level():
    keys = ("gqa", "textvqa", "vqav2")
    found = judge(*(lost(8, key=key) for key in keys), max_drop=9, overall=2.2)
    levels = [check.level for check in found.checks]
    assert levels == pytest.approx([0.975, *[1 - 0.025 / 3] * 3])
    assert (1 - levels[0]) / 2 + sum(1 - level for level in levels[1:]) / 2 == pytest.approx(0.025)
    # the mean alone has the whole level; a limit between both ends tells them apart
    alone = judge(*(lost(8, key=key) for key in keys), overall=9).checks[0]
    assert alone.level == 0.95
    assert alone.interval[1] < found.checks[0].interval[1]
    between = -(alone.interval[1] + found.checks[0].interval[1]) / 2
    assert not judge(*(lost(8, key=key) for key in keys), overall=between).passed
    assert judge(*(lost(8, key=key) for key in keys), overall=between, max_drop=50).passed
    # where nothing has to be shown there is nothing to share
    ruled_out = judge(*(lost(8, key=key) for key in keys), max_drop=9, overall=9, on="possible")
    assert {check.level for check in ruled_out.checks} == {0.95}


def test_words_say_benchmark_numbers_and_outcome():
    (check,) = judge(lost(60), max_drop=12).checks
    assert check.words.startswith("GQA: -30.0 points [-3")
    assert check.words.endswith("a drop of more than 12 points is shown: the whole interval lies beyond")
    (check,) = judge(lost(60), max_drop=1).checks
    assert "a drop of more than 1 point is shown" in check.words
    (check,) = judge(lost(0), overall=0, on="possible").checks
    assert check.words.startswith("The mean of all benchmarks: +0.0 points")
    assert check.words.endswith("a drop isn't ruled out: the interval reaches beyond")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({}, "checks nothing"),
        ({"on": "seen", "overall": 1}, "on='seen': it is shown, estimate or possible"),
        ({"max_drop": -1}, "max_drop=-1: a drop is a number of points"),
        ({"overall": float("nan")}, "overall=nan"),
        ({"overall": True}, "overall=True"),
        ({"overall": "1"}, "overall='1'"),
        ({"benchmarks": {"gqa": float("inf")}}, "gqa=inf"),
        ({"max_drop": 101}, "max_drop=101: a drop is a number of points from 0 to 100"),
        ({"changed": 100}, "changed=100: it is a percentage"),
        ({"benchmarks": {"gpa": 1}}, "'gpa' is no benchmark. Known: mme"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(settings, reason):
    with pytest.raises(UserError, match=reason):
        Gate(**settings)


def test_a_limit_for_what_was_not_compared_is_refused():
    with pytest.raises(UserError, match="a limit for textvqa, which is not among what was compared: gqa"):
        judge(lost(1), benchmarks={"textvqa": 1})
    with pytest.raises(UserError, match="no benchmark was compared"):
        verdict([], None, Gate(overall=1))
