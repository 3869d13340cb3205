"""A picture with its image tokens as pixels: which token lies where, dropped ones veiled, shares as colours.

Boxes are left, top, right, bottom in pixels of the original picture. No torch, no matplotlib.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from pdrop_eval.models.pictures.token_grid import Box, Grid

Segment = tuple[tuple[float, float], tuple[float, float]]

PAPER = 255  # beside the picture, where a padded one has no pixel
_VEIL, _VEILED = 168, 0.72  # a grey that is neither page nor ink, and how much of it lies on dropped patches
_UNSEEN, _STRIPE = 96, 8  # of what no token covers: the colour of its stripes, and their distance in pixels


def extent(size: tuple[int, int], grid: Grid) -> Box:
    """The smallest box that holds a picture of (width, height) and a grid of it."""
    left, top, right, bottom = grid.box
    return min(left, 0.0), min(top, 0.0), max(right, float(size[0])), max(bottom, float(size[1]))


def within(image: Image.Image, box: Box, width: int, height: int) -> np.ndarray:
    """An RGB picture as it lies in `box`, in width x height pixels: [height, width, 3] uint8.

    Where it grows, its pixels become squares, so that nothing is seen that isn't there.
    """
    across, down = width / (box[2] - box[0]), height / (box[3] - box[1])
    left, top = round(-box[0] * across), round(-box[1] * down)
    size = max(1, round(image.width * across)), max(1, round(image.height * down))
    grows = size[0] >= image.width and size[1] >= image.height
    kind = Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS
    canvas = Image.new("RGB", (width, height), (PAPER, PAPER, PAPER))
    canvas.paste(image.convert("RGB").resize(size, kind, reducing_gap=3), (left, top))
    return np.asarray(canvas)


def tokens_at(grid: Grid, box: Box, width: int, height: int) -> np.ndarray:
    """Which token of the grid covers each of width x height pixels of `box`: [height, width], -1 for none.

    A pixel belongs to the token that its centre lies on; newline tokens lie nowhere.
    """
    if not (grid.rows and grid.columns):  # of a picture as thin as a line, all is taken for padding
        return np.full((height, width), -1)
    left, top, right, bottom = grid.box
    x = box[0] + (np.arange(width) + 0.5) * (box[2] - box[0]) / width
    y = box[1] + (np.arange(height) + 0.5) * (box[3] - box[1]) / height
    column = np.floor((x - left) / (right - left) * grid.columns).astype(int)
    row = np.floor((y - top) / (bottom - top) * grid.rows).astype(int)
    inside = ((row >= 0) & (row < grid.rows))[:, None] & ((column >= 0) & (column < grid.columns))[None]
    return np.where(inside, row[:, None] * (grid.columns + grid.newline) + column[None], -1)


def veiled(pixels: np.ndarray, tokens: np.ndarray, retained: Sequence[bool]) -> np.ndarray:
    """A picture [h, w, 3] with the places of dropped tokens greyed, and striped where no token is.

    Args:
        tokens: [h, w] of `tokens_at`;
        retained: A flag for each of the grid's tokens.
    """
    flags = np.append(np.asarray(retained, dtype=bool), False)  # the last one is read by -1
    grey = _grey(pixels) * (1 - _VEILED) + _VEIL * _VEILED
    rows, columns = np.indices(tokens.shape)
    stripes = (tokens < 0) & ((rows + columns) % _STRIPE < _STRIPE // 4)
    grey = np.where(stripes, _UNSEEN, grey)
    return np.where(flags[tokens][..., None], pixels, grey[..., None]).astype(np.uint8)


def coloured(pixels: np.ndarray, tokens: np.ndarray, colours: np.ndarray, strength: float) -> np.ndarray:
    """A picture [h, w, 3] in grey under the colours of its tokens; white where no token is.

    Args:
        colours: [tokens, 3] from 0 to 1;
        strength: How much of a pixel is its token's colour.
    """
    over = np.vstack([colours, np.ones((1, 3))])[tokens] * 255
    return (_grey(pixels)[..., None] * (1 - strength) + over * strength).round().astype(np.uint8)


def outline(grid: Grid, retained: Sequence[bool]) -> list[Segment]:
    """The borders between retained and other patches, each as long as it is straight; in picture pixels."""
    if not (grid.rows and grid.columns):
        return []
    flags = np.asarray(retained, dtype=bool).reshape(grid.rows, -1)[:, : grid.columns]
    left, top, right, bottom = grid.box
    wide, high = (right - left) / grid.columns, (bottom - top) / grid.rows
    padded = np.pad(flags, 1)
    level = padded[1:, 1:-1] != padded[:-1, 1:-1]  # [rows + 1, columns]: above each patch
    upright = padded[1:-1, 1:] != padded[1:-1, :-1]  # [rows, columns + 1]: left of each patch
    segments: list[Segment] = [
        ((left + start * wide, top + row * high), (left + end * wide, top + row * high))
        for row, line in enumerate(level)
        for start, end in _runs(line)
    ]
    return segments + [
        ((left + column * wide, top + start * high), (left + column * wide, top + end * high))
        for column, line in enumerate(upright.T)
        for start, end in _runs(line)
    ]


def _runs(line: np.ndarray) -> list[tuple[int, int]]:
    """Where the true parts of a line begin and end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _grey(pixels: np.ndarray) -> np.ndarray:
    return pixels @ np.array([0.299, 0.587, 0.114])
