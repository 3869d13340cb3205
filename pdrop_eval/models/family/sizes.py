"""Sizes of vision towers and of images, as the families say them. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pdrop_eval.models.pictures.token_grid import Grid

NOMINAL_SIZE = (480, 640)  # (height, width): the picture of which families with tokens by size say a number


@dataclass(frozen=True)
class VisionSizes:
    """The sizes of a vision tower and projector that cost depends on; all 0 for a text model.

    Attributes:
        vision_layers: layers of the tower.
        vision_used: layers up to the one whose output is taken.
        vision_d: width.
        vision_m: width of the feed-forward.
        vision_heads: of its attention.
        vision_tokens: tokens of a tile in the tower: its patches and class tokens.
        patches: patches of a tile.
        tile_tokens: image tokens that a tile becomes.
        patch_inputs: values of a patch.
        feature_width: width of what enters the projector.
        vision_maps: linear maps of the feed-forward; 3 where it is gated.
        vision_merge: patches that are joined to a token; 1 where each is one. Where `tile_tokens` is 0, a
            whole picture is one tile, of any size.
        vision_window: patches to a window of attention; 0: each attends to all.
        vision_full: with windows, the layers that attend to all.
        projector_m: width inside of the projector; None: the decoder's; 0: it is one linear map.
        more_projectors: further projectors on all tokens, within the tower (DeepStack).
    """

    vision_layers: int = 0
    vision_used: int = 0
    vision_d: int = 0
    vision_m: int = 0
    vision_heads: int = 0
    vision_tokens: int = 0
    patches: int = 0
    tile_tokens: int = 0
    patch_inputs: int = 0
    feature_width: int = 0
    vision_maps: int = 2
    vision_merge: int = 1
    vision_window: int = 0
    vision_full: int = 0
    projector_m: int | None = None
    more_projectors: int = 0


@dataclass(frozen=True)
class ImageShape:
    """An image as the model sees it.

    Attributes:
        size: (height, width) in pixels.
        tiles: tiles that the vision tower sees.
        tokens: image tokens.
    """

    size: tuple[int, int]
    tiles: int
    tokens: int


class TokenLayout(Protocol):
    """Where on their images a checkpoint's image tokens lie."""

    def grids(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """Return the grids of images of (width, height), whose tokens follow each other in order."""
