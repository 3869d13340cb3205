"""Pairs are made of what was asked; what makes them doubtful is a reason not to compare."""

import pytest
from compare_samples import marks, sample, write_run

from pdrop_eval.report.paired.pairing import CannotCompareError, match_samples, pair
from pdrop_eval.utils.errors import UserError


@pytest.fixture
def runs(tmp_path):
    """Two runs of one benchmark, from their samples; the scores are the means unless given."""

    def make(before, after, benchmark="gqa", scores=(None, None), **entry):
        made = []
        for name, samples, score in zip(("before", "after"), (before, after), scores, strict=True):
            counted = [one["score"] for one in samples if one["score"] is not None]
            mean = 100 * sum(counted) / len(counted) if score is None else score
            made.append(write_run(tmp_path / name, samples, mean, benchmark, **entry))
        return made

    return make


def refused(runs, **options):
    """The kind and the words of the refusal."""
    with pytest.raises(CannotCompareError) as caught:
        pair(*runs, "gqa", **options)
    return caught.value.kind, str(caught.value)


def test_questions_are_found_by_what_was_asked_not_by_their_row(runs):
    after = [sample(9 - i, i % 2, content_sha256=f"question {i}", cluster=f"{i}") for i in range(10)]
    after = [{**one, "cluster": 9 - one["doc_id"]} for one in after]
    found = pair(*runs(marks(*[1] * 10), after), "gqa")
    assert [one["content_sha256"] for one, _ in found.pairs] == [f"question {i}" for i in range(10)]
    assert [two["score"] for _, two in found.pairs] == [0, 1] * 5
    assert found.left_over == (0, 0)
    assert len(found.changed) == 5


def test_a_question_that_is_there_twice_is_paired_in_order(runs):
    before = [sample(i, 1, content_sha256="same", answer=f"first {i}") for i in (0, 1, 2)]
    after = [sample(i, 1, content_sha256="same", answer=f"second {i}", cluster=i - 5) for i in (7, 5, 6)]
    found = pair(*runs(before, after), "gqa")
    answers = [(one["answer"], two["answer"]) for one, two in found.pairs]
    assert answers == [("first 0", "second 5"), ("first 1", "second 6"), ("first 2", "second 7")]


def test_one_question_in_two_parts_is_two_questions(runs):
    before = [sample(0, 1, content_sha256="same", part="a"), sample(1, 1, content_sha256="same", part="b")]
    after = [sample(0, 0, content_sha256="same", part="b"), sample(1, 1, content_sha256="same", part="a")]
    found = pair(*runs(before, after, benchmark="mmstar"), "mmstar")
    assert [(one["part"], two["part"], two["score"]) for one, two in found.pairs] == [
        ("a", "a", 1),
        ("b", "b", 0),
    ]


def test_white_space_changes_no_answer(runs):
    before, after = [sample(0, 1, answer="yes ")], [sample(0, 1, answer="\nyes")]
    assert pair(*runs(before, after), "gqa").changed == []


def test_samples_that_do_not_count_are_no_part(runs):
    before, after = ([*marks(1, 0), {**sample(2, 0), "score": None}] for _ in range(2))
    assert len(pair(*runs(before, after), "gqa").pairs) == 2


def test_what_only_one_run_was_asked_is_refused_with_the_counts(runs):
    kind, words = refused(runs(marks(1, 1, 0, 1), marks(1, 0, 1)))
    assert kind == CannotCompareError.LEFT_OVER
    assert "GQA: 1 of 4 questions were asked of before alone, 0 of 3 of after alone" in words
    assert "unpaired=leave_out" in words


def test_what_only_one_run_was_asked_can_be_left_out(runs):
    found = pair(*runs(marks(1, 1, 0, 1), marks(1, 0, 1)), "gqa", unpaired="leave_out")
    assert (found.left_over, len(found.pairs)) == ((1, 0), 3)
    assert (found.difference.n, found.difference.value) == (3, 0)


def test_surplus_occurrences_that_are_alike_can_be_left_out(runs):
    before = [sample(i, 1, content_sha256="same") for i in range(3)]
    found = pair(*runs(before, before[:2]), "gqa", unpaired="leave_out")
    assert (found.left_over, len(found.pairs)) == ((1, 0), 2)


