"""The four kinds of picture: objects, signs, charts and pages, each drawn from a random generator."""

from dataclasses import dataclass, field
from random import Random

import numpy as np

from pdrop_eval.mini.canvas import COLORS, GRID, KEYS, PATCH, SHAPES, Canvas

# Letters that look like digits are left out of what is to be read, as on licence plates.
READABLE = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"


@dataclass(frozen=True)
class Item:
    """One thing in a picture and the patches that show it.

    `color` and `thing` name it; `text` is what is written for it; `patch` shows it; `text_patches` show its
    characters, one each; `x` and `y` are its centre in pixels.
    """

    color: str
    thing: str
    text: str = ""
    patch: int = 0
    text_patches: tuple[int, ...] = ()
    x: int = 0
    y: int = 0


@dataclass(frozen=True)
class Picture:
    """A rendered picture: `image` uint8 [96, 96, 3], its `items` and its patch `labels` int [4, 144]."""

    kind: str
    image: np.ndarray
    items: tuple[Item, ...]
    labels: np.ndarray = field(repr=False)


def _string(rng: Random, shortest: int, longest: int, digits: float) -> str:
    """A random string; each character is a digit with probability `digits`."""
    letters = [
        READABLE[:10] if rng.random() < digits else READABLE[10:]
        for _ in range(rng.randint(shortest, longest))
    ]
    return "".join(rng.choice(group) for group in letters)


def _kinds(rng: Random, count: int) -> list[tuple[str, str]]:
    """Distinct (color, shape) pairs."""
    return rng.sample([(color, shape) for color in COLORS for shape in SHAPES], count)


def _picture(kind: str, canvas: Canvas, items: list[Item]) -> Picture:
    return Picture(kind, canvas.finish(), tuple(items), canvas.labels.reshape(4, -1))


def objects(rng: Random, most: int = 5) -> Picture:
    """Two to `most` colored shapes scattered over a 4 x 4 grid."""
    canvas, items = Canvas(rng), []
    count = rng.randint(2, most)
    for cell, (color, shape) in zip(sorted(rng.sample(range(16), count)), _kinds(rng, count), strict=True):
        x = (cell % 4) * 24 + 12 + rng.randint(-2, 2)
        y = (cell // 4) * 24 + 12 + rng.randint(-2, 2)
        patch = canvas.shape(shape, color, rng.randint(6, 9), x, y)
        items.append(Item(color, shape, patch=patch, x=x, y=y))
    return _picture("objects", canvas, items)


def signs(rng: Random, most: int = 4) -> Picture:
    """Two to `most` shapes, each with two or three characters beside it."""
    canvas, items = Canvas(rng), []
    count = rng.randint(2, most)
    for cell, (color, shape) in zip(sorted(rng.sample(range(8), count)), _kinds(rng, count), strict=True):
        row, column = (cell // 2) * 3 + 1, (cell % 2) * 6
        x, y = column * PATCH + 8 + rng.randint(-1, 1), row * PATCH + 4 + rng.randint(-2, 2)
        patch = canvas.shape(shape, color, rng.randint(6, 7), x, y)
        text = _string(rng, 2, 3, 0.5)
        patches = canvas.text(text, column + 2, row, color, shape)
        items.append(Item(color, shape, text, patch, tuple(patches), x, y))
    return _picture("signs", canvas, items)


def _labelled_chart(rng: Random, canvas: Canvas) -> list[Item]:
    """Three or four bars with their values, 10 to 99, written above them."""
    items = []
    colors = rng.sample(list(COLORS), rng.randint(3, 4))
    first = rng.randint(0, 12 - 3 * len(colors))
    for place, (color, value) in enumerate(zip(colors, rng.sample(range(10, 100), len(colors)), strict=True)):
        column = first + 3 * place
        top = 92 - int(value * 0.75)
        patch = canvas.bar(
            color, column * PATCH + rng.randint(2, 4), top, column * PATCH + rng.randint(14, 17), 92
        )
        patches = canvas.text(str(value), column, max(top // PATCH - 1, 0), color, "bar")
        items.append(Item(color, "bar", str(value), patch, tuple(patches)))
    canvas.line(first * PATCH, 92, (first + 3 * len(colors)) * PATCH, 93, 0)
    return items


def _axis_chart(rng: Random, canvas: Canvas) -> list[Item]:
    """Three to five bars of height 1 to 9 against a numbered axis with grid lines."""
    items = []
    colors = rng.sample(list(COLORS), rng.randint(3, 5))
    base = rng.choice((10, 11))
    zero = base * PATCH + 4
    for value in range(1, 10):
        canvas.line(10, zero - PATCH * value, 96, zero - PATCH * value + 1, 205)
        if value % 2:
            canvas.text(str(value), 0, base - value, ordered=False)
    for place, color in enumerate(colors):
        left = 12 + place * (84 // len(colors)) + rng.randint(0, 3)
        value = rng.randint(1, 9)
        patch = canvas.bar(color, left, zero - PATCH * value, left + rng.randint(9, 12), zero)
        canvas.mark(patch, value)
        items.append(Item(color, "bar", str(value), patch, (patch,)))
    canvas.line(9, zero, 96, zero + 1, 0)
    canvas.line(9, zero - 9 * PATCH, 10, zero, 0)
    return items


def chart(rng: Random) -> Picture:
    """A bar chart, its values written above the bars or to be read from an axis."""
    canvas = Canvas(rng)
    items = (_labelled_chart if rng.random() < 0.5 else _axis_chart)(rng, canvas)
    return _picture("chart", canvas, items)


def page(rng: Random, most: int = 6) -> Picture:
    """Three to `most` lines of a form: a key word and its value of two to four characters."""
    canvas, items = Canvas(rng), []
    count = rng.randint(3, most)
    left, value_column, shift = rng.randint(0, 1), rng.randint(7, 8), rng.randint(0, 1)
    for row, key in zip(sorted(rng.sample(range(0, GRID, 2), count)), rng.sample(KEYS, count), strict=True):
        value = _string(rng, 2, 4, 0.7)
        heading = canvas.text(key.upper(), left, row + shift, thing=key, ordered=False)
        patches = canvas.text(value, value_column, row + shift, thing=key)
        items.append(Item("", key, value, heading[0], tuple(patches)))
    return _picture("page", canvas, items)


KINDS = {"objects": objects, "signs": signs, "chart": chart, "page": page}
