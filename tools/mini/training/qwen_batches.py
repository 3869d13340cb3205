"""Training samples of the Qwen2.5-VL miniature: pictures of several sizes at their own resolution.

All pictures of a batch have one size: an infographic's, a plain one's, or a plain one's with a margin on one
side, so that no grid of tokens is the only one that the model has seen.
"""

from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdrop_eval.benchmarks.rendered.canvas import GRID
from pdrop_eval.benchmarks.rendered.pictures import KINDS, Picture
from pdrop_eval.utils.paths import MINI_CHECKPOINT
from tools.mini.training.lessons import training_questions
from tools.mini.training.network import Guide
from tools.mini.training.packing import EASY, SHARES, Batch, Frame, normalise, pack, questions_of
from tools.mini.training.qwen_model import GROWTH, MERGE, TOKEN, WINDOW, tower_features
from tools.mini.training.vocabulary import ASSISTANT, BOS, EOS, QWEN_TOKENS, USER

_ID = {token: i for i, token in enumerate(QWEN_TOKENS)}
_SYSTEM = (BOS, _ID["system"], _ID["You are a helpful assistant."], EOS)
BEFORE = (*_SYSTEM, BOS, USER, _ID["<|vision_start|>"])
FRAME = Frame(
    before=len(BEFORE),
    opening=(_ID["<|vision_end|>"],),
    closing=(EOS, BOS, ASSISTANT),
    text=212,
)
TALL = "poster"  # the kind of picture that is twice as high
LABEL_WEIGHT = 0.3  # of the patch labels beside the teacher, in the first stage
MARGINS = 0.3  # of the plain batches


@dataclass(frozen=True)
class Layout:
    """Where a batch's pictures lie on their canvases, in tokens.

    Attributes:
        rows: of the canvas.
        columns: of the canvas.
        stretch: rows of tokens to a row of the picture's labels.
        top: rows above the picture.
        left: columns before it.
    """

    rows: int = GRID
    columns: int = GRID
    stretch: int = 1
    top: int = 0
    left: int = 0

    @property
    def tall(self) -> bool:
        """Whether the pictures are infographics."""
        return self.stretch > 1

    def key_of(self, patch: int) -> int:
        """The token that shows a patch of the picture's labels, the upper one of two."""
        row, column = divmod(patch, GRID)
        return (self.top + row * self.stretch) * self.columns + self.left + column

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values [c, 144] of a picture's patches as its tokens' [c, rows * columns]; 0 in the margin."""
        grid = values.reshape(-1, GRID, GRID).repeat(self.stretch, 1)
        out = np.zeros((len(grid), self.rows, self.columns), values.dtype)
        out[:, self.top : self.top + grid.shape[1], self.left : self.left + GRID] = grid
        return out.reshape(len(grid), -1)

    def frame(self) -> Frame:
        """What stands around the picture: the text goes on at the larger side's end, as M-RoPE has it."""
        return replace(
            FRAME,
            image_tokens=self.rows * self.columns,
            next_position=len(BEFORE) + max(self.rows, self.columns),
            key_of=self.key_of,
        )


@dataclass(frozen=True)
class QwenBatch:
    """Packed pictures of one size.

    Attributes:
        pixels: float [B, 4 * tokens, values], cut as the processor cuts them.
        labels: int [B, 4, tokens], what the tokens show.
        layout: of all of them.
        packed: their questions.
        teacher: float [B, 3, 96, 96], the pictures as the LLaVA-1.5 miniature sees them.
        inside: bool [tokens], where the picture is, and not the margin.
    """

    pixels: Tensor
    labels: Tensor
    layout: Layout
    packed: Batch
    teacher: Tensor
    inside: Tensor

    @property
    def tasks(self) -> list[list[str]]:
        """The task of each question, by picture."""
        return self.packed.tasks

    @property
    def evidence(self) -> Tensor:
        """The key that holds the next token of an answer, int [B, T], or -1."""
        return self.packed.evidence

    @property
    def option(self) -> Tensor:
        """The key of the right option's word, int [B, T], or -1."""
        return self.packed.option


def choose_layout(rng: Random) -> Layout:
    """The layout of a batch."""
    if rng.random() < SHARES[TALL]:
        return Layout(rows=2 * GRID, stretch=2)
    if rng.random() > MARGINS:
        return Layout()
    place = rng.randint(0, WINDOW)
    if rng.random() < 0.5:
        return Layout(rows=GRID + WINDOW, top=place)
    return Layout(columns=GRID + WINDOW, left=place)


def draw(rng: Random, layout: Layout, easy: bool) -> Picture:
    """A random picture that fits a layout; easy ones hold fewer things."""
    kinds = {TALL: 1.0} if layout.tall else {kind: share for kind, share in SHARES.items() if kind != TALL}
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    return KINDS[kind](rng, EASY[kind]) if easy and kind in EASY else KINDS[kind](rng)


def patches_of(image: np.ndarray, rng: Random, layout: Layout) -> np.ndarray:
    """A picture on its canvas as the processor cuts it, with sensor noise: float [4 * tokens, values]."""
    seeded = np.random.default_rng(rng.getrandbits(32))
    height, width = layout.rows * TOKEN, layout.columns * TOKEN
    canvas = np.full((height, width, 3), rng.randint(225, 255), np.float32)
    top, left = layout.top * TOKEN, layout.left * TOKEN
    canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
    canvas += seeded.integers(-10, 11, (height, width, 1)).astype(np.float32)
    return cut(canvas / 127.5 - 1)


