"""Rotary position embeddings. Importing it needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary position embeddings in the half-split layout.

    Args:
        x: [b, h, n, e].
        cos: [b or 1, n, e].
        sin: [b or 1, n, e].

    Returns:
        [b, h, n, e].
    """
    half = x.shape[-1] // 2
    cos, sin = cos[:, None], sin[:, None]
    # x * cos + (-second, first) * sin, to the last bit, with half the passes over memory.
    turned = x * cos
    turned[..., :half].sub_(x[..., half:] * sin[..., :half])
    turned[..., half:].add_(x[..., :half] * sin[..., half:])
    return turned


def gather_columns(x: Tensor, columns: Tensor) -> Tensor:
    """Take `columns` [b, m] of x [b or 1, n, ...] in every row: [b, m, ...]."""
    x = x.expand(columns.shape[0], *x.shape[1:])
    index = columns.reshape(*columns.shape, *[1] * (x.dim() - 2)).expand(*columns.shape, *x.shape[2:])
    return x.gather(1, index)
