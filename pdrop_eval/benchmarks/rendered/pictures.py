"""The seven kinds of picture: scenes, signs, charts, pages, infographics, book covers and bad photographs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import numpy as np
from PIL import Image

from pdrop_eval.benchmarks.rendered.canvas import COLORS, GRID, KEYS, PATCH, SHAPES, SIDE, SIZE, Canvas, tint

# Letters that look like digits are left out of what is to be read, as on licence plates.
READABLE = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"
# A cover's emblem says what kind of book it is.
GENRES = dict(zip(SHAPES, ("travel", "computer", "science", "fantasy", "medical", "romance"), strict=True))
SMALL_KEYS = ("ref", "tel", "lot", "tax")


@dataclass(frozen=True)
class Item:
    """One thing in a picture and the patches that show it.

    `color` and `thing` name it; `text` is what is written for it in large letters, `small` in small print;
    `patch` shows it; `text_patches` show its characters, one each; `x` and `y` are its centre in units,
    `cell` its place (row, column) in the arrangement of a scene.
    """

    color: str
    thing: str
    text: str = ""
    patch: int = 0
    text_patches: tuple[int, ...] = ()
    x: int = 0
    y: int = 0
    cell: tuple[int, int] = (0, 0)
    small: str = ""


@dataclass(frozen=True)
class Picture:
    """A rendered picture: `image` uint8 [288 or 576, 288, 3], its `items` and patch `labels` int [4, 144].

    `small` has what only small print says, by name; `blurred` means that no text can be read.
    """

    kind: str
    image: np.ndarray
    items: tuple[Item, ...]
    labels: np.ndarray = field(repr=False)
    small: dict[str, str] = field(default_factory=dict)
    blurred: bool = False


def _string(rng: Random, shortest: int, longest: int, digits: float) -> str:
    """A random string; each character is a digit with probability `digits`."""
    letters = [
        READABLE[:10] if rng.random() < digits else READABLE[10:]
        for _ in range(rng.randint(shortest, longest))
    ]
    return "".join(rng.choice(group) for group in letters)


def _word(rng: Random, syllables: int) -> str:
    """A word that can be pronounced: nobody can guess it from its beginning."""
    return "".join(rng.choice("BDFGKLMNPRSTVZ") + rng.choice("AEOU") for _ in range(syllables))


def _kinds(rng: Random, count: int) -> list[tuple[str, str]]:
    """Distinct (color, shape) pairs."""
    return rng.sample([(color, shape) for color in COLORS for shape in SHAPES], count)


def _picture(kind: str, canvas: Canvas, items: list[Item], **small: str) -> Picture:
    return Picture(kind, canvas.finish(), tuple(items), canvas.labels.reshape(4, -1), small)


def _room(rng: Random, canvas: Canvas) -> None:
    """A wall and a floor in pale colors."""
    wall, floor = rng.sample(list(COLORS), 2)
    horizon = rng.randint(50, 80)
    canvas.fill(0, 0, SIZE, horizon, tint(wall, rng.uniform(0.04, 0.12)))
    canvas.fill(0, horizon, SIZE, SIZE, tint(floor, rng.uniform(0.08, 0.16)))


def objects(rng: Random, most: int = 7) -> Picture:
    """A scene: two to `most` colored shapes on a 4 x 4 arrangement before a wall."""
    canvas, items = Canvas(rng), []
    _room(rng, canvas)
    count = rng.randint(2, most)
    for cell, (color, shape) in zip(sorted(rng.sample(range(16), count)), _kinds(rng, count), strict=True):
        x = (cell % 4) * 24 + 12 + rng.randint(-2, 2)
        y = (cell // 4) * 24 + 12 + rng.randint(-2, 2)
        patch = canvas.shape(shape, color, rng.uniform(5.5, 9), x, y)
        items.append(Item(color, shape, patch=patch, x=x, y=y, cell=divmod(cell, 4)))
    return _picture("objects", canvas, items)


def signs(rng: Random, most: int = 4) -> Picture:
    """Two to `most` shapes, each with two or three large characters beside it and small print under those."""
    canvas, items = Canvas(rng), []
    _room(rng, canvas)
    count = rng.randint(2, most)
    for cell, (color, shape) in zip(sorted(rng.sample(range(8), count)), _kinds(rng, count), strict=True):
        row, column = (cell // 2) * 3 + 1, (cell % 2) * 6
        x, y = column * PATCH + 8 + rng.randint(-1, 1), row * PATCH + 4 + rng.randint(-2, 2)
        patch = canvas.shape(shape, color, rng.uniform(6, 7), x, y)
        text, small = _string(rng, 2, 3, 0.5), _string(rng, 4, 4, 0.5)
        patches = canvas.text(text, column + 2, row, color, shape)
        canvas.small_print(small, (column + 2) * PATCH + 1, row * PATCH + 10)
        items.append(Item(color, shape, text, patch, tuple(patches), x, y, small=small))
    return _picture("signs", canvas, items)


def _labelled_chart(rng: Random, canvas: Canvas) -> list[Item]:
    """Three or four bars with their values, 10 to 99, written above them and a code below."""
    items = []
    colors = rng.sample(list(COLORS), rng.randint(3, 4))
    first = rng.randint(0, 12 - 3 * len(colors))
    for place, (color, value) in enumerate(zip(colors, rng.sample(range(10, 100), len(colors)), strict=True)):
        column = first + 3 * place
        top = 91 - int(value * 0.75)
        left = column * PATCH + rng.randint(2, 4)
        patch = canvas.bar(color, left, top, column * PATCH + rng.randint(14, 17), 91)
        patches = canvas.text(str(value), column, max(top // PATCH - 1, 0), color, "bar")
        code = _string(rng, 3, 3, 0.3)
        canvas.small_print(code, left, 92)
        items.append(Item(color, "bar", str(value), patch, tuple(patches), small=code))
    canvas.line(first * PATCH, 91, (first + 3 * len(colors)) * PATCH, 0)
    return items


def _axis_chart(rng: Random, canvas: Canvas) -> list[Item]:
    """Three to five bars of height 1 to 9 against a numbered axis with grid lines, a code below each."""
    items = []
    colors = rng.sample(list(COLORS), rng.randint(3, 5))
    base = rng.choice((10, 11))
    zero = base * PATCH + 3
    for value in range(1, 10):
        canvas.line(10, zero - PATCH * value, SIZE, 205)
        if value % 2:
            canvas.text(str(value), 0, base - value, ordered=False)
    for place, color in enumerate(colors):
        left = 12 + place * (84 // len(colors)) + rng.randint(0, 3)
        value = rng.randint(1, 9)
        patch = canvas.bar(color, left, zero - PATCH * value, left + rng.randint(9, 12), zero)
        canvas.mark(patch, value)
        code = _string(rng, 3, 3, 0.3)
        canvas.small_print(code, left, zero + 1)
        items.append(Item(color, "bar", str(value), patch, (patch,), small=code))
    canvas.line(9, zero, SIZE, 0)
    canvas.line(9, zero, 9, 0, above=9 * PATCH)
    return items


def chart(rng: Random) -> Picture:
    """A bar chart, its values written above the bars or to be read from an axis."""
    canvas = Canvas(rng)
    items = (_labelled_chart if rng.random() < 0.5 else _axis_chart)(rng, canvas)
    return _picture("chart", canvas, items)


def page(rng: Random, most: int = 6) -> Picture:
    """A form dense with text: three to `most` large lines of key and value, all else in small print."""
    canvas, items = Canvas(rng), []
    count = rng.randint(3, most)
    left, value_column, shift = rng.randint(0, 1), rng.randint(7, 8), rng.randint(0, 1)
    for row, key in zip(sorted(rng.sample(range(0, GRID, 2), count)), rng.sample(KEYS, count), strict=True):
        value = _string(rng, 2, 4, 0.7)
        heading = canvas.text(key.upper(), left, row + shift, thing=key, ordered=False)
        patches = canvas.text(value, value_column, row + shift, thing=key)
        items.append(Item("", key, value, heading[0], tuple(patches)))
    gaps = [row * PATCH + 2 for row in range(1 - shift, GRID, 2)]
    told = {key: _string(rng, 4, 5, 0.8) for key in rng.sample(SMALL_KEYS, 2)}
    lines = [f"{key.upper()} {value}" for key, value in told.items()]
    for y, line in zip(rng.sample(gaps, len(lines)), lines, strict=True):
        gaps.remove(y)
        canvas.small_print(line, 2 + left, y)
    for y in gaps:
        words = " ".join(_word(rng, rng.randint(1, 3)) for _ in range(5))[:22]
        canvas.small_print(words, 2 + left, y, grey=rng.randint(0, 90))
    return _picture("page", canvas, items, **told)


def poster(rng: Random, most: int = 4) -> Picture:
    """A tall infographic: a title, then two to `most` icons, each with a percentage, a bar and a year."""
    canvas, items = Canvas(rng, tall=True), []
    accent = rng.choice(list(COLORS))
    canvas.fill(0, 0, SIZE, 2 * PATCH, tint(accent, 0.25))
    title = _word(rng, rng.randint(2, 3))
    at = canvas.text(title, rng.randint(1, 11 - len(title)), 0, thing="title")
    canvas.small_print(_word(rng, 3) + " " + _word(rng, 4), 6, 11)
    items.append(Item("", "title", title, at[0], tuple(at)))
    count = rng.randint(2, most)
    values = rng.sample(range(10, 100), count)
    for place, (color, shape) in enumerate(_kinds(rng, count)):
        row = 3 + 9 * place // count
        x, y = 16 + rng.randint(-2, 2), row * PATCH + 6 + rng.randint(-1, 1)
        patch = canvas.shape(shape, color, rng.uniform(8, 10), x, y)
        text, year = f"{values[place]}%", str(rng.randint(1960, 2029))
        patches = canvas.text(text, 5, row, color, shape)
        canvas.small_print(f"{_word(rng, 2)} {year}", 41, row * PATCH + 9)
        canvas.fill(41, row * PATCH + 13, 41 + values[place] // 2, row * PATCH + 15, tint(accent, 0.5))
        items.append(Item(color, shape, text, patch, tuple(patches), x, y, small=year))
    return _picture("poster", canvas, items)


def cover(rng: Random) -> Picture:
    """A book cover: title, author, an emblem that says the genre, and the year in small print."""
    canvas = Canvas(rng)
    canvas.fill(0, 0, SIZE, SIZE, tint(rng.choice(list(COLORS)), rng.uniform(0.1, 0.25)))
    canvas.fill(0, 0, 3, SIZE, tint(rng.choice(list(COLORS)), 0.5))
    items = []
    for part, rows in (("title", (0, 1, 2)), ("author", (9, 10))):
        text = _word(rng, rng.randint(2, 4))
        row, column = rng.choice(rows), rng.randint(1, 11 - len(text))
        at = canvas.text(text, column, row, thing=part)
        items.append(Item("", part, text, at[0], tuple(at)))
    (color, shape), (x, y) = _kinds(rng, 1)[0], (48 + rng.randint(-12, 12), 48 + rng.randint(-4, 4))
    patch = canvas.shape(shape, color, rng.uniform(11, 15), x, y)
    items.append(Item(color, shape, GENRES[shape], patch, x=x, y=y))
    year = str(rng.randint(1960, 2029))
    canvas.small_print(f"{_word(rng, 3)} {year}", rng.randint(8, 40), 91)
    return _picture("cover", canvas, items, year=year)


def photo(rng: Random) -> Picture:
    """A scene or signs as a bad photograph: darker, of one tinge, and out of focus now and then."""
    plain = objects(rng, 4) if rng.random() < 0.4 else signs(rng, 3)
    image = plain.image.astype(np.float32)
    blurred = plain.kind == "signs" and rng.random() < 0.35
    labels = plain.labels.copy()
    if blurred:
        small = Image.fromarray(plain.image).reduce(rng.choice((16, 18, 24)))
        image = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
        labels[2:] = 0
    light = np.linspace(rng.uniform(0.7, 1), rng.uniform(0.7, 1), SIDE, dtype=np.float32)
    tinge = np.asarray([rng.uniform(0.88, 1) for _ in range(3)], np.float32)
    image = np.clip(image * light[:, None, None] * tinge, 0, 255).astype(np.uint8)
    return Picture("photo", image, plain.items, labels, blurred=blurred)


KINDS: dict[str, Callable[..., Picture]] = {
    "objects": objects,
    "signs": signs,
    "chart": chart,
    "page": page,
    "poster": poster,
    "cover": cover,
    "photo": photo,
}
