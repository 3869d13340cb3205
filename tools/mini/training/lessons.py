"""What the miniature is asked about a training picture: all benchmarks' questions, and some exercises."""

from random import Random

from pdrop_eval.benchmarks.rendered.claims import KINDS as MME_KINDS
from pdrop_eval.benchmarks.rendered.claims import MME_CATEGORIES, mme_pair
from pdrop_eval.benchmarks.rendered.facts import CN_COLORS, CN_SHAPES, Fact, attributes, facts
from pdrop_eval.benchmarks.rendered.pictures import Picture
from pdrop_eval.benchmarks.rendered.questions import (
    FORMS,
    POPE_CATEGORIES,
    Question,
    choose,
    open_questions,
    pope,
)

# A single grid can't read small print: it is asked for now and then, for the form of the answer.
SMALL_SHARE = 0.1
MMVET_SHARE = 0.25


def exercises(rng: Random, picture: Picture) -> list[Question]:
    """Training only: Chinese open questions, and finding a named option without looking at the picture."""
    made = []
    for fact in attributes(rng, picture) if picture.kind == "objects" else []:
        assert fact.chinese
        made.append(Question("train", fact.chinese[0], fact.chinese[1], {}, fact.evidence))
    form = rng.choice(FORMS)
    english, chinese = rng.choice((CN_COLORS, CN_SHAPES)), rng.choice((CN_COLORS, CN_SHAPES))
    word, sign = rng.choice(list(english)), rng.choice(list(chinese.values()))
    cn = (f"哪个选项是{sign}？", sign, tuple(chinese.values()))
    find = choose(rng, form, Fact("color", f"Which option is {word}?", word, tuple(english), (), cn))
    assert find
    made.append(Question("train", find.prompt, find.answer, {}, (), find.option))
    return made


def training_questions(rng: Random, picture: Picture) -> list[Question]:
    """Questions about a picture, no prompt twice, yes and no in balance, in random order."""
    made = exercises(rng, picture)
    if picture.kind == "objects":
        for category in POPE_CATEGORIES:
            pair = [pope(rng, picture, present, category) for present in (True, False)]
            made += [question for question in pair if question and None not in pair]
    categories = [c for c in MME_CATEGORIES if MME_KINDS[c] in ("any", picture.kind)]
    if picture.kind != "photo":
        for category in rng.sample(categories, 2 if picture.kind == "objects" else 1):
            made += mme_pair(rng, picture, category)
    for question in open_questions(rng, picture):
        share = SMALL_SHARE if question.small else MMVET_SHARE if question.task == "mmvet" else 1.0
        made += [question] if rng.random() < share else []
    for fact in facts(rng, picture):
        forms = [choose(rng, form, fact) for form in FORMS if not fact.small]
        suited = [question for question in forms if question]
        chinese = [question for question in suited if question.task == "mmbench_cn_dev"]
        made += [rng.choice(chinese if chinese and rng.random() < 0.3 else suited)] if suited else []
    rng.shuffle(made)
    return list({question.prompt: question for question in made}.values())
