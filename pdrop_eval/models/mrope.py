"""Positions in three dimensions (M-RoPE): frame, row and column of a picture's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def positions(
    ids: Tensor, mask: Tensor | None, image_token: int, grids: Sequence[tuple[int, int, int]], merge: int
) -> Tensor:
    """Return [4, b, n]: the text's, which count the tokens, and those of time, height and width.

    A picture of r rows and c columns at position p has (p, p + row, p + column), and what follows goes on at
    p + max(r, c).

    Args:
        ids: [b, n] token ids, the image token once for each token of an image.
        mask: [b, n], false on padding, or None.
        image_token: its id.
        grids: (frames, rows, columns) of each image in patches, in the order of the rows.
        merge: patches to a token's side.
    """
    import torch

    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    found = torch.zeros(4, *ids.shape, dtype=torch.long, device=ids.device)
    found[0] = (real.long().cumsum(1) - 1).clamp(min=0)
    remaining = iter(grids)
    for row, (own, valid) in enumerate(zip(ids, real, strict=True)):
        image = (own[valid] == image_token).tolist()
        found[1:, row, valid] = _of_row(image, remaining, merge).to(ids.device)
    return found


def _of_row(image: Sequence[bool], grids: Iterator[tuple[int, int, int]], merge: int) -> Tensor:
    """Return [3, n] of one prompt, by which of its tokens are an image's."""
    import torch

    parts, start, column = [torch.zeros(3, 0, dtype=torch.long)], 0, 0
    while column < len(image):
        if not image[column]:
            text = next((i for i in range(column, len(image)) if image[i]), len(image)) - column
            parts.append((torch.arange(text) + start).expand(3, -1))
            column, start = column + text, start + text
            continue
        grid = next(grids)
        parts.append(start + _cells(grid, merge))
        column, start = column + parts[-1].shape[1], start + max(grid[1:]) // merge
    return torch.cat(parts, dim=1)


def _cells(grid: tuple[int, int, int], merge: int) -> Tensor:
    """Return [3, tokens]: frame, row and column of each token of a picture."""
    import torch

    frames, rows, columns = grid
    sides = [torch.arange(n) for n in (frames, rows // merge, columns // merge)]
    return torch.stack([one.flatten() for one in torch.meshgrid(*sides, indexing="ij")])
