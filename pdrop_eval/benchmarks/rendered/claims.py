"""MME's questions: a claim that is true of a picture and its twin that is false."""

from random import Random

from pdrop_eval.benchmarks.rendered.canvas import COLORS, SHAPES, SIZE
from pdrop_eval.benchmarks.rendered.facts import SCENES, like, unique
from pdrop_eval.benchmarks.rendered.pictures import Item, Picture
from pdrop_eval.benchmarks.rendered.questions import SHORT, Question

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")
# A true text, a false text and the patches to look at.
Claim = tuple[str, str, tuple[int, ...]]


def mme_pair(rng: Random, picture: Picture, category: str) -> list[Question]:
    """A question whose answer is yes and its twin whose answer is no; empty if the picture has none."""
    kind = KINDS[category]
    claim = (
        _CLAIMS[category](rng, picture, rng.choice(picture.items)) if kind in ("any", picture.kind) else None
    )
    if claim is None:
        return []
    *texts, evidence = claim
    pair = []
    for text, answer, seen in zip(texts, ("Yes", "No"), (evidence, ()), strict=True):
        fields = {"question": f"{text} Please answer yes or no.", "answer": answer, "category": category}
        pair.append(Question("mme", f"{text}\n{SHORT}", answer.lower(), fields, seen, kind=category))
    return pair


def _scene(rng: Random, picture: Picture, _: Item) -> Claim:
    other = rng.choice([word for kind, word in SCENES.items() if kind != picture.kind])
    return f"Does this image show a {SCENES[picture.kind]}?", f"Does this image show a {other}?", ()


def _ocr(rng: Random, _: Picture, item: Item) -> Claim:
    asked = f"Is the text next to the {item.color} {item.thing} {{}}?"
    return asked.format(item.text), asked.format(rng.choice(like(rng, item.text))), item.text_patches[:1]


def _existence(rng: Random, picture: Picture, item: Item) -> Claim | None:
    absent = [s for s in SHAPES if s not in {i.thing for i in picture.items}]
    asked = "Is there a {} in this image?"
    if not absent:
        return None
    return asked.format(item.thing), asked.format(rng.choice(absent)), (item.patch,)


def _count(rng: Random, picture: Picture, _: Item) -> Claim:
    number = len(picture.items)
    other = rng.choice([n for n in range(2, 8) if n != number])
    asked = "Are there {} objects in this image?"
    return asked.format(NUMBERS[number - 1]), asked.format(NUMBERS[other - 1]), ()


def _position(_: Random, __: Picture, item: Item) -> Claim:
    right, wrong = ("left", "right") if item.x < SIZE // 2 else ("right", "left")
    asked = f"Is the {item.color} {item.thing} on the {{}} side of the image?"
    return asked.format(right), asked.format(wrong), (item.patch,)


def _color(rng: Random, picture: Picture, _: Item) -> Claim | None:
    single = unique(picture.items, "thing")
    if not single:
        return None
    item = rng.choice(single)
    wrong = rng.choice([c for c in COLORS if c != item.color])
    return f"Is the {item.thing} {item.color}?", f"Is the {item.thing} {wrong}?", (item.patch,)


def _titled(what: str):
    def claim(rng: Random, picture: Picture, _: Item) -> Claim:
        title = picture.items[0]
        asked = f"Is the title of this {what} {{}}?"
        wrong = rng.choice(like(rng, title.text))
        return asked.format(title.text), asked.format(wrong), title.text_patches[:1]

    return claim


_CLAIMS = {
    "existence": _existence,
    "count": _count,
    "position": _position,
    "color": _color,
    "posters": _titled("poster"),
    "scene": _scene,
    "artwork": _titled("book"),
    "OCR": _ocr,
}
# The kind of picture that each category is about.
KINDS = {
    **dict.fromkeys(_CLAIMS, "objects"),
    "posters": "poster",
    "scene": "any",
    "artwork": "cover",
    "OCR": "signs",
}
MME_CATEGORIES = tuple(_CLAIMS)
