"""LLaVA-NeXT's grids of tiles: the resolutions that an image may be cut into. Needs no torch.

An image is resized to the grid that keeps most of it, cut into tiles of the vision tower's size, and one
overview of the whole is put before them. The number of tiles of the largest grid, plus the overview, is what
the PyramidDrop paper calls "#patches": p5 and p9.
"""

from collections.abc import Sequence
from itertools import product
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import shortened

# Rows and columns. LLaVA-NeXT's own grids, in its order: at most 4 tiles.
_P5 = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
# At most 8 tiles. The paper doesn't list the grids of its p9, so these are all that there are, p5's first;
# the single tile stays out, as in p5.
_P9 = (*_P5, *sorted(set(_P5) ^ {g for g in product(range(1, 9), repeat=2) if 2 <= g[0] * g[1] <= 8}))
GRIDS = {"p5": _P5, "p9": _P9}


def pinpoints(anyres: Any, tile: int) -> list[list[int]] | None:
    """Return the resolutions [height, width] of a setting; None for the checkpoint's own.

    Args:
        anyres: None, "p5", "p9" or a list of resolutions.
        tile: pixels of a tile's side.

    Raises:
        UserError: anything else.
    """
    if anyres is None:
        return None
    if isinstance(anyres, str):
        if anyres not in GRIDS:
            raise _wrong(anyres, tile)
        return [[rows * tile, columns * tile] for rows, columns in GRIDS[anyres]]
    try:
        resolutions = [[height, width] for height, width in anyres]
    except (TypeError, ValueError):
        raise _wrong(anyres, tile) from None
    sides = [side for resolution in resolutions for side in resolution]
    if not sides or any(type(side) is not int or side < tile or side % tile for side in sides):
        raise _wrong(anyres, tile)
    return resolutions


def check_grids(pretrained: str, name: str, grids: Any) -> None:
    """Refuse what isn't a list of resolutions (height, width) in a checkpoint's config.json.

    Args:
        pretrained: the checkpoint as the user named it.
        name: of the field.
        grids: its value.

    Raises:
        UserError: with the field.
    """
    pairs: list[Any] = grids if isinstance(grids, list) else []
    kinds = [[type(side) for side in pair] for pair in pairs if isinstance(pair, list)]
    whole = bool(pairs) and kinds == [[int, int]] * len(pairs)
    if not whole or any(side < 1 for pair in pairs for side in pair):
        raise UserError(
            f"The config.json of {pretrained} has {name}={shortened(grids)}, no list of pairs of a height "
            "and a width. Copy the checkpoint again."
        )


def patches(resolutions: Sequence[Sequence[int]], tile: int) -> int:
    """Return the tiles of the largest grid and the overview: 5 for p5, 9 for p9."""
    return 1 + max((height // tile) * (width // tile) for height, width in resolutions)


def tile_size(config: dict[str, Any]) -> int:
    """Return the pixels of a tile's side, by a checkpoint's config.json.

    Raises:
        UserError: a damaged one.
    """
    vision = config.get("vision_config", {})
    side = vision.get("image_size", 336) if isinstance(vision, dict) else None
    if type(side) is not int or side < 1:
        raise UserError("The checkpoint's config.json has no size of an image in its vision_config.")
    return side


def _wrong(anyres: Any, tile: int) -> UserError:
    return UserError(
        f"model.anyres={anyres} is not allowed. Use p5 (at most 4 tiles and the overview), p9 (at most 8), "
        f"null for the checkpoint's own, or resolutions in multiples of its {tile} pixels a tile, such as "
        f"[[{tile},{2 * tile}],[{2 * tile},{tile}]]."
    )
