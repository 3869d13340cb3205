"""Training samples of the miniature of 576 tokens: pictures of 192 x 192 pixels, questions and captions."""

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pdrop_eval.benchmarks.rendered.canvas import GRID
from tools.mini.training.captions import caption, held, wrong_captions
from tools.mini.training.lessons import training_questions
from tools.mini.training.packing import Batch, Frame, attention_mask, draw, normalise, pack, questions_of
from tools.mini.training.vocabulary import CLIP_BEGIN, CLIP_END, PAD, encode
from tools.mini.training.wide_model import CAPTION, CELL, WIDE

WRONG = 5  # captions to a picture
# Positions begin at the image's end, which a step chooses; a piece of evidence is a cell of the labels.
FRAME = Frame(before=0, image_tokens=0, next_position=0, text=224)


@dataclass(frozen=True)
class WideBatch:
    """Packed pictures.

    Attributes:
        pixels: float [B, 3, 192, 192].
        labels: int [B, 4, 576], what the tokens show.
        packed: their questions; `evidence` has cells of the labels.
        teacher: float [B, 3, 96, 96], the pictures as the miniature of 144 tokens sees them.
        captions: int [B * (1 + WRONG), L], the pictures' own first.
        held: bool [B, n], which of `captions.HELD` a picture shows.
        seed: decides which image tokens the decoder sees; empty: all.
    """

    pixels: Tensor
    labels: Tensor
    packed: Batch
    teacher: Tensor
    captions: Tensor
    held: Tensor
    seed: str = ""

    @property
    def tasks(self) -> list[list[str]]:
        """The task of each question, by picture."""
        return self.packed.tasks

    def question_mask(self, prefix: int) -> Tensor:
        """Bool [B, 1, P + T, P + T]: a question sees the prefix and itself."""
        return attention_mask(self.packed.mask, prefix)


def normalise_wide(image: np.ndarray) -> np.ndarray:
    """A picture, uint8 [H, W, 3], as the processor makes it: float [3, 192, 192] in -1..1."""
    small = np.asarray(Image.fromarray(image).resize((WIDE, WIDE), Image.Resampling.BILINEAR))
    return (small.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)


def caption_ids(text: str) -> list[int]:
    """A caption's tokens, padded to the text tower's length: beginning, words and characters, end."""
    ids = [CLIP_BEGIN, *encode(text)[: CAPTION - 2], CLIP_END]
    return ids + [PAD] * (CAPTION - len(ids))


def _spread(labels: np.ndarray) -> np.ndarray:
    """Labels [4, 144] of cells as those of their tokens [4, 576]."""
    return labels.reshape(4, GRID, GRID).repeat(CELL, 1).repeat(CELL, 2).reshape(4, -1)


def make_batch(name: str, indices: range, easy: bool = False) -> WideBatch:
    """The samples `indices` of the endless collection `name`, always the same for a name and an index."""
    pixels, labels, rows, seen, own, wrong, holds = [], [], [], [], [], [], []
    tasks: list[list[str]] = []
    for index in indices:
        rng = Random(f"{name}:{index}")
        picture = draw(rng, easy)
        packed, asked = pack(training_questions(rng, picture), FRAME)
        grain = np.random.default_rng(rng.getrandbits(32)).integers(-6, 7, (1, WIDE, WIDE))
        pixels.append(normalise_wide(picture.image) + grain.astype(np.float32) / 127.5)
        seen.append(normalise(picture.image))
        labels.append(_spread(picture.labels))
        rows.append(packed)
        tasks.append(asked)
        own.append(caption_ids(caption(picture)))
        wrong += [caption_ids(text) for text in wrong_captions(rng, picture, WRONG)]
        holds.append(held(picture))
    nothing = torch.empty(0)  # pixels and labels are the batch's own
    packed_questions = questions_of(rows, tasks, nothing, nothing, None)
    return WideBatch(
        torch.from_numpy(np.stack(pixels)),
        torch.from_numpy(np.stack(labels)),
        packed_questions,
        torch.from_numpy(np.stack(seen)),
        torch.tensor(own + wrong),
        torch.tensor(holds),
        f"{name}:kept:{indices.start}" if name.startswith("train:") else "",
    )
