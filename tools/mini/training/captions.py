"""Captions of rendered pictures, right and wrong ones, and what pictures hold: the class token's lessons."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from pdrop_eval.benchmarks.rendered.canvas import CHARACTERS, COLORS, KEYS, SHAPES, THINGS
from pdrop_eval.benchmarks.rendered.facts import SCENES
from pdrop_eval.benchmarks.rendered.pictures import READABLE, Item, Picture

HELD = (*COLORS, *THINGS, *CHARACTERS)  # what a picture may hold


def _read(picture: Picture, item: Item) -> str:
    """What is written for an item, if it can be read."""
    return item.text if item.text_patches and not picture.blurred else ""


def caption(picture: Picture, items: Sequence[Item] = ()) -> str:
    """What a picture shows, such as "scene: red circle, blue star" or "form: total 4B7".

    Args:
        picture: the picture.
        items: what is said to be in it; by default what is.
    """
    named = ((f"{i.color} {i.thing}".strip(), _read(picture, i)) for i in items or picture.items)
    shown = [f"{name} {text}".strip() for name, text in named]
    photo = "sign" if picture.items[0].text else "scene"
    return f"{SCENES.get(picture.kind, photo)}: {', '.join(shown)}"


def _changed(rng: Random, picture: Picture, item: Item) -> Item:
    """The item with one thing about it that isn't true."""
    ways = ["text"] if _read(picture, item) else []
    ways += ["color"] * 2 if item.color else []
    ways += ["thing"] if item.thing in (*SHAPES, *KEYS) else []
    way = rng.choice(ways)
    if way == "text":
        place = rng.randrange(len(item.text))
        group = READABLE[:10] if item.text[place].isdigit() else READABLE[10:]
        other = rng.choice([c for c in group if c != item.text[place]])
        return replace(item, text=item.text[:place] + other + item.text[place + 1 :])
    if way == "color":
        return replace(item, color=rng.choice([c for c in COLORS if c != item.color]))
    things = SHAPES if item.thing in SHAPES else KEYS
    return replace(item, thing=rng.choice([t for t in things if t != item.thing]))


def wrong_captions(rng: Random, picture: Picture, count: int) -> list[str]:
    """Captions that are wrong in one thing or two."""
    found = []
    for _ in range(count):
        items = list(picture.items)
        for place in rng.sample(range(len(items)), min(len(items), rng.choice((1, 1, 2)))):
            items[place] = _changed(rng, picture, items[place])
        found.append(caption(picture, items))
    return found


def held(picture: Picture) -> list[bool]:
    """Which of `HELD` a picture shows, in large: its colors, its things, its characters.

    Characters of a blurred photograph can't be read, and an axis's belong to nothing: neither counts.
    """
    colors = {item.color for item in picture.items}
    things = {item.thing for item in picture.items}
    read = {character for item in picture.items for character in _read(picture, item)}
    return (
        [name in colors for name in COLORS] + [n in things for n in THINGS] + [c in read for c in CHARACTERS]
    )
