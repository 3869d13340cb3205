"""Questions about a picture, in the words of the eight benchmarks, with the patches that hold the answer.

`fields` are the columns that the benchmark's data set has for the question; `prompt` is the text that
lmms-eval makes of them for a LLaVA model. A test holds the two together, so that the miniature is trained on
the very prompts with which it is evaluated.
"""

from dataclasses import dataclass, field
from random import Random

from pdrop_eval.mini.canvas import COLORS, KEYS, SHAPES
from pdrop_eval.mini.pictures import READABLE, Item, Picture

SHORT = "Answer the question using a single word or phrase."
WORD = "Answer the question with a single word."
LETTER = "Answer with the option's letter from the given choices directly."
CN_OPTIONS = "There are several options:"
CN_LETTER = "请直接使用所提供的选项字母作为答案回答。"

CN_COLORS = dict(zip(COLORS, ("红色", "绿色", "蓝色", "黄色", "紫色", "橙色", "青色", "黑色"), strict=True))
CN_SHAPES = dict(zip(SHAPES, ("圆形", "方形", "三角形", "星形", "十字形", "菱形"), strict=True))
NUMBERS = ("one", "two", "three", "four", "five", "six")
# A true text, a false text and the patches to look at.
Claim = tuple[str, str, tuple[int, ...]]
SCENES = {"objects": "drawing", "signs": "sign", "chart": "chart", "page": "page"}


@dataclass(frozen=True)
class Question:
    """One question.

    `task` is the lmms-eval task, or "train" for exercises that no benchmark asks. `evidence` has a patch for
    each token of the answer (empty: nothing in particular to look at); `option` is the place of the right
    option among the options in the prompt, or None.
    """

    task: str
    prompt: str
    answer: str
    fields: dict = field(default_factory=dict)
    evidence: tuple[int, ...] = ()
    option: int | None = None


def _unique(items: tuple[Item, ...], attribute: str) -> list[Item]:
    """The items whose color or thing no other item shares."""
    values = [getattr(item, attribute) for item in items]
    return [item for item in items if values.count(getattr(item, attribute)) == 1]


def _open(
    task: str, text: str, answer: str, evidence: tuple[int, ...], suffix: str = SHORT, **fields
) -> Question:
    return Question(
        task, f"{text}\n{suffix}", answer, {"question": text, "answer": answer, **fields}, evidence
    )


def pope(rng: Random, picture: Picture, present: bool, category: str) -> Question | None:
    """Is there such a shape? None if the picture has no fitting one.

    Adversarial questions name a color and a shape that are both in the picture, together or not; the others
    name a shape alone.
    """
    pairs = {(item.color, item.thing): item.patch for item in picture.items}
    colors, things = sorted({color for color, _ in pairs}), sorted({thing for _, thing in pairs})
    patches: tuple[int, ...] = ()
    if category == "adversarial":
        absent = [(color, thing) for color in colors for thing in things if (color, thing) not in pairs]
        if not present and not absent:
            return None
        named = rng.choice([(i.color, i.thing) for i in picture.items] if present else absent)
        name = " ".join(named)
        patches = (pairs[named],) if present else ()
    else:
        name = rng.choice(things if present else [shape for shape in SHAPES if shape not in things])
        patches = tuple(item.patch for item in picture.items if item.thing == name)[:1]
    answer = "yes" if present else "no"
    return _open("pope", f"Is there a {name} in the image?", answer, patches, category=category)


def gqa(rng: Random, picture: Picture) -> list[Question]:
    """Color of a shape, shape of a color, and the side of the picture that a thing is on."""
    made = []
    for item in _unique(picture.items, "thing"):
        made.append(_open("gqa", f"What color is the {item.thing}?", item.color, (item.patch,)))
    for item in _unique(picture.items, "color"):
        made.append(_open("gqa", f"What shape is the {item.color} object?", item.thing, (item.patch,)))
    item = rng.choice(picture.items)
    side = "left" if item.x < 48 else "right"
    made.append(
        _open("gqa", f"On which side of the image is the {item.color} {item.thing}?", side, (item.patch,))
    )
    return made


def _choices(rng: Random, answer: str, others: list[str], count: int) -> tuple[list[str], int]:
    """The answer among `count - 1` others in random order, and its place."""
    options = [answer, *rng.sample([o for o in others if o != answer], count - 1)]
    rng.shuffle(options)
    return options, options.index(answer)


