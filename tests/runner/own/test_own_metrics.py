"""The metrics for the user's own data: what they give for an answer, and which answers they don't fit."""

import re
from pathlib import Path

import pytest

from pdrop_eval.benchmarks.own.folder import OwnFile
from pdrop_eval.benchmarks.own.metrics import metric_names, own_metric
from pdrop_eval.benchmarks.own.rows import Raw, read_rows
from pdrop_eval.benchmarks.own.store import check_fits
from pdrop_eval.utils.errors import UserError

PEOPLE = ["red", "red", "red", "red", "dark red", "dark red", "blue", "Red.", "the red", "wine"]
# Six of these ten are "red" once case, point and article are off.
SCORES = [
    ("exact_match", "Yes.", ["yes"], [], 1),
    ("exact_match", "3.5", ["35"], [], 0),
    ("exact_match", "3.5.", ["3.5"], [], 1),
    ("exact_match", "1234", ["1,234"], [], 1),
    ("exact_match", "-1", ["1"], [], 0),
    ("exact_match", "a dog", ["cat", "A dog"], [], 1),
    ("exact_match", "a dog or cat", ["dog"], [], 0),
    ("exact_match", "", ["dog"], [], 0),
    ("anls", "hallo", ["hello"], [], 0.8),  # one of five letters
    ("anls", "hallo", ["goodbye", "hello"], [], 0.8),
    ("anls", "xxxxo", ["hello"], [], 0),  # four of five: below a half
    ("relaxed", "104", ["100"], [], 1),
    ("relaxed", "106", ["100"], [], 0),
    ("relaxed", "5%", ["0.05"], [], 1),
    ("relaxed", "Blue", ["blue"], [], 1),
    ("relaxed", "106", ["100", "105"], [], 1),
    ("vqa", "red", ["red"] * 10, [], 1),
    ("vqa", "red", ["red", "red", "blue", "blue"], [], 0.5),  # 1/3 twice, 2/3 twice
    ("vqa", "The red", ["red"] * 4, [], 1),
    ("yes_no", "Yes, it is.", ["yes"], [], 1),
    ("yes_no", "No", ["no"], [], 1),
    ("yes_no", "A cat", ["no"], [], 0),
    ("yes_no", "no", ["Yes"], [], 0),
    ("contains", "It says STOP here", ["stop"], [], 1),
    ("contains", "It says", ["stop"], [], 0),
    ("choice", "B", ["B"], ["cat", "dog"], 1),
    ("choice", "b.", ["B"], ["cat", "dog"], 1),
    ("choice", "A dog", ["B"], ["cat", "a dog"], 1),  # its words, and no letter A
    ("choice", "The answer is (B).", ["B"], ["cat", "dog"], 1),
    ("choice", "C", ["B"], ["cat", "dog"], 0),
    ("choice", "bird", ["B"], ["cat", "dog"], 0),
]  # fmt: skip


def test_every_metric_is_scored_here():
    assert {name for name, *_ in SCORES} == {*metric_names()}
    assert all(own_metric(name).shown and own_metric(name).max_new_tokens > 0 for name in metric_names())


@pytest.mark.parametrize(("metric", "answer", "answers", "choices", "earned"), SCORES)
def test_what_an_answer_earns(lmms_eval, metric, answer, answers, choices, earned):
    doc = {"answers": answers, "choices": choices}
    assert own_metric(metric).process_results(doc, [answer]) == {metric: pytest.approx(earned)}
    assert doc == {"answers": answers, "choices": choices}  # lmms-eval's functions change what they are given


def test_people_are_counted_without_case_points_and_articles(lmms_eval):
    # Of ten, six say red: whoever is left out, at least three others do. Two say dark red: with one of these
    # left out it is one (1/3), else two (2/3), so (2 * 1/3 + 8 * 2/3) / 10 = 0.6.
    metric = own_metric("vqa")
    assert metric.score("red", {"answers": PEOPLE}) == pytest.approx(1)
    assert metric.score("dark red", {"answers": PEOPLE}) == pytest.approx(0.6)


