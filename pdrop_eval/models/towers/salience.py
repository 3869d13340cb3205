"""How important each token of an image is to its vision tower, in towers that join patches to tokens.

Published ports of methods that choose by CLIP's class token do so on Qwen-VL: in place of the class token's
row, the attention of all patches of the tower's last block, mean over heads and summed over the rows; a token
has the sum of its four patches. No [patches, patches] map of all heads is ever held.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 512  # query rows whose weights are in memory at once


def received_attention(query: Tensor, key: Tensor, merge: int) -> Tensor:
    """Return the attention that each token of one image receives, summed over its patches and all rows.

    Args:
        query: [h, n, e], rotated; the patches of a token stand together.
        key: [h, n, e], rotated.
        merge: patches to a token.

    Returns:
        [n / merge] float32.
    """
    query, key = query.float() * query.shape[-1] ** -0.5, key.float()
    total = torch.zeros(key.shape[1], device=key.device)
    for start in range(0, query.shape[1], _ROWS):
        weights = (query[:, start : start + _ROWS] @ key.transpose(1, 2)).softmax(-1)
        total += weights.mean(0).sum(0)
    return total.view(-1, merge).sum(1)


def mean_keys(key: Tensor, merge: int) -> Tensor:
    """Return [n / merge, e] float32: the mean key of each token's patches and all heads of key [h, n, e]."""
    return key.float().mean(0).unflatten(0, (-1, merge)).mean(1)


def window_order(rows: int, columns: int, window: int) -> Tensor:
    """Return [rows * columns]: the tokens of a picture, numbered row by row, as they go through windows.

    Args:
        rows: of tokens.
        columns: of tokens.
        window: rows and columns of tokens to a window; those at the right and lower edges may be smaller.
    """
    numbers = torch.arange(rows * columns).view(rows, columns)
    return torch.cat(
        [
            numbers[top : top + window, left : left + window].flatten()
            for top in range(0, rows, window)
            for left in range(0, columns, window)
        ]
    )


def blocks_of(values: Tensor, side: int) -> Tensor:
    """Return [..., side * side, 4, ...rest] of values [P, 4 * side * side, ...]: the patches of each token.

    Args:
        values: of patches, row by row; a token joins two rows and two columns.
        side: rows of tokens.
    """
    tiles, rest = len(values), values.shape[2:]
    cut = values.view(tiles, side, 2, side, 2, *rest).transpose(2, 3)
    return cut.reshape(tiles, side * side, 4, *rest)