def science(rng: Random, text: str, answer: str, others: list[str], evidence: tuple[int, ...]) -> Question:
    """A multiple-choice question in ScienceQA's form, three or four options."""
    options, place = _choices(rng, answer, others, min(len(others), rng.choice((3, 4))))
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))
    fields = {"question": text, "choices": options, "answer": place, "hint": ""}
    return Question("scienceqa_img", f"{text}\n{listed}\n{LETTER}", "ABCD"[place], fields, evidence, place)


def mmbench_cn(rng: Random, text: str, answer: str, others: list[str], evidence: tuple[int, ...]) -> Question:
    """A multiple-choice question in MMBench-CN's form, four options."""
    options, place = _choices(rng, answer, others, 4)
    lines = [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True)]
    prompt = "\n".join([f"{text} {CN_OPTIONS}", *lines, "", CN_LETTER])
    fields = {"question": text, "answer": "ABCD"[place], **dict(zip("ABCD", options, strict=True))}
    return Question("mmbench_cn_dev", prompt, "ABCD"[place], fields, evidence, place)


def multiple_choice(rng: Random, picture: Picture) -> list[Question]:
    """English and Chinese multiple choice about the picture's shapes or bars."""
    made = []
    colors, shapes = list(COLORS), list(SHAPES)
    if picture.kind == "objects":
        for item in _unique(picture.items, "thing"):
            seen = (item.patch,)
            made.append(science(rng, f"What color is the {item.thing}?", item.color, colors, seen))
            asked = f"{CN_SHAPES[item.thing]}是什么颜色？"
            made.append(mmbench_cn(rng, asked, CN_COLORS[item.color], list(CN_COLORS.values()), seen))
        for item in _unique(picture.items, "color"):
            seen = (item.patch,)
            made.append(science(rng, f"What shape is the {item.color} object?", item.thing, shapes, seen))
            asked = f"{CN_COLORS[item.color]}的图形是什么形状？"
            made.append(mmbench_cn(rng, asked, CN_SHAPES[item.thing], list(CN_SHAPES.values()), seen))
    elif picture.kind == "chart":
        for item, word, chinese in _extremes(picture):
            seen, names = (item.patch,), [i.color for i in picture.items]
            if len(names) == 3:
                made.append(science(rng, f"Which bar is the {word}?", item.color, names, seen))
            else:
                listed = [CN_COLORS[name] for name in names]
                made.append(
                    mmbench_cn(rng, f"{chinese}的柱子是什么颜色？", CN_COLORS[item.color], listed, seen)
                )
    return made


def _extremes(picture: Picture) -> list[tuple[Item, str, str]]:
    """The highest and the lowest bar, in English and Chinese; none where two share the value."""
    values = sorted((int(item.text), i) for i, item in enumerate(picture.items))
    if len({value for value, _ in values}) < len(values):
        return []
    return [
        (picture.items[values[-1][1]], "highest", "最高"),
        (picture.items[values[0][1]], "lowest", "最低"),
    ]


def textvqa(picture: Picture) -> list[Question]:
    """What is written beside each shape."""
    asked = "What is written next to the {} {}?"
    return [
        _open("textvqa_val", asked.format(i.color, i.thing), i.text, i.text_patches) for i in picture.items
    ]


def chartqa(picture: Picture) -> list[Question]:
    """The value of each bar, and which is the highest and the lowest."""
    made = [
        _open(
            "chartqa",
            f"What is the value of the {i.color} bar?",
            i.text,
            i.text_patches,
            WORD,
            type="augmented_test",
        )
        for i in picture.items
    ]
    for item, word, _ in _extremes(picture):
        made.append(
            _open("chartqa", f"Which bar is the {word}?", item.color, (item.patch,), WORD, type="human_test")
        )
    return made


def docvqa(picture: Picture) -> list[Question]:
    """The value of each key on a page."""
    return [_open("docvqa_val", f"What is the {i.thing}?", i.text, i.text_patches) for i in picture.items]


def mme_pair(rng: Random, picture: Picture, category: str) -> list[Question]:
    """A question whose answer is yes and its twin whose answer is no; empty if the picture has none."""
    yes, no, evidence = _mme_texts(rng, picture, category) or ("", "", ())
    if not yes:
        return []
    ask = " Please answer yes or no."
    pair = []
    for text, answer, seen in ((yes, "Yes", evidence), (no, "No", ())):
        fields = {"question": text + ask, "answer": answer, "category": category}
        pair.append(Question("mme", f"{text}\n{SHORT}", answer.lower(), fields, seen))
    return pair


