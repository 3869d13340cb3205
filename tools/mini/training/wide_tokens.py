"""Which image tokens a step of the miniature of 576 leaves to the decoder: all, or random ones or cells."""

from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from tools.mini.training.vocabulary import BOS, USER
from tools.mini.training.wide_model import CELL, SIDE_TOKENS

BEFORE = (BOS, USER)


@dataclass(frozen=True)
class Kept:
    """The image tokens that a step leaves to the decoder, the same number of each picture.

    Attributes:
        ids: int [B, n], in order, of the 576.
        positions: int [B, n], that the decoder is told.
        next_position: of the text that follows.
    """

    ids: Tensor
    positions: Tensor
    next_position: int

    def holds(self) -> Tensor:
        """Bool [B, 12 * 12]: whether one of a cell's tokens is left."""
        found = torch.zeros(len(self.ids), SIDE_TOKENS**2, dtype=torch.bool).scatter_(1, self.ids, True)
        half = SIDE_TOKENS // CELL
        return found.view(-1, half, CELL, half, CELL).any(4).any(2).flatten(1)


def kept_tokens(rng: Random, count: int, whole: float = 0.15, by_cell: float = 0.0) -> Kept:
    """Which image tokens the decoder sees: all, or random ones, at their own positions or renumbered.

    Args:
        rng: decides.
        count: of the pictures.
        whole: how often all are left.
        by_cell: how often cells are left out whole, and the others have half of their tokens.
    """
    total, first = SIDE_TOKENS**2, len(BEFORE)
    if rng.random() < whole:
        return all_tokens(count)
    n = rng.randint(total // 9, total // 2)
    order = torch.Generator().manual_seed(rng.getrandbits(32))
    if by_cell and rng.random() < by_cell:
        cells = rng.randint(total // 16, total // 6)
        n = 2 * cells
        ids = torch.stack([_of_some_cells(order, cells) for _ in range(count)])
    else:
        ids = torch.stack([torch.randperm(total, generator=order)[:n].sort().values for _ in range(count)])
    if rng.random() < 0.5:
        return Kept(ids, first + torch.arange(n).expand(count, -1), first + n)
    return Kept(ids, first + ids, first + total)


def _of_some_cells(order: torch.Generator, cells: int) -> Tensor:
    """Two random tokens of each of some random cells, in order."""
    half = SIDE_TOKENS // CELL
    chosen = torch.randperm(half**2, generator=order)[:cells]
    places = torch.rand(cells, CELL**2, generator=order).topk(2).indices
    row = (chosen // half * CELL)[:, None] + places // CELL
    column = (chosen % half * CELL)[:, None] + places % CELL
    return (row * SIDE_TOKENS + column).flatten().sort().values


def all_tokens(count: int) -> Kept:
    """All image tokens of `count` pictures, at their own positions."""
    total, first = SIDE_TOKENS**2, len(BEFORE)
    ids = torch.arange(total).expand(count, -1)
    return Kept(ids, first + ids, first + total)
