"""Pool: neighbouring image tokens become one; a control that looks at nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy
from pdrop_eval.strategies.presets import check_preset, fill
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_setting

if TYPE_CHECKING:
    from torch import Tensor

MODES = ("average", "bilinear", "bilinear_antialias")


@dataclass
class Pool(BeforeStrategy):
    """Pools the grid of a tile's tokens to a smaller one: a control without any choice.

    Source: none; the papers that pool for a baseline publish no code. The maths is PyTorch's own.
    It works on the tokens after the projector, tile by tile; the tiles follow each other, the overview first,
    those on padding included and without newlines.

    Attributes:
        grid: rows and columns of the smaller grid of a tile; None: 8 x 8, or what the preset says.
        mode: "average": adaptive average pooling, windows overlap where the grid doesn't divide; "bilinear":
            interpolated between the 4 nearest tokens, so 24 to 8 takes every block's middle token;
            "bilinear_antialias": the same, over all tokens under the new one.
        preset: None, or one of `presets`: a number of tokens of LLaVA-1.5's 576, or `next_` and one of
            LLaVA-NeXT's 2,880.
    """

    grid: Sequence[int] | None = None
    mode: str = "average"
    preset: str | None = None
    name: ClassVar[str] = "pool"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "Pooling"
    label_fields: ClassVar[tuple[str, ...]] = ("{mode}", "grid {grid}")
    merged: ClassVar[str] = "neighbouring tokens, pooled to a smaller grid"
    solved_fields: ClassVar[tuple[str, ...]] = ("grid", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"grid": (12, 16)},
        "128": {"grid": (8, 16)},
        "64": {"grid": (8, 8)},
        "next_640": {"grid": (8, 16)},
        "next_320": {"grid": (8, 8)},
        "next_160": {"grid": (4, 8)},
    }
    needs = Needs(projected=True)

    def __post_init__(self) -> None:
        if isinstance(self.grid, Sequence) and not isinstance(self.grid, str):
            self.grid = tuple(self.grid)
        fill(self, {"grid": (8, 8)})
        check_setting("mode", self.mode, MODES)
        sides = self.grid if isinstance(self.grid, tuple) else ()
        if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
            raise UserError(
                f"grid={self.grid!r} is not allowed: use rows and columns from 1 up, such as (8, 8)."
            )

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the smaller grid."""
        assert self.grid is not None
        return self.grid[0], self.grid[1]

    def retained_count(self, shape: TokenShape) -> int:
        """Return the places of the grid, for every tile."""
        return shape.tiles * self.size[0] * self.size[1]

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse a grid that is larger than a tile's, and a preset for other tiles."""
        check_preset(self, shape)
        side = round(shape.patches**0.5)
        if max(self.size) > side and side**2 == shape.patches:
            raise UserError(
                f"grid={self.size} is not allowed: a tile has {side} x {side} tokens, so use rows and "
                f"columns from 1 to {side}."
            )

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> Pool:
        """Return the grid with the most places up to the count, the squarest of them."""
        each, side = max(1, count // shape.tiles), max(1, int(shape.patches**0.5))
        grids = [(rows, min(side, each // rows)) for rows in range(1, min(side, each) + 1)]
        grid = max(grids, key=lambda one: (one[0] * one[1], -abs(one[0] - one[1]), -one[0]))
        return cls(grid=grid, **fields)

    def reduce(self, view: ImageView) -> Reduced:
        """Return the pooled tokens of all tiles."""
        import torch

        tokens = pooled(view.projected, view.side, self.size, self.mode).flatten(0, 1)
        if self.size == view.side and view.shape.tokens == len(tokens):
            return view.take(torch.arange(len(tokens)))  # nothing is pooled
        return Reduced(tokens, torch.full((len(tokens),), -1, device=tokens.device))


def pooled(tokens: Tensor, side: tuple[int, int], size: tuple[int, int], mode: str) -> Tensor:
    """Pool grids of tokens.

    Args:
        tokens: [P, rows·columns, d], row by row.
        side: rows and columns.
        size: those of the smaller grid.
        mode: one of `MODES`.

    Returns:
        [P, size[0]·size[1], d], row by row.
    """
    from torch.nn import functional

    grid = tokens.transpose(1, 2).unflatten(2, side)
    if mode == "average":
        small = functional.adaptive_avg_pool2d(grid, size)
    else:
        antialias = mode == "bilinear_antialias"
        small = functional.interpolate(
            grid, size=size, mode="bilinear", align_corners=False, antialias=antialias
        )
    return small.flatten(2).transpose(1, 2)
