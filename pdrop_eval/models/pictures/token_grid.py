"""Where on an image its image tokens lie, by what LLaVA's processors make of it. Needs no torch.

LLaVA-1.5 sees one square: the whole picture stretched, its middle, or the picture padded to a square.
LLaVA-NeXT sees an overview, the whole picture stretched to a tile, and then the picture in a grid of tiles:
resized with its shape kept, padded to the grid, and cut. The rows and columns of tokens that see nothing but
padding are taken out again, and each row gets a newline token at its end.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
WHOLE, OVERVIEW, TILES = "whole", "overview", "tiles"


@dataclass(frozen=True)
class Grid:
    """A rectangle of image tokens, row by row.

    Attributes:
        image: which of the sample's images it is on, from 0.
        part: "whole" (LLaVA-1.5's square), "overview" or "tiles".
        box: left, top, right, bottom in pixels of the image as it was given; it may reach beyond the image
            (padding) or leave parts of it out (a cut).
        rows: rows of tokens.
        columns: columns of tokens.
        newline: each row ends with a token of no place.
    """

    image: int
    part: str
    box: Box
    rows: int
    columns: int
    newline: bool = False

    @property
    def tokens(self) -> int:
        """How many there are, newline tokens included."""
        return self.rows * (self.columns + self.newline)

    def cell(self, number: int) -> Box | None:
        """Return the box of the grid's token `number`; None for a newline.

        Raises:
            IndexError: beyond its tokens.
        """
        if not 0 <= number < self.tokens:
            raise IndexError(f"token {number} of a grid of {self.tokens}")
        row, column = divmod(number, self.columns + self.newline)
        if column == self.columns:
            return None
        left, top, right, bottom = self.box
        width, height = (right - left) / self.columns, (bottom - top) / self.rows
        return (
            left + column * width,
            top + row * height,
            left + (column + 1) * width,
            top + (row + 1) * height,
        )

    def to_list(self) -> list:
        """Return it as a record has it: image, part, left, top, right, bottom, rows, columns, newline."""
        return [self.image, self.part, *self.box, self.rows, self.columns, self.newline]

    @classmethod
    def from_list(cls, values: Sequence) -> "Grid":
        """Return the grid of a record."""
        image, part, left, top, right, bottom, rows, columns, newline = values
        return cls(image, part, (left, top, right, bottom), rows, columns, newline)


@dataclass(frozen=True)
class Geometry:
    """What a processor of LLaVA does to the shape of an image.

    Attributes:
        tile: pixels of the vision tower's side.
        patch: pixels of a token's side.
        resolutions: (height, width) of LLaVA-NeXT's grids; None for LLaVA-1.5, to which alone `cut` and `pad`
            apply.
        cut: the shorter side becomes a tile and the middle is taken; otherwise the whole is stretched.
        pad: the image is padded to a square before all else.
        downsample: a factor by which each image is shrunk first.
        most_tiles: LLaVA-OneVision's: the tokens of more tiles are interpolated to as many as these have;
            None: all stay.
    """

    tile: int
    patch: int
    resolutions: tuple[tuple[int, int], ...] | None = None
    cut: bool = False
    pad: bool = False
    downsample: int = 1
    most_tiles: int | None = None

    def grids(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """Return the grids of a sample's images of (width, height), whose tokens follow each other."""
        return [grid for image, size in enumerate(sizes) for grid in self._of_one(image, *size)]

    def tiles(self, width: int, height: int) -> int:
        """Return the tiles that the vision tower sees of an image, the overview included."""
        if self.resolutions is None:
            return 1
        seen = max(1, height // self.downsample), max(1, width // self.downsample)
        high, wide = best_resolution(seen, self.resolutions)
        return 1 + (high // self.tile) * (wide // self.tile)

    def _of_one(self, image: int, width: int, height: int) -> list[Grid]:
        seen = max(1, width // self.downsample), max(1, height // self.downsample)
        side = self.tile // self.patch
        if self.resolutions is None:
            found = [Grid(image, WHOLE, self._square(*seen), side, side)]
        else:
            overview = Grid(image, OVERVIEW, (0.0, 0.0, float(seen[0]), float(seen[1])), side, side)
            found = [overview, self._tiles(image, *seen)]
        across, down = width / seen[0], height / seen[1]
        return [
            replace(g, box=(g.box[0] * across, g.box[1] * down, g.box[2] * across, g.box[3] * down))
            for g in found
        ]

    def _square(self, width: int, height: int) -> Box:
        if not (self.pad or self.cut):
            return 0.0, 0.0, float(width), float(height)
        side = max(width, height) if self.pad else min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side

    def _tiles(self, image: int, width: int, height: int) -> Grid:
        """Return the tokens of the tiles that are left when those of padding alone are taken out.

        The counts follow transformers' own rounding (`unpad_image` of LLaVA-NeXT); the box is exact.
        """
        assert self.resolutions is not None
        high, wide = best_resolution((height, width), self.resolutions)
        side = self.tile // self.patch  # a tile may be more than its patches cover
        rows, columns = high // self.tile * side, wide // self.tile * side
        top = left = 0
        if width / height > columns / rows:
            top = (rows - int(round(height * (columns / width), 7))) // 2
        else:
            left = (columns - int(round(width * (rows / height), 7))) // 2
        scale = min(wide / width, high / height)
        new_wide = wide if wide / width < high / height else min(math.ceil(width * scale), wide)
        new_high = high if wide / width >= high / height else min(math.ceil(height * scale), high)
        across, down = width / new_wide, height / new_high
        before, above = (wide - new_wide) // 2, (high - new_high) // 2

        step = self.tile / side

        def place(column: int, row: int) -> tuple[float, float]:
            return (column * step - before) * across, (row * step - above) * down

        box = (*place(left, top), *place(columns - left, rows - top))
        shape = self._interpolated(rows - 2 * top, columns - 2 * left, side)
        return Grid(image, TILES, box, *shape, newline=True)

    def _interpolated(self, rows: int, columns: int, side: int) -> tuple[int, int]:
        """Return the rows and columns that are left where there are more than those of `most_tiles`."""
        if self.most_tiles is None:
            return rows, columns
        ratio = math.sqrt(rows * columns / (self.most_tiles * side**2))
        return (int(rows // ratio), int(columns // ratio)) if ratio > 1.1 else (rows, columns)


def best_resolution(size: tuple[int, int], resolutions: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the (height, width) that keeps most of an image of `size`, and of these the least padding.

    The first one wins a tie, as in transformers' `select_best_resolution`.
    """

    def worth(resolution: tuple[int, int]) -> tuple[int, int]:
        scale = min(resolution[1] / size[1], resolution[0] / size[0])
        kept = min(int(size[1] * scale) * int(size[0] * scale), size[0] * size[1])
        return kept, kept - resolution[0] * resolution[1]

    return max(resolutions, key=worth)


def cells(grids: Sequence[Grid]) -> list[tuple[int, Box | None]]:
    """Return, for each image token in order, which of the grids it is of, and its box; None for a newline."""
    return [(number, grid.cell(token)) for number, grid in enumerate(grids) for token in range(grid.tokens)]
