"""What is said about a picture in training data of LLaVA's format: some turns of questions, or a caption.

The questions are those of `lessons`: the prompts of all sixteen benchmarks and some exercises. Pictures come
from other random streams than those of the suite and of `make train-mini`.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from pdrop_eval.benchmarks.rendered import canvas, claims, facts, pictures, questions
from pdrop_eval.benchmarks.rendered.facts import SCENES
from pdrop_eval.benchmarks.rendered.pictures import Item, Picture
from pdrop_eval.benchmarks.rendered.questions import Question, open_questions
from tools.mini.training import lessons, packing
from tools.mini.training.packing import draw

TEXT_EVERY = 50  # pictures to one conversation without a picture, so that mixed batches occur
SOURCES = tuple(
    Path(str(module.__file__)) for module in (canvas, pictures, facts, questions, claims, lessons, packing)
)
_NOTHING = Picture("nothing", np.zeros((0, 0, 3), np.uint8), (), np.zeros((4, 0), np.int64))


@dataclass(frozen=True)
class Job:
    """Pictures `first` to `last` - 1 of one file, to be written into the folder `images`.

    `turns`: least and most questions to a conversation. `small`: as in `picture_questions`.
    """

    captions: bool
    first: int
    last: int
    seed: int
    turns: tuple[int, int]
    small: float | None
    images: Path


def make(job: Job) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Writes a job's pictures; returns its entries, and the SHA-256 of the pictures' files by name."""
    entries: list[dict[str, Any]] = []
    written: dict[str, str] = {}
    for number in range(job.first, job.last):
        name = f"{'caption' if job.captions else 'picture'}-{number:06d}"
        rng = Random(f"conversation:{job.seed}:{'caption:' if job.captions else ''}{number}")
        picture = draw(rng)
        if job.captions:
            asked = [("", caption(picture))]
        else:
            chosen = varied(picture_questions(rng, picture, job.small))[: rng.randint(*job.turns)]
            asked = [(question.prompt, question.answer) for question in chosen]
        entries.append(_entry(name, asked, f"{name}.png"))
        data = _png(picture)
        (job.images / f"{name}.png").write_bytes(data)
        written[f"{name}.png"] = hashlib.sha256(data).hexdigest()
        if not job.captions and number % TEXT_EVERY == TEXT_EVERY - 1:
            entries.append(_text_entry(job, number // TEXT_EVERY))
    return entries, written


def caption(picture: Picture) -> str:
    """What a picture shows, in the words of the vocabulary: its kind, then each thing with its text."""
    shown = ", ".join(_described(picture, item) for item in picture.items)
    return f"{SCENES[picture.kind]}: {shown}" if picture.kind in SCENES else shown


def _described(picture: Picture, item: Item) -> str:
    text = "" if picture.blurred else item.text
    return " ".join(part for part in (item.color, item.thing, text) if part)


def picture_questions(rng: Random, picture: Picture, small: float | None) -> list[Question]:
    """What can be asked about a picture, in random order.

    `small` is the share of the questions about small print that are kept; None is the lessons' own.
    """
    asked = lessons.training_questions(rng, picture)
    if small is None:
        return asked
    kept = [question for question in asked if not question.small]
    kept += [q for q in open_questions(rng, picture) if q.small and rng.random() < small]
    rng.shuffle(kept)
    return kept


def varied(asked: list[Question]) -> list[Question]:
    """The same questions, those first that look at a place of the picture that none before them looks at.

    So that an early answer seldom gives a later one away, which could then be copied without looking: of five
    questions in plain random order, one in eight has the place of an earlier one.
    """
    seen: set[int] = set()
    fresh: list[Question] = []
    again: list[Question] = []
    for question in asked:
        (again if seen.intersection(question.evidence) else fresh).append(question)
        seen.update(question.evidence)
    return fresh + again


def text_questions(rng: Random, count: int) -> list[Question]:
    """Different exercises that need no picture: which option is the named color or shape?"""
    asked: dict[str, Question] = {}
    while len(asked) < count:
        found = lessons.exercises(rng, _NOTHING)[0]
        asked[found.prompt] = found
    return list(asked.values())


def _text_entry(job: Job, number: int) -> dict[str, Any]:
    rng = Random(f"conversation:{job.seed}:text:{number}")
    asked = [(q.prompt, q.answer) for q in text_questions(rng, rng.randint(*job.turns))]
    return _entry(f"text-{number:06d}", asked, None)


def _entry(name: str, asked: list[tuple[str, str]], image: str | None) -> dict[str, Any]:
    """One entry of LLaVA's JSON."""
    turns: list[dict[str, str]] = []
    for prompt, answer in asked:
        mark = "<image>\n" if image and not turns else ""
        turns += [{"from": "human", "value": (mark + prompt).strip()}, {"from": "gpt", "value": answer}]
    return {"id": name, **({"image": image} if image else {}), "conversations": turns}


def _png(picture: Picture) -> bytes:
    """The picture as a PNG file, quickly rather than small."""
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