def test_surplus_occurrences_with_other_targets_are_ambiguous(runs):
    before = [sample(i, 1, content_sha256="same", target=str(i)) for i in range(3)]
    kind, words = refused(runs(before, before[:2]), unpaired="leave_out")
    assert kind == CannotCompareError.TARGETS
    assert "3 and 2 times" in words


def test_unpaired_is_one_of_two_words(runs):
    with pytest.raises(UserError, match="unpaired=maybe: it is refuse or leave_out"):
        pair(*runs(marks(1), marks(1)), "gqa", unpaired="maybe")


def test_another_target_for_the_same_question_is_refused(runs):
    kind, words = refused(runs([sample(0, 1, target="left")], [sample(0, 1, target="right")]))
    assert kind == CannotCompareError.TARGETS
    assert 'the target "left" in the baseline (doc_id 0) and "right" in the candidate (doc_id 0)' in words


def test_other_prompts_about_the_same_pictures_are_named_as_such(runs):
    after = [{**one, "content_sha256": f"other {one['doc_id']}"} for one in marks(1, 1)]
    assert refused(runs(marks(1, 1), after))[0] == CannotCompareError.PROMPTS


def test_other_data_are_named_as_such(runs):
    after = [{**s, "content_sha256": "x", "images_sha256": f"y{s['doc_id']}"} for s in marks(1, 1)]
    kind, words = refused(runs(marks(1, 1), after))
    assert kind == CannotCompareError.DATA
    assert "no question in common" in words


def test_a_benchmark_that_is_not_there_is_named(runs, tmp_path):
    one, _ = runs(marks(1), marks(1))
    kind, words = refused([one, write_run(tmp_path / "else", marks(1), 100.0, "textvqa")])
    assert kind == CannotCompareError.MISSING
    assert "GQA is not in else (it has TextVQA)" in words


def test_what_waits_for_a_judge_can_be_told_from_a_fault(runs):
    one, other = runs(marks(1), marks(1))
    other.results["gqa"].update(status="needs_judge", score=None)
    assert refused([one, other])[0] == CannotCompareError.JUDGE


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda rows: rows.pop(), "2 lines for 3 questions: some were lost"),
        (lambda rows: rows[0].update(score=0.0), "they give 66.6667 and its record says 100.0000"),
        (lambda rows: rows[1].pop("content_sha256"), "line 2 has no content_sha256"),
        (lambda rows: rows[1].update(score=2.0), "line 2 has the score 2.0, no number from 0 to 1"),
        (lambda rows: rows[2].pop("doc_id"), "line 3 has no doc_id"),
        (lambda rows: [rows[0].pop(name) for name in ("cluster", "images_sha256")], "line 1 has neither"),
    ],
)
def test_samples_that_are_not_what_was_scored_are_refused(runs, spoil, reason):
    after = marks(1, 1, 1)
    spoil(after)
    kind, words = refused(runs(marks(1, 1, 1), after, scores=(100.0, 100.0), n=3))
    assert kind == CannotCompareError.SAMPLES
    assert reason in words


def test_samples_that_can_not_be_read_are_a_reason(runs, tmp_path):
    made = runs(marks(1), marks(1))
    (tmp_path / "after" / "samples" / "gqa.jsonl").write_text("{", encoding="utf-8")
    kind, words = refused(made)
    assert kind == CannotCompareError.SAMPLES
    assert "can't be read" in words


def test_what_belongs_to_one_picture_must_be_the_same_in_both(runs):
    kind, words = refused(runs(marks(1, 1, 1, 1, size=2), marks(1, 1, 1, 1)))
    assert kind == CannotCompareError.SAMPLES
    assert "which questions belong to one picture" in words


def test_samples_of_a_third_run_are_matched_too():
    asked = marks(1, 0, 1)
    others = [{**one, "doc_id": 5 - one["doc_id"]} for one in asked]
    found = match_samples("gqa", asked, others)
    assert [one["content_sha256"] for one in found] == [one["content_sha256"] for one in asked]
    with pytest.raises(CannotCompareError, match="1 of 3 questions were not asked in the third run"):
        match_samples("gqa", asked, others[:2])
