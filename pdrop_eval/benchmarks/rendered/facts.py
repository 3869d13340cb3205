"""What is true of a picture: questions with their answers, free of any benchmark's form."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from pdrop_eval.benchmarks.rendered.canvas import COLORS, SHAPES, SIZE
from pdrop_eval.benchmarks.rendered.pictures import GENRES, READABLE, Item, Picture

CN_COLORS = dict(zip(COLORS, ("红色", "绿色", "蓝色", "黄色", "紫色", "橙色", "青色", "黑色"), strict=True))
CN_SHAPES = dict(zip(SHAPES, ("圆形", "方形", "三角形", "星形", "十字形", "菱形"), strict=True))
SCENES = {
    "objects": "scene",
    "signs": "sign",
    "chart": "chart",
    "page": "form",
    "poster": "poster",
    "cover": "cover",
}
PARTS = ("top left", "top right", "bottom left", "bottom right")
PLURALS = {shape: f"{shape}es" if shape == "cross" else f"{shape}s" for shape in SHAPES}
UNANSWERABLE = "unanswerable"


@dataclass(frozen=True)
class Fact:
    """A question, its answer, and answers that would be wrong.

    `kind` groups facts of one sort. `evidence` has a patch for each token of the answer (empty: nothing in
    particular to look at); `chinese` is question, answer and wrong answers in Chinese, where there are some;
    `small` marks what only small print says.
    """

    kind: str
    text: str
    answer: str
    others: tuple[str, ...] = ()
    evidence: tuple[int, ...] = ()
    chinese: tuple[str, str, tuple[str, ...]] | None = None
    small: bool = False


def unique(items: Iterable[Item], attribute: str) -> list[Item]:
    """The items whose color or thing no other item shares."""
    items = list(items)
    values = [getattr(item, attribute) for item in items]
    return [item for item in items if values.count(getattr(item, attribute)) == 1]


def extremes(picture: Picture) -> list[tuple[Item, str, str]]:
    """The highest and the lowest bar, in English and Chinese; none where two share the value."""
    values = sorted((int(item.text), i) for i, item in enumerate(picture.items))
    if len({value for value, _ in values}) < len(values):
        return []
    return [
        (picture.items[values[-1][1]], "highest", "最高"),
        (picture.items[values[0][1]], "lowest", "最低"),
    ]


def like(rng: Random, text: str, count: int = 6) -> tuple[str, ...]:
    """Wrong readings of a text: other strings of the same length and make, one character apart at times."""
    found: list[str] = []
    while len(found) < count:
        other = list(text)
        for place in rng.sample(range(len(text)), rng.randint(1, len(text))):
            group = READABLE[:10] if text[place].isdigit() else READABLE[10:]
            other[place] = rng.choice(group) if text[place] in READABLE else text[place]
        if "".join(other) not in (text, *found):
            found.append("".join(other))
    return tuple(found)


def attributes(_: Random, picture: Picture) -> list[Fact]:
    """The color of each shape and the shape of each color that there is once."""
    made = []
    for item in unique(picture.items, "thing"):
        chinese = (f"{CN_SHAPES[item.thing]}是什么颜色？", CN_COLORS[item.color], tuple(CN_COLORS.values()))
        text = f"What color is the {item.thing}?"
        made.append(Fact("color", text, item.color, tuple(COLORS), (item.patch,), chinese))
    for item in unique(picture.items, "color"):
        chinese = (
            f"{CN_COLORS[item.color]}的图形是什么形状？",
            CN_SHAPES[item.thing],
            tuple(CN_SHAPES.values()),
        )
        text = f"What shape is the {item.color} object?"
        made.append(Fact("shape", text, item.thing, SHAPES, (item.patch,), chinese))
    return made


def places(rng: Random, picture: Picture) -> list[Fact]:
    """On which side and in which part of the picture a thing is."""
    item = rng.choice(picture.items)
    side = "left" if item.x < SIZE // 2 else "right"
    part = ("top " if item.y < SIZE // 2 else "bottom ") + side
    name = f"{item.color} {item.thing}"
    seen = (item.patch,)
    return [
        Fact("side", f"On which side of the image is the {name}?", side, ("left", "right"), seen),
        Fact("part", f"In which part of the image is the {name}?", part, PARTS, seen * 2),
    ]


def relations(rng: Random, picture: Picture) -> list[Fact]:
    """Which of two things is further left or higher, and what comes next to a thing in its row."""
    made = []
    one, other = rng.sample(picture.items, 2)
    apart = [
        (word, right)
        for word, near, far in (("left of", one.x, other.x), ("above", one.y, other.y))
        for right in ([near < far] if abs(near - far) > 8 else [])
    ]
    for word, right in apart:
        text = f"Is the {one.color} {one.thing} {word} the {other.color} {other.thing}?"
        made.append(Fact("order", text, "yes" if right else "no", (), (one.patch,)))
    for item in picture.items:
        row = [i for i in picture.items if i.cell[0] == item.cell[0] and i.cell[1] > item.cell[1]]
        if row:
            near = min(row, key=lambda i: i.cell[1])
            text = f"What shape is next to the right of the {item.color} {item.thing}?"
            made.append(Fact("neighbour", text, near.thing, SHAPES, (near.patch,)))
    return made


def counts(rng: Random, picture: Picture) -> list[Fact]:
    """How many objects there are in all, of a shape and of a color, and of which shape there are more."""
    things = [item.thing for item in picture.items]
    numbers = tuple(str(i) for i in range(9))
    shape = rng.choice([*things, rng.choice(SHAPES)])
    color = rng.choice([item.color for item in picture.items])
    of_color = sum(item.color == color for item in picture.items)
    asked = [
        ("How many objects are there?", len(things)),
        (f"How many {PLURALS[shape]} are there?", things.count(shape)),
        (f"How many {color} objects are there?", of_color),
    ]
    made = [Fact("count", text, str(number), numbers) for text, number in asked]
    one, other = rng.sample(SHAPES, 2)
    if things.count(one) != things.count(other):
        more = things.count(one) > things.count(other)
        text = f"Are there more {PLURALS[one]} than {PLURALS[other]}?"
        made.append(Fact("more", text, "yes" if more else "no"))
    return made


def readings(rng: Random, picture: Picture) -> list[Fact]:
    """What is written beside each shape, in large letters and in small print."""
    made = []
    for item in picture.items:
        name = f"the {item.color} {item.thing}"
        wrong = like(rng, item.text)
        made.append(Fact("text", f"What is written next to {name}?", item.text, wrong, item.text_patches))
        asked = f"What is the small print next to {name}?"
        made.append(Fact("print", asked, item.small, like(rng, item.small), small=True))
    return made


def bars(rng: Random, picture: Picture) -> list[Fact]:
    """The value of each bar, its code, and which is the highest and the lowest."""
    made = []
    colors = [item.color for item in picture.items]
    for item in picture.items:
        asked = f"What is the value of the {item.color} bar?"
        made.append(Fact("value", asked, item.text, like(rng, item.text), item.text_patches))
        asked = f"What is the code of the {item.color} bar?"
        made.append(Fact("print", asked, item.small, like(rng, item.small), small=True))
    for item, word, chinese in extremes(picture):
        listed = tuple(CN_COLORS[name] for name in colors)
        cn = (f"{chinese}的柱子是什么颜色？", CN_COLORS[item.color], listed)
        asked = f"Which bar is the {word}?"
        made.append(Fact("extreme", asked, item.color, tuple(colors), (item.patch,), cn))
    return made


def entries(rng: Random, picture: Picture) -> list[Fact]:
    """The value of each key of a form, written large or in small print."""
    made = [
        Fact("entry", f"What is the {i.thing}?", i.text, like(rng, i.text), i.text_patches)
        for i in picture.items
    ]
    for key, value in picture.small.items():
        made.append(Fact("print", f"What is the {key}?", value, like(rng, value), small=True))
    return made


def shares(rng: Random, picture: Picture) -> list[Fact]:
    """An infographic's title, its percentages, which is the highest, and the years in small print."""
    title, *items = picture.items
    made = [Fact("title", "What is the title?", title.text, like(rng, title.text), title.text_patches)]
    for item in items:
        name = f"the {item.color} {item.thing}"
        asked = f"What percentage is shown next to {name}?"
        made.append(Fact("percentage", asked, item.text, like(rng, item.text), item.text_patches))
        asked = f"Which year is written next to {name}?"
        made.append(Fact("print", asked, item.small, like(rng, item.small), small=True))
    for word, choose in (("highest", max), ("lowest", min)):
        item = choose(items, key=lambda i: int(i.text[:-1]))
        wrong = tuple(i.text for i in items)
        asked = f"What is the {word} percentage?"
        made.append(Fact("extreme", asked, item.text, wrong, item.text_patches))
    return made