def _mme_texts(rng: Random, picture: Picture, category: str) -> Claim | None:
    """The category's claim about the picture, None if it has none."""
    item = rng.choice(picture.items)
    kind = {"scene": picture.kind, "OCR": "signs"}.get(category, "objects")
    return _MME_CLAIMS[category](rng, picture, item) if picture.kind == kind else None


def _scene(rng: Random, picture: Picture, _: Item) -> Claim:
    other = rng.choice([word for kind, word in SCENES.items() if kind != picture.kind])
    return f"Does this image show a {SCENES[picture.kind]}?", f"Does this image show a {other}?", ()


def _ocr(rng: Random, _: Picture, item: Item) -> Claim | None:
    wrong = "".join(rng.sample(READABLE, len(item.text)))
    asked = f"Is the text next to the {item.color} {item.thing} {{}}?"
    if wrong == item.text:
        return None
    return asked.format(item.text), asked.format(wrong), item.text_patches[:1]


def _existence(rng: Random, picture: Picture, item: Item) -> Claim:
    absent = [s for s in SHAPES if s not in {i.thing for i in picture.items}]
    asked = "Is there a {} in this image?"
    return asked.format(item.thing), asked.format(rng.choice(absent)), (item.patch,)


def _count(rng: Random, picture: Picture, _: Item) -> Claim:
    number = len(picture.items)
    other = rng.choice([n for n in range(2, 6) if n != number])
    asked = "Are there {} objects in this image?"
    return asked.format(NUMBERS[number - 1]), asked.format(NUMBERS[other - 1]), ()


def _position(_: Random, __: Picture, item: Item) -> Claim:
    right, wrong = ("left", "right") if item.x < 48 else ("right", "left")
    asked = f"Is the {item.color} {item.thing} on the {{}} side of the image?"
    return asked.format(right), asked.format(wrong), (item.patch,)


def _color(rng: Random, picture: Picture, _: Item) -> Claim | None:
    single = _unique(picture.items, "thing")
    if not single:
        return None
    item = rng.choice(single)
    wrong = rng.choice([c for c in COLORS if c != item.color])
    return f"Is the {item.thing} {item.color}?", f"Is the {item.thing} {wrong}?", (item.patch,)


_MME_CLAIMS = {
    "existence": _existence,
    "count": _count,
    "position": _position,
    "color": _color,
    "scene": _scene,
    "OCR": _ocr,
}
MME_CATEGORIES = tuple(_MME_CLAIMS)
POPE_CATEGORIES = ("random", "popular", "adversarial")


def exercises(rng: Random, picture: Picture) -> list[Question]:
    """Training only: Chinese open questions, and finding a named option without looking at the picture."""
    made = []
    if picture.kind == "objects":
        for item in _unique(picture.items, "thing"):
            made.append(
                Question(
                    "train", f"{CN_SHAPES[item.thing]}是什么颜色？", CN_COLORS[item.color], {}, (item.patch,)
                )
            )
        for item in _unique(picture.items, "color"):
            asked = f"{CN_COLORS[item.color]}的图形是什么形状？"
            made.append(Question("train", asked, CN_SHAPES[item.thing], {}, (item.patch,)))
    words = rng.choice((list(COLORS), list(SHAPES)))
    answer = rng.choice(words)
    find = science(rng, f"Which option is {answer}?", answer, words, ())
    made.append(Question("train", find.prompt, find.answer, {}, (), find.option))
    chinese = rng.choice((list(CN_COLORS.values()), list(CN_SHAPES.values())))
    answer = rng.choice(chinese)
    find = mmbench_cn(rng, f"哪个选项是{answer}？", answer, chinese, ())
    made.append(Question("train", find.prompt, find.answer, {}, (), find.option))
    return made


def training_questions(rng: Random, picture: Picture) -> list[Question]:
    """Everything that can be asked of a picture, yes and no in balance, in random order."""
    made = exercises(rng, picture)
    if picture.kind == "objects":
        for category in POPE_CATEGORIES:
            pair = [pope(rng, picture, present, category) for present in (True, False)]
            made += [question for question in pair if question and None not in pair]
        made += gqa(rng, picture)
    categories = rng.sample(MME_CATEGORIES, 3) if picture.kind == "objects" else ("scene", "OCR")
    for category in categories:
        made += mme_pair(rng, picture, category)
    made += multiple_choice(rng, picture)
    if picture.kind == "signs":
        made += textvqa(picture)
    elif picture.kind == "chart":
        made += chartqa(picture)
    elif picture.kind == "page":
        made += docvqa(picture)
    rng.shuffle(made)
    return made


WORDS = (*COLORS, *SHAPES, "bar", *KEYS, *NUMBERS)
