"""VTC-Bench's groups: what needs the resolution, and what doesn't."""

import pytest
from compare_samples import marks, pairs

from pdrop_eval.report.compare.groups import Group, groups
from pdrop_eval.report.paired.pairing import CannotCompareError


def test_questions_fall_into_hard_easy_and_neither():
    # right at full size: all but the last. Right after shrinking: the first three and the last.
    baseline, small = marks(1, 1, 1, 1, 1, 0), marks(1, 1, 1, 0, 0, 1)
    candidate = marks(1, 1, 0, 1, 0, 1)
    found = groups(pairs(baseline, candidate), small)
    assert (found.hard.n, found.easy.n, found.neither) == (2, 3, 1)
    assert (found.hard.baseline, found.hard.candidate) == pytest.approx((100, 50))
    assert found.easy.candidate == pytest.approx(200 / 3)
    low, high = found.easy.interval
    assert 0 <= low < 200 / 3 < high <= 100


def test_shrunk_samples_are_found_by_what_was_asked():
    small = [{**one, "doc_id": 9 - one["doc_id"]} for one in marks(0, 1)]
    found = groups(pairs(marks(1, 1), marks(0, 1)), small[::-1])
    assert (found.hard.candidate, found.easy.candidate) == (0, 100)


def test_more_than_half_a_mark_is_right():
    found = groups(pairs(marks(0.5, 0.6, 1), marks(1, 0.5, 0.9)), marks(1, 1, 0.3))
    assert (found.neither, found.easy.n, found.hard.n) == (1, 1, 1)
    assert (found.easy.candidate, found.hard.candidate) == (0, 100)


def test_an_empty_group_has_no_numbers():
    found = groups(pairs(marks(1, 0), marks(1, 0)), marks(1, 0))
    assert found.hard == Group(0, 0, None, None, None)
    # one question, kept: with a chance of 2.5% or more it could be kept by luck down to 2.5%
    assert found.easy.interval == pytest.approx((2.5, 100))


def test_questions_about_one_picture_make_the_interval_wider():
    answers = [1] * 30 + [0] * 10
    alone, together = (
        groups(pairs(marks(*[1] * 40, size=size), marks(*answers, size=size)), marks(*[1] * 40)).easy
        for size in (1, 5)
    )
    assert (alone.clusters, together.clusters) == (40, 8)
    assert together.interval[0] < alone.interval[0] < 75 < alone.interval[1] < together.interval[1]


def test_a_question_that_was_not_shrunk_is_refused():
    with pytest.raises(CannotCompareError, match="1 of 2 questions were not asked in the third run"):
        groups(pairs(marks(1, 1), marks(1, 1)), marks(1))