def books(rng: Random, picture: Picture) -> list[Fact]:
    """A book's title, author, genre and year, in the words of OCR-VQA."""
    title, author, emblem = picture.items
    genres = tuple(GENRES.values())
    year = picture.small["year"]
    other = rng.choice([genre for genre in genres if genre != emblem.text])
    asked = "Is this book related to {}?"
    return [
        Fact(
            "title", "What is the title of this book?", title.text, like(rng, title.text), title.text_patches
        ),
        Fact("author", "Who wrote this book?", author.text, like(rng, author.text), author.text_patches),
        Fact("genre", "What is the genre of this book?", emblem.text, genres, (emblem.patch,)),
        Fact("related", asked.format(emblem.text), "yes", (), (emblem.patch,)),
        Fact("related", asked.format(other), "no", (), (emblem.patch,)),
        Fact("print", "In which year was this book printed?", year, like(rng, year), small=True),
    ]


def photo_facts(rng: Random, picture: Picture) -> list[Fact]:
    """What a photograph does and doesn't let one answer: the thing is missing, or the text is blurred."""
    there = {item.thing for item in picture.items}
    absent = [shape for shape in SHAPES if shape not in there]
    made = [fact for fact in attributes(rng, picture) if fact.kind == "color"]
    if absent:
        made.append(Fact("color", f"What color is the {rng.choice(absent)}?", UNANSWERABLE))
    if picture.blurred:
        item = rng.choice(picture.items)
        return [Fact("text", f"What is written next to the {item.color} {item.thing}?", UNANSWERABLE)]
    texts = [item for item in picture.items if item.text]
    made += [fact for fact in readings(rng, picture) if fact.kind == "text"] if texts else []
    return made


def scene(_: Random, picture: Picture) -> list[Fact]:
    """What kind of picture it is."""
    return [Fact("scene", "What does this image show?", SCENES[picture.kind], tuple(SCENES.values()))]


_ABOUT: dict[str, tuple[Callable[[Random, Picture], list[Fact]], ...]] = {
    "objects": (attributes, places, relations, counts, scene),
    "signs": (readings, scene),
    "chart": (bars, scene),
    "page": (entries, scene),
    "poster": (shares, scene),
    "cover": (books, scene),
    "photo": (photo_facts,),
}


def facts(rng: Random, picture: Picture) -> list[Fact]:
    """Everything that can be asked of a picture."""
    return [fact for about in _ABOUT[picture.kind] for fact in about(rng, picture)]
