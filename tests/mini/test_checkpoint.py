"""The shipped model: what its card says holds, and it is what the card says it is."""

import json

import pytest

from pdrop_eval.mini import answer, suite
from pdrop_eval.paths import MINI_CHECKPOINT

FIRST = 30  # questions of each task that are asked again


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


def test_it_needs_the_image(card):
    """At least 20 points above the blank image and the best constant answer on six tasks or more."""
    shares = card["exact_match"]
    chance = {t: max(shares["blank image"][t], shares["best constant answer"][t]) for t in suite.TASKS}
    assert sum(shares["image"][task] >= chance[task] + 0.2 for task in suite.TASKS) >= 6


def test_it_needs_many_image_tokens(card):
    """Without 90% of them after the first layer, the loss is visible."""
    shares = card["exact_match"]
    mean = {name: sum(shares[name].values()) / len(shares[name]) for name in ("image", "10% after 1 layer")}
    assert mean["image"] - mean["10% after 1 layer"] > 0.1


def test_a_blank_image_is_answered_as_the_card_says(card, mini):
    blind = answer.exact_match({"gqa": answer.answer_suite(*mini, blank=True, questions=FIRST)["gqa"]})
    assert abs(blind["gqa"] - card["exact_match"]["blank image"]["gqa"]) < 0.3
    assert blind["gqa"] < card["exact_match"]["image"]["gqa"] - 0.2
