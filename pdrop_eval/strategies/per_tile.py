"""The base of methods that retain `visual_token_num` patches of each tile, in the order of the image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import LAYOUTS, ImageView, Reduced
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.before import BeforeStrategy, check_count
from pdrop_eval.strategies.presets import check_preset, fill
from pdrop_eval.utils.validation import check_setting

if TYPE_CHECKING:
    from torch import Tensor

COUNTS = {"192": 192, "128": 128, "64": 64, "next_640": 128, "next_320": 64, "next_160": 32}  # of a tile


@dataclass
class PerTile(BeforeStrategy):
    """Retains T patches of each tile; a subclass says which.

    Attributes:
        visual_token_num: T, of each tile; None: 64, or what the preset says.
        layout: of several tiles. "official": the overview's patches, then the others row by row over the grid
            of tiles, those on padding included, without newlines. "packed": unpadded and with every newline,
            as the model packs them; only patches that the model itself takes are chosen from.
        preset: None, or one of `presets`: a number of tokens of LLaVA-1.5's 576, or `next_` and one of
            LLaVA-NeXT's 2,880.
    """

    visual_token_num: int | None = None
    layout: str = "official"
    preset: str | None = None
    label_fields: ClassVar[tuple[str, ...]] = ("T={visual_token_num}",)
    solved_fields: ClassVar[tuple[str, ...]] = ("visual_token_num", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        k: {"visual_token_num": v} for k, v in COUNTS.items()
    }

    def __post_init__(self) -> None:
        fill(self, {"visual_token_num": 64})
        check_count("visual_token_num", self.visual_token_num)
        check_setting("layout", self.layout, LAYOUTS)

    @property
    def count(self) -> int:
        """T, of a tile."""
        assert self.visual_token_num is not None
        return self.visual_token_num

    def retained_count(self, shape: TokenShape) -> int:
        """Return T for every tile; packed, at most what is left of it, and the newlines."""
        if self.layout == "official":
            return shape.tiles * min(self.count, shape.patches)
        return sum(min(self.count, seen) for seen in shape.seen) + shape.newlines

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than a tile has, and a preset for other tiles."""
        check_preset(self, shape)
        check_count("visual_token_num", self.visual_token_num, shape.patches)

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> Any:
        """Share the tokens out to the tiles; packed, the newlines come first."""
        if fields.get("layout") == "packed":
            count -= shape.newlines
        return cls(visual_token_num=max(1, count // shape.tiles), **fields)

    @abstractmethod
    def choose(self, view: ImageView, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chosen patches [P, N] bool, and scores [P, N] for drawings.

        Args:
            view: the image.
            seen: [P, N] bool, the patches to choose from.
        """

    def reduce(self, view: ImageView) -> Reduced:
        """Return the chosen patches after the projector."""
        import torch

        with torch.no_grad():
            chosen, scores = self.choose(view, seen_patches(view, self.layout))
        return view.take_patches(chosen, self.layout, scores)


def seen_patches(view: ImageView, layout: str) -> Tensor:
    """Return [P, N] bool: all patches, or those that the model itself takes where it packs them."""
    import torch

    tiles, patches = view.shape.tiles, view.shape.patches
    seen = torch.full((tiles, patches), layout == "official", device=view.tokens.device)
    seen[view.patch_places] = True
    return seen


def best(scores: Tensor, seen: Tensor, count: int) -> Tensor:
    """Mark the `count` best patches of each tile among those seen; ties go to the earlier one.

    Args:
        scores: [P, N].
        seen: [P, N] bool, from which to choose.
        count: how many; fewer where fewer are seen.

    Returns:
        [P, N] bool.
    """
    import torch

    order = scores.masked_fill(~seen, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return torch.zeros_like(seen).scatter(1, order[:, :count], True) & seen
