"""The canvas of tiles that InternVL's processor stretches an image to, and its grids. Needs no torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from pdrop_eval.models.pictures.token_grid import OVERVIEW, TILES, WHOLE, Grid


@dataclass(frozen=True)
class CanvasLayout:
    """Where the tokens of images lie that are cut into tiles, row by row, with a thumbnail at the end.

    Attributes:
        tile: pixels of a tile's side.
        rows: of tokens in a tile, and as many columns.
        most_tiles: that an image is cut into, without the thumbnail.
        downsample: a factor by which each image is shrunk first.
    """

    tile: int
    rows: int
    most_tiles: int
    downsample: int = 1

    def grids(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """Return the grids of a sample's images of (width, height): a tile is one."""
        return [grid for image, size in enumerate(sizes) for grid in self._of_one(image, *size)]

    def _of_one(self, image: int, width: int, height: int) -> list[Grid]:
        seen = max(1, height // self.downsample), max(1, width // self.downsample)
        down, across = canvas(*seen, self.tile, self.most_tiles)
        whole = (0.0, 0.0, float(width), float(height))
        if down * across == 1:
            return [Grid(image, WHOLE, whole, self.rows, self.rows)]
        high, wide = height / down, width / across
        tiles = [
            Grid(image, TILES, (c * wide, r * high, (c + 1) * wide, (r + 1) * high), self.rows, self.rows)
            for r in range(down)
            for c in range(across)
        ]
        return [*tiles, Grid(image, OVERVIEW, whole, self.rows, self.rows)]


def canvas(height: int, width: int, tile: int, most: int) -> tuple[int, int]:
    """Return (rows, columns) of the tiles whose canvas is nearest to an image in shape.

    Of equally near ones, a larger canvas wins while its area is less than twice the image's, as in
    transformers' `get_optimal_tiled_canvas`.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        tile: pixels of a tile's side.
        most: tiles at most.
    """
    shapes = [(w, h) for w in range(1, most + 1) for h in range(1, most + 1) if w * h <= most]
    best, least = (1, 1), float("inf")
    for across, down in sorted(shapes, key=lambda shape: shape[0] * shape[1]):
        distance = abs(width / height - across / down)
        larger = width * height > 0.5 * tile * tile * across * down
        if distance < least or (distance == least and larger):
            best, least = (across, down), distance
    return best[1], best[0]
