"""Training samples: one picture with many questions in one sequence, hidden from each other.

Loss on a dozen answers for one pass over the image is what makes training on a processor possible.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from pdrop_eval.benchmarks.rendered.canvas import SIZE, shrink
from pdrop_eval.benchmarks.rendered.pictures import KINDS, Picture
from pdrop_eval.benchmarks.rendered.questions import Question
from tools.mini.training.lessons import training_questions
from tools.mini.training.model import IMAGE_TOKENS
from tools.mini.training.vocabulary import ASSISTANT, BOS, EOS, ID, IMAGE, USER, encode

PREFIX = (BOS, USER, *[IMAGE] * IMAGE_TOKENS)
TEXT = 176  # tokens of questions and answers per picture
SHARES = {
    "objects": 0.34,
    "signs": 0.14,
    "chart": 0.13,
    "page": 0.14,
    "poster": 0.1,
    "cover": 0.08,
    "photo": 0.07,
}
# Kinds that can be drawn with fewer things, and how many at most in easy pictures.
EASY = {"objects": 3, "signs": 2, "page": 3, "poster": 2}
IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """Packed pictures: B of them, T = `TEXT` question tokens, P = length of the prefix.

    `pixels` float [B, 3, 96, 96]; `labels` int [B, 4, 144], what the patches show; `tokens`, `targets` and
    `positions` int [B, T]; `mask` bool [B, 1, P + T, P + T], True where attention is allowed; `evidence`
    int [B, T], the key index of the patch that holds the next answer token, and `option` int [B, T], that of
    the right option's word, both -1 where there is none; `tasks`, the task of each question, by picture.
    """

    pixels: torch.Tensor
    labels: torch.Tensor
    tokens: torch.Tensor
    targets: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    evidence: torch.Tensor
    option: torch.Tensor
    tasks: list[list[str]]


def draw(rng: Random, easy: bool = False) -> Picture:
    """A random training picture; easy ones hold fewer things."""
    kind = rng.choices(list(SHARES), list(SHARES.values()))[0]
    return KINDS[kind](rng, EASY[kind]) if easy and kind in EASY else KINDS[kind](rng)


def normalise(image: np.ndarray) -> np.ndarray:
    """A picture, uint8 [H, W, 3], as the processor makes it: float [3, 96, 96] in -1..1."""
    return (shrink(image).astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def noise(rng: Random) -> np.ndarray:
    """Sensor noise for training, float [1, 96, 96]: the same in the three channels, up to 6 of 255 steps."""
    seeded = np.random.default_rng(rng.getrandbits(32))
    return seeded.integers(-6, 7, (1, SIZE, SIZE)).astype(np.float32) / 127.5


@dataclass(frozen=True)
class Frame:
    """What stands around pictures and questions in a sequence.

    Attributes:
        before: how many tokens precede the image's.
        image_tokens: of the picture.
        next_position: of the first token after the image.
        opening: the tokens between the image and a question.
        closing: the tokens between a question and its answer.
        text: tokens of questions and answers per picture.
        key_of: the image token that shows a patch of the picture's labels.
    """

    before: int = 2
    image_tokens: int = IMAGE_TOKENS
    next_position: int = len(PREFIX)
    opening: tuple[int, ...] = ()
    closing: tuple[int, ...] = (ASSISTANT,)
    text: int = TEXT
    key_of: Callable[[int], int] = int


def pack(questions: list[Question], frame: Frame = Frame()) -> tuple[np.ndarray, list[str]]:
    """As many questions as fit, int [6, text]: tokens, targets, segment, position, evidence, option."""
    rows = np.full((6, frame.text), -1, np.int64)
    first = frame.before + frame.image_tokens
    rows[0], rows[1], rows[3] = 0, IGNORE, 0
    start = 0
    tasks: list[str] = []
    for question in questions:
        prompt = [*frame.opening, *encode(question.prompt), *frame.closing]
        answer = [*encode(question.answer), EOS]
        sequence = [*prompt, *answer[:-1]]
        end = start + len(sequence)
        if end > frame.text:
            continue
        ask = start + len(prompt) - 1
        rows[0, start:end] = sequence
        rows[1, ask:end] = answer
        rows[2, start:end] = len(tasks)
        rows[3, start:end] = frame.next_position + np.arange(len(sequence))
        for i, patch in enumerate(question.evidence[: len(answer) - 1]):
            rows[4, ask + i] = frame.before + frame.key_of(patch)
        if question.option is not None:
            rows[5, ask] = first + start + _letter(prompt, question.answer) + 1
        tasks.append(question.task)
        start = end
    return rows, tasks


def _letter(prompt: list[int], letter: str) -> int:
    """Where an option's letter stands in a prompt."""
    mark = next(mark for mark in ".:" if ID[f"{letter}{mark}"] in prompt)
    return prompt.index(ID[f"{letter}{mark}"])


def attention_mask(segments: torch.Tensor, prefix: int = len(PREFIX)) -> torch.Tensor:
    """Bool [B, 1, P + T, P + T]: the prefix is causal; a question sees the prefix and itself."""
    batch, text = segments.shape
    mask = torch.ones(prefix + text, prefix + text, dtype=torch.bool).tril().repeat(batch, 1, 1)
    mask[:, prefix:, prefix:] &= segments[:, :, None] == segments[:, None]
    return mask[:, None]


def make_batch(name: str, indices: range, easy: bool = False) -> Batch:
    """The samples `indices` of the endless collection `name`, always the same for a name and an index."""
    pixels, labels, rows = [], [], []
    tasks: list[list[str]] = []
    for index in indices:
        rng = Random(f"{name}:{index}")
        picture = draw(rng, easy)
        packed, asked = pack(training_questions(rng, picture))
        pixels.append(normalise(picture.image) + noise(rng))
        labels.append(picture.labels)
        rows.append(packed)
        tasks.append(asked)
    return questions_of(rows, tasks, torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels)))


def questions_of(
    rows: list[np.ndarray],
    tasks: list[list[str]],
    pixels: torch.Tensor,
    labels: torch.Tensor,
    prefix: int | None = len(PREFIX),
) -> Batch:
    """The packed questions of some pictures as one batch.

    Args:
        rows: from `pack`.
        tasks: from `pack`.
        pixels: of the pictures.
        labels: what they show.
        prefix: how many tokens stand before the questions, for the mask; None where a step decides: it is
            then the segments [B, T].
    """
    tokens, targets, segments, positions, evidence, option = torch.from_numpy(np.stack(rows)).unbind(1)
    mask = segments if prefix is None else attention_mask(segments, prefix)
    return Batch(pixels, labels, tokens, targets, positions, mask, evidence, option, tasks)
