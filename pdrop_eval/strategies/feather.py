"""FEATHER: two drops by attention without positions, and evenly spaced tokens beside it at the first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.engine.schedule import complement, tokens_per_layer
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.depth import earlier_note, scaled
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.strategies.last_row import image_attention
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number, check_whole

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Feather(InsideStrategy):
    """FEATHER (Endo et al., ICCV 2025, arXiv 2412.13180).

    Before each of two layers, image tokens are ranked by the attention of the last prompt token in the layer
    before, without RoPE: with it, late tokens win by where they stand. The softmax runs over the image tokens
    only, mean over heads. At the first drop the share keep = 1 - R with the most attention stays, and every
    3rd row and column of the grid beside it; at the second, of all alive, grid tokens too, the share keep^2,
    as the code does it (a comment there says otherwise). Official code: github.com/markendo/FEATHER, commit
    c2a09b2, "no_rope_s=3".

    How many tokens the first drop leaves depends on how many of the evenly spaced ones are among the best:
    the sample decides. A schedule, and so a budget, is of the most that can be left; of several images, with
    the evenly spaced tokens of each.

    Deliberate differences from the official code:

    - Image tokens are found, of several images at any place: all are ranked together, and each image has a
      grid of its own. The official code takes one image, and its backbone is a Prismatic model of 729 tokens.
    - Rows of a batch may differ. Equal scores go to the earlier token.
    - Labels are refused: the last row would look at the answer.

    Attributes:
        layers: the two drops, before these layers of the model itself; None: what the preset says, or 8 and
            16 of 32, scaled to the depth.
        r: R, in [0, 1]; None: .7, or what the preset says. int(alive·(1 - R)) stay, in floats.
        stride: of the evenly spaced rows and columns, from 0.
        positions: "keep" (the official way) or "renumber".
        preset: None, or one of `presets`: ours, a mean over 32 layers of at most 192, 128 and 64 of 576
            tokens. The paper has none; its own setting, R = .7 at 8 and 16, comes to at most 213.5.
    """

    layers: Sequence[int] | None = None
    r: float | None = None
    stride: int = 3
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "feather"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "FEATHER"
    paper: ClassVar[str] = "Endo et al., ICCV 2025, arXiv 2412.13180"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#B22222", "dark": "#f08a8a", "marker": "^", "linestyle": "-", "order": 6
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("layers {layers}", "R={r}", "preset {preset}")
    solved_fields: ClassVar[tuple[str, ...]] = ("r", "preset")
    layout_fields: ClassVar[tuple[str, ...]] = ("layers",)
    adaptive: ClassVar[bool] = True
    needs_grid: ClassVar[bool] = True
    bounded: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"layers": (8, 16), "r": 0.801},
        "128": {"layers": (2, 8), "r": 0.594},
        "64": {"layers": (2, 8), "r": 0.865},
    }
    paper_layers: ClassVar[tuple[int, ...]] = (8, 16)

    def __post_init__(self) -> None:
        self.prepare({"layers": None, "r": 0.7})
        check_number("r", self.r, low=0, high=1)
        check_whole("stride", self.stride, 1)
        check_positions(self.positions)
        if self.layers is not None and len(self.layers) != 2:
            raise UserError(
                f"layers={list(self.layers)} is not allowed: FEATHER drops twice, so give two layers, as "
                "[8,16]. One drop, or several alike, is strategy=fastv strategy.rope=false."
            )

    @property
    def keep(self) -> float:
        """1 - R, in floats as in the official code."""
        assert self.r is not None
        return 1 - self.r

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the two drops, each ranked by the layer before."""
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in self.layers_of(num_layers))

    def retained(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return the most that each drop can leave: no evenly spaced token is among the best.

        Args:
            num_layers: the model's depth.
            image_tokens: of one image, or of several alike.
            tile_tokens: of one of them; None: they are one image if that is a square, else the fewest alike.
        """
        first = min(image_tokens, int(image_tokens * self.keep) + self._spaced(image_tokens, tile_tokens))
        return first, int(first * self.keep**2)

    def schedule(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return the most image tokens that each layer can have; see `retained`."""
        layers, counts = self.layers_of(num_layers), self.retained(num_layers, image_tokens, tile_tokens)
        return tokens_per_layer(num_layers, layers, counts, image_tokens)

    def check_image(self, shape: TokenShape) -> None:
        """Refuse a grid that isn't square, beside a preset for other images."""
        super().check_image(shape)
        if shape.tiles > 1 or shape.newlines or isqrt(shape.tokens) ** 2 != shape.tokens:
            tiles = f" of {shape.tiles} tiles" if shape.tiles > 1 else ""
            raise not_square(f"an image has {shape.tokens} tokens{tiles} here")

    def select(self, context: SelectionContext) -> Selection:
        """Choose the best by attention, and at the first drop the evenly spaced tokens beside them."""
        from pdrop_eval.engine.stages import ops

        share = self.keep if context.drop == 0 else self.keep**2
        scores = image_attention(context)
        counts = ops.on_device([int(alive * share) for alive in context.alive], scores.device)
        chosen = ops.top_mask(scores, context.image, counts)
        if context.drop == 0:
            chosen = chosen | self._grid(context)
        return Selection(scores=scores, keep=chosen)

    def _grid(self, context: SelectionContext) -> "Tensor":
        """Return [b, n] bool: every 3rd row and column of each image's grid."""
        import torch

        ids = context.image_ids
        chosen = torch.zeros_like(context.image)
        for row, sides in enumerate(sides_of(context)):
            spaced = [torch.arange(side) % self.stride == 0 for side in sides]
            grids = [(one[:, None] & one).flatten() for one in spaced]
            if grids:
                chosen[row] = torch.cat(grids).to(ids.device)[ids[row].clamp(min=0)]
        return chosen & context.image

    def _spaced(self, image_tokens: int, tile_tokens: int | None) -> int:
        """Return how many evenly spaced tokens so many tokens of square images have."""
        counts = range(1, image_tokens + 1)
        if tile_tokens and image_tokens % tile_tokens == 0:
            counts = range(max(1, image_tokens // tile_tokens), image_tokens + 1)
        for images in counts:
            side = isqrt(image_tokens // images)
            if images * side**2 == image_tokens:
                return images * len(range(0, side, self.stride)) ** 2
        return 0  # no tokens at all

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return drops before 8 and 16 of 32 layers; where they can't cost so little, 2 and 8, then 1, 2."""
        given = fields.pop("layers", None)
        if given is not None:
            return [Layout(partial(_keeping, cls, tuple(given), fields))]
        usual, early = scaled(cls.paper_layers, num_layers), scaled((2, 8), num_layers)
        said = earlier_note(usual)
        places = [(usual, ""), (early, said), ((1, 2), said)]
        return [Layout(partial(_keeping, cls, layers, fields), words) for layers, words in places]


def sides_of(context: SelectionContext) -> list[list[int]]:
    """Return, per row, the side of the square grid of each image.

    Raises:
        UserError: an image without one.
    """
    places = context.places() if context.places is not None else None
    images = context.image.tolist() if places is None or None in places else []
    found = []
    for row, count in enumerate(context.image_tokens):
        known = None if places is None else places[row]
        if known is None:  # a bare decoder: image tokens that stand together are an image
            lengths = [len(run) for run in "".join("x" if one else " " for one in images[row]).split()]
            grids = [(isqrt(length), isqrt(length), length) for length in lengths]
        else:
            grids = [(*one.side, len(one.sources)) for one in known]
        for rows, columns, length in grids:
            if rows != columns or rows * columns != length:
                raise not_square(f"row {row} has an image of {length} tokens")
        found.append([rows for rows, _, _ in grids] if count else [])
    return found


def not_square(what: str) -> UserError:
    """Return the error of an image whose tokens are no square grid."""
    return UserError(
        f"FEATHER takes evenly spaced tokens of a square grid, and {what}, which are none: use a model with "
        "one square tile an image, such as LLaVA-1.5, or strategy=fastv strategy.rope=false without a grid."
    )


def _keeping(cls: type[Feather], layers: tuple[int, ...], fields: dict[str, Any], share: float) -> Feather:
    return cls(layers=layers, r=complement(share), **fields)
