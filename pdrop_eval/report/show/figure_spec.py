"""What is drawn of one sample, before layout: rows of panel groups, with a panel a picture or tile."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from pdrop_eval.models.pictures.token_grid import OVERVIEW, TILES, Box, Grid
from pdrop_eval.report.show import raster


@dataclass(frozen=True)
class Panel:
    """One drawing of a picture.

    paint(width, height) gives its pixels [height, width, 3]; `box` is what of the picture it shows, with
    `picture` the (width, height) of the picture itself; `borders` are lines in the picture's pixels.
    """

    name: str
    box: Box
    picture: tuple[int, int]
    paint: Callable[[int, int], np.ndarray]
    borders: Sequence[raster.Segment] = ()

    @property
    def aspect(self) -> float:
        """Height by width."""
        return (self.box[3] - self.box[1]) / (self.box[2] - self.box[0])


@dataclass(frozen=True)
class PanelGroup:
    """A stage or a layer: a title, the lines below it, and its panels."""

    title: str
    lines: tuple[str, ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Row:
    """The groups of one strategy, in the colour of its borders."""

    heading: str
    groups: tuple[PanelGroup, ...]
    colour: str = "black"


@dataclass(frozen=True)
class FigureSpec:
    """A whole drawing: rows, the texts below them (a head and its text), and a scale of colours, if any."""

    rows: tuple[Row, ...]
    texts: tuple[tuple[str, str], ...]
    notes: tuple[str, ...] = ()
    scale: "Scale | None" = None


@dataclass(frozen=True)
class Scale:
    """What colours mean: shares from `low` to `high`, on a logarithmic scale, and in words.

    Attributes:
        strength: How much of a pixel is colour; the rest is the picture in grey.
    """

    low: float
    high: float
    words: str
    strength: float = 0.75

    def of(self, shares: np.ndarray) -> np.ndarray:
        """The colours of shares [n]: [n, 3], from 0 to 1."""
        from matplotlib import colormaps

        from pdrop_eval.report.figures.style import SEQUENTIAL

        clipped = np.clip(shares, self.low, self.high)
        place = np.log(clipped / self.low) / np.log(self.high / self.low)
        return np.asarray(colormaps[SEQUENTIAL](place))[:, :3]


def retained_panels(
    images: Sequence[Image.Image], grids: Sequence[Grid], retained: Sequence[bool]
) -> tuple[Panel, ...]:
    """A panel for each grid, with the patches of dropped tokens veiled. retained: [tokens], in order."""
    return tuple(
        _one_panel(images, grids, number, partial(_veiled, flags=flags), raster.outline(grid, flags))
        for number, (grid, flags) in enumerate(zip(grids, _by_grid(grids, retained), strict=True))
    )


def share_panels(
    images: Sequence[Image.Image], grids: Sequence[Grid], shares: np.ndarray, scale: Scale
) -> tuple[Panel, ...]:
    """A panel for each grid, coloured by its tokens' shares of attention. shares: [tokens], in order."""
    return tuple(
        _one_panel(images, grids, number, partial(_coloured, colours=scale.of(part), strength=scale.strength))
        for number, part in enumerate(_by_grid(grids, shares))
    )


def plain_panels(images: Sequence[Image.Image], grids: Sequence[Grid]) -> tuple[Panel, ...]:
    """A panel for each grid with the picture as it is."""
    return tuple(
        _one_panel(images, grids, number, lambda pixels, tokens: pixels) for number in range(len(grids))
    )


def newlines(grids: Sequence[Grid]) -> np.ndarray:
    """Which tokens stand for no place: [tokens] bool."""
    return np.array([grid.cell(token) is None for grid in grids for token in range(grid.tokens)], dtype=bool)


def _one_panel(
    images: Sequence[Image.Image], grids: Sequence[Grid], number: int,
    colour: Callable[[np.ndarray, np.ndarray], np.ndarray], borders: Sequence[raster.Segment] = (),
) -> Panel:  # fmt: skip
    grid = grids[number]
    image = images[grid.image]
    box = raster.extent(image.size, grid)

    def paint(width: int, height: int) -> np.ndarray:
        pixels = raster.within(image, box, width, height)
        return colour(pixels, raster.tokens_at(grid, box, width, height))

    return Panel(_name(grid, len(images)), box, image.size, paint, borders)


def _veiled(pixels: np.ndarray, tokens: np.ndarray, flags: Sequence[bool]) -> np.ndarray:
    return raster.veiled(pixels, tokens, flags)


def _coloured(pixels: np.ndarray, tokens: np.ndarray, colours: np.ndarray, strength: float) -> np.ndarray:
    return raster.coloured(pixels, tokens, colours, strength)


def _name(grid: Grid, images: int) -> str:
    which = [f"picture {grid.image + 1}"] if images > 1 else []
    return ", ".join([*which, *([grid.part] if grid.part in (OVERVIEW, TILES) else [])])


def _by_grid(grids: Sequence[Grid], values: Any) -> list[Any]:
    """The values of all tokens, cut into those of each grid."""
    ends = np.cumsum([grid.tokens for grid in grids]).tolist()
    if ends[-1] != len(values):
        raise ValueError(f"{len(values)} values for the {ends[-1]} tokens of the grids")
    return [values[end - grid.tokens : end] for grid, end in zip(grids, ends, strict=True)]
