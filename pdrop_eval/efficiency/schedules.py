"""What a strategy makes of a model's layers, whichever side of the decoder it acts on. Needs no torch."""

from typing import Any

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.models.towers.encoded import TokenShape


def schedule_of(
    strategy: Any, num_layers: int, image_tokens: int, tile_tokens: int | None = None
) -> tuple[int, ...]:
    """Return the image tokens of each layer.

    Args:
        strategy: the strategy.
        num_layers: the model's depth.
        image_tokens: before any drop.
        tile_tokens: those of a tile; None or 0 where they aren't known.

    Raises:
        UserError: the strategy doesn't fit the model, or has no schedule before a run.
    """
    by_image = getattr(strategy, "reducer", None) is not None or getattr(strategy, "needs_grid", False)
    tiles = {"tile_tokens": tile_tokens} if by_image else {}
    return tuple(strategy.schedule(num_layers, image_tokens, **tiles))


def entering(strategy: Any, image_tokens: int, tile_tokens: int | None = None) -> int:
    """Return how many of an image's tokens are left when the decoder begins.

    Args:
        strategy: the strategy, with counts that are known before a run.
        image_tokens: before any drop.
        tile_tokens: those of a tile; None or 0 where they aren't known.
    """
    if getattr(strategy, "reducer", None) is None:
        return image_tokens
    return int(strategy.entering(image_tokens, tile_tokens))


def choosing_of(
    strategy: Any, sizes: Architecture, image_tokens: int, tiles: int, left: int | None = None
) -> int:
    """Return the multiply-adds of choosing an image's tokens before the decoder; 0 where nothing is chosen.

    Args:
        strategy: the strategy.
        sizes: of the model.
        image_tokens: of the sample.
        tiles: that the vision tower sees.
        left: image tokens that were left of the sample, where that was measured: what a strategy pays for
            each of them counts then, too.
    """
    reducer = getattr(strategy, "reducer", None)
    if reducer is None or not image_tokens:
        return 0
    shape = TokenShape.of(image_tokens, sizes.tile_tokens, tiles)
    made = 0 if left is None or has_schedule(strategy) else reducer.making_flops(left, shape, sizes)
    return int(reducer.choosing_flops(shape, sizes) + made)


def notes_of(strategy: Any, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> list[str]:
    """Return what a strategy's settings come to on a model, in sentences; see `Strategy.notes`.

    Args:
        strategy: the strategy.
        num_layers: the model's depth.
        image_tokens: before any drop.
        tile_tokens: those of a tile, which one that acts on both sides has to know.
    """
    tiles = {"tile_tokens": tile_tokens} if hasattr(strategy, "second") else {}
    return list(strategy.notes(num_layers, image_tokens, **tiles))


def has_schedule(strategy: Any) -> bool:
    """Tell whether the strategy's counts are known before a run."""
    return not any(getattr(one, "adaptive", False) for one in (strategy, getattr(strategy, "reducer", None)))
