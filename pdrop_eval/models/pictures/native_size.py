"""The size at which Qwen's processors show a picture to the model, and its grid of tokens. Needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pdrop_eval.models.pictures.token_grid import WHOLE, Grid

MOST_STRETCHED = 200  # the longer side may be so many times the shorter one


@dataclass(frozen=True)
class NativeLayout:
    """Where the tokens of pictures lie that keep their shape, each one grid.

    Attributes:
        side: pixels of a token's side, of the resized picture.
        least: pixels that a picture has at least.
        most: pixels that a picture has at most.
        downsample: a factor by which each picture is shrunk first.
    """

    side: int
    least: int
    most: int
    downsample: int = 1

    def grids(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """Return the grids of a sample's pictures of (width, height)."""
        found = []
        for image, (width, height) in enumerate(sizes):
            seen = max(1, height // self.downsample), max(1, width // self.downsample)
            rows, columns = (n // self.side for n in resized(*seen, self.side, self.least, self.most))
            found.append(Grid(image, WHOLE, (0.0, 0.0, float(width), float(height)), rows, columns))
        return found


def resized(height: int, width: int, side: int, least: int, most: int) -> tuple[int, int]:
    """Return the (height, width) that a picture is resized to: multiples of `side`, its shape nearly kept.

    As `smart_resize` of transformers' Qwen2-VL.

    Args:
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        side: of a token, in pixels.
        least: pixels that it has afterwards at least.
        most: pixels that it has afterwards at most.

    Raises:
        ValueError: a picture that is stretched too much.
    """
    if max(height, width) > MOST_STRETCHED * min(height, width):
        raise ValueError(
            f"a picture of {width}x{height} pixels is longer than {MOST_STRETCHED} times its width, which "
            "the processor refuses"
        )
    high, wide = (round(n / side) * side for n in (height, width))
    if high * wide > most:
        factor = math.sqrt(height * width / most)
        high, wide = (max(side, math.floor(n / factor / side) * side) for n in (height, width))
    elif high * wide < least:
        factor = math.sqrt(least / (height * width))
        high, wide = (math.ceil(n * factor / side) * side for n in (height, width))
    return high, wide
