"""Why benchmarks can't be compared is said once, however many have the reason."""

from pdrop_eval.report.paired.stored_samples import CannotCompareError, said_once

LEFT = CannotCompareError.LEFT_OVER
DATA = CannotCompareError.DATA


def test_a_reason_of_several_benchmarks_is_one_sentence_after_their_names():
    errors = [
        (key, CannotCompareError(DATA, f"{name}: made on other data."))
        for key, name in (("gqa", "GQA"), ("pope", "POPE"))
    ]
    assert said_once(errors) == ["GQA, POPE: made on other data."]


def test_numbers_of_questions_are_told_of_the_first_benchmark():
    errors = [
        ("gqa", CannotCompareError(LEFT, "GQA: 0 of 8 questions. unpaired=leave_out.")),
        ("mme", CannotCompareError(LEFT, "MME: 0 of 9 questions. unpaired=leave_out.")),
        ("pope", CannotCompareError(DATA, "POPE: made on other data.")),
    ]
    assert said_once(errors) == [
        "GQA, MME: for one, GQA: 0 of 8 questions. unpaired=leave_out.",
        "POPE: made on other data.",
    ]


def test_what_mends_a_benchmark_that_waits_for_a_judge_is_told():
    words = "the answers of run-1 wait for a judge. Set judge.model, or compare without it."
    error = CannotCompareError(CannotCompareError.JUDGE, f"MM-Vet: {words}")
    assert said_once([("mmvet", error)]) == [f"MM-Vet: {words}"]
    assert error.reason == "it needs a judge"  # where it is only left out
