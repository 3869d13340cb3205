"""The shipped model: what its card says holds, and it is what the card says it is."""

import json

import pytest

from pdrop_eval.mini import answer, suite
from pdrop_eval.paths import MINI_CHECKPOINT
from pdrop_eval.strategies.fastv import FastV

FIRST = 30  # questions of each task that are asked again


def mean(shares):
    return sum(shares.values()) / len(shares)


@pytest.fixture(scope="module")
def card():
    return json.loads((MINI_CHECKPOINT / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def mini():
    return answer.load_mini(MINI_CHECKPOINT)


def test_it_is_small_and_only_safetensors():
    files = list(MINI_CHECKPOINT.iterdir())
    assert sum(file.stat().st_size for file in files) < 15_000_000
    assert not [file for file in files if file.suffix in {".bin", ".pt", ".pkl"}]


def test_the_card_counts_its_own_answers(card):
    assert card["exact_match"]["image"] == answer.exact_match(card["answers"])
    assert {task: len(given) for task, given in card["answers"].items()} == dict.fromkeys(suite.TASKS, 240)
    assert card["exact_match"]["best constant answer"] == answer.best_constant()


def test_the_model_gives_the_answers_of_its_card(card, mini):
    again = answer.answer_suite(*mini, questions=FIRST)
    pairs = [
        (a, b)
        for task in suite.TASKS
        for a, b in zip(again[task], card["answers"][task][:FIRST], strict=True)
    ]
    # Another processor's rounding may turn an answer that was nearly a tie.
    assert sum(a != b for a, b in pairs) <= 0.02 * len(pairs)


@pytest.fixture(scope="module")
def asked(mini):
    """Exact match on the first questions, now: with the image, without, and with 10% of it."""
    return {
        "image": answer.exact_match(answer.answer_suite(*mini, questions=FIRST)),
        "blank image": answer.exact_match(answer.answer_suite(*mini, blank=True, questions=FIRST)),
        "10% after 1 layer": answer.exact_match(
            answer.answer_suite(*mini, FastV(k=1, r=0.9), questions=FIRST)
        ),
    }


def test_the_card_agrees_with_what_is_measured_now(card, asked):
    """Over all tasks; 240 questions have a standard error below 3.3 points."""
    for name, shares in asked.items():
        assert abs(mean(shares) - mean(card["exact_match"][name])) < 0.1, name


def test_it_needs_the_image(card, asked):
    """At least 20 points above the blank image and the best constant answer on six tasks or more."""
    for measured in (card["exact_match"], asked):
        blank, constant = measured["blank image"], card["exact_match"]["best constant answer"]
        chance = {task: max(blank[task], constant[task]) for task in suite.TASKS}
        assert sum(measured["image"][task] >= chance[task] + 0.2 for task in suite.TASKS) >= 6


def test_it_needs_many_image_tokens(card, asked):
    """Without 90% of them after the first layer, the loss is visible."""
    for measured in (card["exact_match"], asked):
        assert mean(measured["image"]) - mean(measured["10% after 1 layer"]) > 0.2
