"""Layers that a paper names, in models of another depth. Needs no torch."""

from collections.abc import Sequence

from pdrop_eval.utils.errors import UserError

DEPTH = 32  # of LLaVA-1.5-7B and LLaVA-NeXT-7B, for which papers name their layers


def scaled(layers: Sequence[int], num_layers: int, depth: int = DEPTH) -> tuple[int, ...]:
    """Return a paper's drop layers in a model of another depth: floor(l·L/depth), at least 1, and rising.

    A layer that would fall on the one before it, or before that, comes one after it.

    Args:
        layers: as the paper names them, rising.
        num_layers: L, the model's depth.
        depth: of the paper's model.

    Raises:
        UserError: the model has fewer layers than there are drops.
    """
    found: list[int] = []
    for layer in layers:
        found.append(max(layer * num_layers // depth, found[-1] + 1 if found else 1))
    if found and found[-1] > num_layers:
        raise UserError(
            f"Drops before the layers {_list(layers)} of {depth} don't fit a model of {num_layers} layers, "
            f"which has room for {num_layers} at most: give the layers themselves, or take a deeper model."
        )
    return tuple(found)


def scaled_note(layers: Sequence[int], num_layers: int, depth: int = DEPTH) -> list[str]:
    """Return what a record says of layers that were scaled; nothing where the depth is the paper's."""
    if num_layers == depth:
        return []
    now = scaled(layers, num_layers, depth)
    one = len(layers) == 1
    return [
        f"Layer{'' if one else 's'} {_list(layers)} of the paper's {depth} {'is' if one else 'are'} "
        f"{_list(now)} of {num_layers} here (l·{num_layers}/{depth}, rounded down, at least 1, rising)."
    ]


def earlier_note(layers: Sequence[int]) -> str:
    """Return why a budget moves drops: what a record says of a layout that isn't the usual one.

    Args:
        layers: the usual drop layers, which a budget is too small for.
    """
    many = len(layers) > 1
    return (
        f"{'Drops' if many else 'A drop'} before {'layers' if many else 'layer'} {_list(layers)} can't reach "
        f"that, so {'they come' if many else 'it comes'} earlier."
    )


def _list(layers: Sequence[int]) -> str:
    return ", ".join(map(str, layers))
