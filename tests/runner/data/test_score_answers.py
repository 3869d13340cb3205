"""`pdrop_eval.score`: answers from anywhere, by lmms-eval's own metric."""

import re
from pathlib import Path

import pytest

import pdrop_eval
from pdrop_eval import UserError
from pdrop_eval.benchmarks.rendered.suite import render
from pdrop_eval.run.lmms.tasks.score_answers import TaskScore

PAGE = Path(__file__).parents[3] / "docs" / "api" / "lmms.md"


@pytest.mark.usefixtures("lmms_eval")
def test_half_of_the_images_right_is_half_of_the_points():
    asked = render("gqa", 8)  # two questions about each of four pictures
    answers = [question.answer for _, question, _ in asked[:4]] + ["no idea"] * 4
    found = pdrop_eval.score("gqa", answers, limit=8)
    assert (found.value, found.n, found.clusters, found.metric) == (50.0, 8, 4, "exact_match")
    # A draw of four from {100, 100, 0, 0}: the mean has variance 2500 / 4. Cut at the ends of the scale.
    assert found.stderr == pytest.approx(25, rel=0.08)
    assert found.interval == pytest.approx((50 - 1.96 * found.stderr, 50 + 1.96 * found.stderr), abs=0.2)
    assert str(found).startswith("gqa: 50.0 exact_match of 8 questions, 95% interval 0.")


@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize(("task", "right", "value"), [
    ("pope", False, 200 / 3),  # all "yes", half of them rightly: precision 1/2, recall 1
    pytest.param("mmbench_en_dev", True, 100.0, marks=pytest.mark.slow),
    pytest.param("docvqa_val", True, 100.0, marks=pytest.mark.slow),
    ("mme", True, 1600.0),  # eight categories, of the ten, with 200 each
], ids=lambda one: one if isinstance(one, str) else "")  # fmt: skip
def test_the_benchmarks_own_filters_and_metrics_are_used(task, right, value):
    answers = [question.answer if right else "Yes" for _, question, _ in render(task)]
    found = pdrop_eval.score(task, iter(answers))
    assert found.value == pytest.approx(value)
    assert (found.n, found.interval) == (240, None)  # every picture came out alike


@pytest.mark.usefixtures("lmms_eval")
def test_the_example_of_the_docs_prints_what_it_says(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    exec(example, {})
    (said,) = re.findall(r"print\(found\)  # (.*)", example)
    assert capsys.readouterr().out == f"{said}\n"


@pytest.mark.parametrize(("task", "answers", "settings", "words"), [
    ("gqaa", ["x"], {}, ("'gqaa'", "Did you mean gqa?")),
    ("mmvet", ["x"], {}, ("mmvet is scored by a language model", "judge.model=")),
    ("gqa", "yes", {}, ("answers is of type str", "one text for each question")),
    ("gqa", {"0": "yes"}, {}, ("answers is of type dict",)),
    ("gqa", None, {}, ("answers is of type NoneType",)),
    ("gqa", ["yes", 3], {}, ("answers[1]=3 is of type int, not a text",)),
    ("gqa", ["yes"], {"suite": "minii"}, ("'minii'", "Did you mean mini?")),
    ("gqa", ["yes"], {"limit": 0}, ("limit=0", "at least 1")),
    ("mme", ["yes"], {"limit": 1}, ("pairs", "such as 2")),
], ids=str)  # fmt: skip
def test_wrong_input_is_named_before_lmms_eval_is_imported(task, answers, settings, words):
    with pytest.raises(UserError) as error:
        pdrop_eval.score(task, answers, **settings)
    assert all(one in str(error.value) for one in words)


@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize(("number", "settings", "words"), [
    (3, {}, "len(answers)=3 is not allowed: gqa has 240 questions. Give an answer to each, or limit=3 if"),
    (241, {}, "gqa has 240 questions. Give an answer to each."),
    (2, {"limit": 4}, "gqa has 4 questions (limit=4 of 240)"),
    (0, {}, "len(answers)=0"),
    (1, {"data_root": "nowhere"}, "data_root=nowhere is no folder"),
])  # fmt: skip
def test_another_number_of_answers_and_missing_data_are_refused(number, settings, words):
    with pytest.raises(UserError) as error:
        pdrop_eval.score("gqa", ["yes"] * number, **settings)
    assert words in str(error.value)


def test_a_score_prints_its_number_of_questions_and_its_interval():
    found = TaskScore("gqa", "exact_match", 50.0, 10.0, 20, 10, {}, (30.4, 69.6))
    assert str(found) == "gqa: 50.0 exact_match of 20 questions, 95% interval 30.4 to 69.6"