def rows_with(*fields):
    raws = [
        Raw(n, {"id": f"q{n}", "image": "a.png", "question": "?", **one}) for n, one in enumerate(fields, 1)
    ]
    return OwnFile(Path("my/data.jsonl"), tuple(read_rows(Path("my/data.jsonl"), raws, False)))


YES, CHOICES = {"answer": "yes"}, ["cat", "dog"]
MISFITS = {
    "no yes": (
        "yes_no",
        [YES, {"answer": "maybe"}],
        r"line 2, id 'q2': the answer 'maybe' is neither yes nor no",
    ),
    "two of them": ("yes_no", [{"answers": ["yes", "no"]}], r"2 answers, and yes_no takes one"),
    "no number": (
        "relaxed",
        [{"answer": "cat"}, {"answer": "dog"}],
        r"none of the answers is a number\. Use exact_match",
    ),
    "thousands": ("relaxed", [{"answer": "1,234"}], r"'1,234' is a number that relaxed reads as a text"),
    "money": ("relaxed", [{"answer": "5"}, {"answer": "$5"}], r"line 2.*'\$5' is a number"),
    "infinity": ("relaxed", [{"answer": "inf"}], r"'inf' is no finite number"),
    "one person": ("vqa", [YES], r"one answer, and vqa compares .*at least 4"),
    "three": ("vqa", [{"answers": ["a b"] * 3}], r"3 answers, and vqa"),
    "an article": ("vqa", [{"answers": ["x", "The", "x", "x"]}], r"'The' is an article"),
    "no choices": ("choice", [YES], r"it has no choices"),
    "one choice": ("choice", [{"answer": "A", "choices": ["cat"]}], r"it has 1 choice; give 2 to 26"),
    "a choice twice": ("choice", [{"answer": "A", "choices": ["a", "a"]}], r"its choices have 'a' twice"),
    "an empty choice": ("choice", [{"answer": "A", "choices": ["a", ""]}], r"one of its choices is empty"),
    "no such choice": (
        "choice",
        [{"answer": "cow", "choices": CHOICES}],
        r"'cow' is none of its choices: 'cat', 'dog', or a letter up to B",
    ),
    "no such letter": ("choice", [{"answer": "C", "choices": CHOICES}], r"'C' is none of its choices"),
    "a letter and a text": (
        "choice",
        [{"answer": "A", "choices": ["B", "A"]}],
        r"choice B by its text and choice A by its letter",
    ),
    "a letter without choices": (
        "exact_match",
        [{"answer": "B", "choices": CHOICES}],
        r"'B' is the letter of a choice",
    ),
    "punctuation": ("exact_match", [{"answer": "?!"}], r"'\?!' is punctuation only"),
    "contains no": ("contains", [{"answer": "No"}], r"'No' is part of other words.*yes_no"),
    "contains a letter": ("contains", [{"answer": "7"}], r"'7' is part of most texts.*exact_match"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_a_metric_that_does_not_fit_the_answers_is_refused(case):
    metric, fields, words = MISFITS[case]
    with pytest.raises(UserError, match=words):
        check_fits(rows_with(*fields), metric)


def test_answers_to_choices_are_stored_as_letters():
    metric = own_metric("choice")
    assert metric.targets(["dog", "a"], ["cat", "dog"]) == ("B", "A")
    check_fits(rows_with({"answer": "A", "choices": ["A", "B"]}), "choice")  # letter and text are the same


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"Unknown data\.metric: 'exact_mach'.*Did you mean exact_match\?"):
        own_metric("exact_mach")
    with pytest.raises(UserError, match=r"needs a metric: give data\.metric=, one of anls, choice"):
        own_metric(None)
    assert re.fullmatch(r"[a-z_]+( [a-z_]+)*", " ".join(metric_names()))