def cut(values: np.ndarray) -> np.ndarray:
    """Cut normalised pixels [H, W, 3] into patches [H * W / 144, 864]; the second frame repeats the first."""
    rows, columns, side = values.shape[0] // TOKEN, values.shape[1] // TOKEN, TOKEN // MERGE
    parts = values.reshape(rows, MERGE, side, columns, MERGE, side, 3).transpose(0, 3, 1, 4, 6, 2, 5)
    parts = parts.reshape(rows * columns * MERGE**2, 3, 1, side, side)
    return np.repeat(parts, 2, 2).reshape(len(parts), -1)


def make_batch(name: str, indices: range, easy: bool = False) -> QwenBatch:
    """The samples `indices` of the endless collection `name`, the same for a name and a first index."""
    layout = choose_layout(Random(f"{name}:layout:{indices.start}"))
    frame = layout.frame()
    pixels, labels, rows, seen = [], [], [], []
    tasks: list[list[str]] = []
    for index in indices:
        rng = Random(f"{name}:{index}")
        picture = draw(rng, layout, easy)
        packed, asked = pack(training_questions(rng, picture), frame)
        pixels.append(patches_of(picture.image, rng, layout))
        labels.append(layout.spread(picture.labels.reshape(4, -1)))
        seen.append(normalise(picture.image))
        rows.append(packed)
        tasks.append(asked)
    whole = layout.spread(np.ones((1, GRID * GRID), np.int64))[0]
    nothing = torch.empty(0)  # pixels and labels are the batch's own
    packed_questions = questions_of(rows, tasks, nothing, nothing, len(BEFORE) + frame.image_tokens)
    return QwenBatch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(labels)),
        layout,
        packed_questions,
        torch.from_numpy(np.stack(seen)),
        torch.from_numpy(whole) > 0,
    )


def features(model, batch: QwenBatch) -> Tensor:
    """The image tokens [B, tokens, d] as the decoder gets them."""
    rows, columns = batch.layout.rows, batch.layout.columns
    return GROWTH * tower_features(model.model.visual, batch.pixels.to(model.dtype), rows, columns)


def positions_of(layout: Layout, text: Tensor) -> Tensor:
    """Positions in three dimensions, int [3, B, P + T]; text [B, T] has those of the questions."""
    before = torch.arange(len(BEFORE)).expand(3, -1)
    row, column = torch.arange(layout.rows), torch.arange(layout.columns)
    image = torch.stack(
        (
            torch.zeros(layout.rows, layout.columns, dtype=torch.long),
            row[:, None].expand(-1, layout.columns),
            column.expand(layout.rows, -1),
        )
    ).flatten(1)
    prefix = torch.cat([before, len(BEFORE) + image], 1)
    return torch.cat([prefix[:, None].expand(-1, len(text), -1), text.expand(3, -1, -1)], 2)


def answer_logits(model, batch: QwenBatch, guide: Guide | None = None) -> tuple[Tensor, Tensor]:
    """Logits [answers, vocabulary] at the places that have a target, and the targets [answers]."""
    asked, dtype = batch.packed, model.dtype
    embed = model.model.language_model.embed_tokens
    count = len(asked.tokens)
    before = torch.tensor(BEFORE).expand(count, -1)
    image = features(model, batch)
    prefix = len(BEFORE) + image.shape[1]
    mask = torch.zeros(asked.mask.shape, dtype=dtype).masked_fill_(~asked.mask, torch.finfo(dtype).min)
    hidden = model.model.language_model(
        inputs_embeds=torch.cat([embed(before), image, embed(asked.tokens)], 1),
        attention_mask=mask,
        position_ids=positions_of(batch.layout, asked.positions),
        use_cache=False,
        guide=guide,
        prefix=prefix,
    ).last_hidden_state[:, prefix:]
    wanted = asked.targets >= 0
    return model.lm_head(hidden[wanted]).float(), asked.targets[wanted]


@cache
def _teacher() -> tuple[Any, Tensor]:
    """The LLaVA-1.5 miniature, whose image tokens the decoder already reads, and their mean [d]."""
    from transformers import LlavaForConditionalGeneration

    teacher = LlavaForConditionalGeneration.from_pretrained(MINI_CHECKPOINT, dtype=torch.bfloat16).eval()
    pictures = [normalise(draw(Random(f"mean:{i}"), Layout(), easy=False).image) for i in range(32)]
    return teacher, _seen_by(teacher, torch.from_numpy(np.stack(pictures))).mean((0, 1))


@torch.no_grad()
def _seen_by(teacher, pixels: Tensor) -> Tensor:
    found = teacher.get_image_features(pixels.bfloat16()).pooler_output
    return (found if torch.is_tensor(found) else torch.stack(list(found))).float()


def mean_token() -> Tensor:
    """The mean image token [d] of the LLaVA-1.5 miniature."""
    return _teacher()[1]


def content(found: Tensor) -> Tensor:
    """What tells image tokens [B, n, d] apart: the rest beside the mean, most of what they have."""
    return (found.float() - mean_token()) / GROWTH


def see(model, heads, batch: QwenBatch) -> tuple[Tensor, dict]:
    """The loss of the first stage, by the patch labels and by the teacher's tokens, and what to log."""
    found = features(model, batch)
    loss, accuracy = heads.loss(model, content(found), batch.labels)
    more = teach(found, batch)
    return LABEL_WEIGHT * loss + more, {
        "patches": [round(a, 3) for a in accuracy],
        "teacher": round(more.item(), 4),
    }


def teach(found: Tensor, batch: QwenBatch) -> Tensor:
    """How far the image tokens [B, n, d] are from the LLaVA-1.5 miniature's, in the variance of those."""
    wanted = _seen_by(_teacher()[0], batch.teacher).unflatten(1, (GRID, GRID))
    wanted = content(wanted.repeat_interleave(batch.layout.stretch, 1).flatten(1, 2))
    found = content(found)[:, batch.inside]
    return 3 * ((found - wanted) ** 2).mean() / wanted.var()
