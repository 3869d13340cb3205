"""The shipped models: what their cards say holds, and they are what the cards say they are."""

import json
from collections import Counter
from operator import eq

import pytest

from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.strategies.fastv import FastV
from pdrop_eval.utils.paths import MINI_CHECKPOINT, MINI_CHECKPOINTS
from pdrop_eval.utils.presets import DEFAULT_SIZE, model_configs
from tools.mini import answer
from tools.mini.cards.member_card import LEAST, own_strategy
from tools.mini.family import BASE, STARTS

SHIPPED = sorted(path for path in MINI_CHECKPOINTS.glob("*") if path.is_dir())
START = STARTS / BASE  # in a clone, and in no wheel
CARDED = [folder for folder in (*SHIPPED, START) if (folder / "card.json").is_file()]
DEFAULT = MINI_CHECKPOINTS / DEFAULT_SIZE
MAIN = (MINI_CHECKPOINT, DEFAULT, START)
FIRST = {144: 30, 576: 15}  # questions of each task that are asked again, by image tokens
FEW, FEW_TILED = 3, 1  # of the other members; a LLaVA-NeXT of 576 tokens takes seconds each
NEEDED = {
    144: 0.2,
    576: 0.15,
}  # what dropping 90% costs at least; one cell is one of 144 tokens, or four of 576
FAST, TILED = "mini576_pdrop_05", "mini576_next"


def mean(shares):
    return sum(shares.values()) / len(shares)


def card_of(folder):
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def strategy_of(folder):
    """What the card's answers were given with."""
    record = folder / "training_record.json"
    return own_strategy(Training.of(json.loads(record.read_text()) if record.is_file() else None))


def name(folder):
    return folder.name


def tokens(folder):
    """Image tokens of a tile."""
    vision = json.loads((folder / "config.json").read_text(encoding="utf-8"))["vision_config"]
    return (vision["image_size"] // vision["patch_size"]) ** 2


@pytest.fixture(
    scope="module",
    params=[DEFAULT, MINI_CHECKPOINT, pytest.param(START, marks=pytest.mark.whole)],
    ids=name,
)
def main(request):
    """The start of the family, the default model and the smallest, each with its card."""
    return request.param, card_of(request.param), answer.load_mini(request.param)


@pytest.fixture(scope="module")
def asked(main):
    """Exact match on the first questions, now: with the image, without, and with 10% of it."""
    folder, _, mini = main
    own, first = strategy_of(folder), FIRST[tokens(folder)]
    again = answer.answer_suite(*mini, own, questions=first)
    blank = answer.answer_suite(*mini, own, blank=True, questions=first)
    few = answer.answer_suite(*mini, FastV(k=1, r=0.9), questions=first)
    measured = {"image": again, "blank image": blank, "10% after 1 layer": few}
    return again, {name: answer.exact_match(found) for name, found in measured.items()}


def wrong(again, card):
    """How many of the questions that were asked again are answered otherwise than in the card."""
    pairs = [(a, b) for t in suite.TASKS for a, b in zip(again[t], card["answers"][t], strict=False)]
    return sum(a != b for a, b in pairs) / len(pairs)


@pytest.mark.parametrize("folder", [*SHIPPED, START], ids=name)
def test_it_is_small_and_only_safetensors(folder):
    files = list(folder.iterdir())
    assert sum(file.stat().st_size for file in files) < 15_000_000
    assert not [file for file in files if file.suffix in {".bin", ".pt", ".pkl"}]


def test_all_together_are_small():
    """With what the family begins with, which a clone has."""
    assert sum(file.stat().st_size for folder in (*SHIPPED, START) for file in folder.iterdir()) < 60_000_000


def test_every_model_that_ships_has_its_card():
    read = {str(model["pretrained"]) for model in model_configs().values()}
    names = {name.removeprefix("embedded:") for name in read if name.startswith("embedded:")}
    assert {"mini", *names} <= {folder.name for folder in CARDED}
    assert {folder.name for folder in SHIPPED} == {"mini", "mini576_clip", *names}


@pytest.fixture(scope="module")
def right_answers():
    """Of the whole suite, by task: rendered once for all cards."""
    return {task: [question.answer for _, question, _ in suite.render(task)] for task in suite.TASKS}


def asked_for(folder):
    """Questions of each task in a card: the tables ask LLaVA-NeXT of 576 tokens a quarter of them."""
    if folder == START:
        return 60
    return LEAST if folder.name.startswith(TILED) else 240


@pytest.mark.slow
@pytest.mark.parametrize("folder", CARDED, ids=name)
def test_the_card_counts_its_own_answers(folder, right_answers):
    card = card_of(folder)
    assert set(card["answers"]) == set(suite.TASKS)
    for task, right in right_answers.items():
        given = card["answers"][task]
        n = len(given)
        assert n == asked_for(folder)
        assert len(right) == 240
        assert card["exact_match"]["image"][task] == sum(map(eq, given, right[:n])) / n
        assert card["exact_match"]["best constant answer"][task] == max(Counter(right[:n]).values()) / n


def members():
    """The other members; the fast run asks one of them."""
    others = [folder for folder in CARDED if folder not in MAIN]
    return [
        pytest.param(folder, id=folder.name, marks=[] if folder.name == FAST else [pytest.mark.slow])
        for folder in others
    ]


@pytest.mark.parametrize("folder", members())
def test_a_member_gives_the_answers_of_its_card(folder):
    few = FEW_TILED if folder.name.startswith(TILED) else FEW
    again = answer.answer_suite(*answer.load_mini(folder), strategy_of(folder), questions=few)
    assert wrong(again, card_of(folder)) <= 0.05


@pytest.mark.slow
def test_the_model_gives_the_answers_of_its_card(main, asked):
    # Another processor's rounding may turn an answer that was nearly a tie.
    assert wrong(asked[0], main[1]) <= 0.02


@pytest.mark.slow
def test_the_card_agrees_with_what_is_measured_now(main, asked):
    """Over all tasks; 240 questions have a standard error below 3.3 points."""
    for setting, shares in asked[1].items():
        if setting in main[1]["exact_match"]:
            assert abs(mean(shares) - mean(main[1]["exact_match"][setting])) < 0.1, setting


@pytest.mark.slow
def test_it_needs_the_image(main, asked):
    """At least 20 points above the blank image and the best constant answer on six tasks or more."""
    for measured in (main[1]["exact_match"], asked[1]):
        blank, constant = measured["blank image"], main[1]["exact_match"]["best constant answer"]
        chance = {task: max(blank[task], constant[task]) for task in suite.TASKS}
        assert sum(measured["image"][task] >= chance[task] + 0.2 for task in suite.TASKS) >= 6


@pytest.mark.slow
def test_it_needs_many_image_tokens(main, asked):
    """Without 90% of them after the first layer, the loss is visible."""
    least = NEEDED[tokens(main[0])]
    assert mean(asked[1]["image"]) - mean(asked[1]["10% after 1 layer"]) > least
