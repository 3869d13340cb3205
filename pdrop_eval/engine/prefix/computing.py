"""Computes prefixes: the layers before the first drop, on the first tokens of some rows."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from pdrop_eval.engine.before_decoder.added import AddedFeatures
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.engine.prefix.cache import Prefix
from pdrop_eval.engine.prefix.suffix import Row
from pdrop_eval.engine.stages import ops
from pdrop_eval.models.kv_cache import NAMES

if TYPE_CHECKING:
    from pdrop_eval.engine.prefix.sharing import Sharing

STATE = "pdrop_state"  # the keyword argument in which a forward's state travels down to the layers
_TOGETHER = 4  # prefixes that are computed at once; what more of them bring, a processor's caches lose


def groups(rows: Sequence[tuple[int, Row]], hidden: Tensor) -> list[list[tuple[int, Row]]]:
    """Return which prefixes are computed together: on a processor in float32 a few of one length.

    Elsewhere each is computed alone. Where numbers are rounded to 16 bits, it has to be the same whatever
    else there is to compute: a run that resumes knows other prefixes.

    Args:
        rows: those whose prefix isn't known, with their numbers in the batch.
        hidden: what enters the decoder.
    """
    if hidden.dtype != torch.float32 or hidden.device.type != "cpu":
        return [[row] for row in rows]
    found: list[list[tuple[int, Row]]] = []
    open_: dict[int, list[tuple[int, Row]]] = {}
    for number, row in rows:
        group = open_.get(row.length)
        if group is None or len(group) == _TOGETHER:
            group = open_[row.length] = []
            found.append(group)
        group.append((number, row))
    return found


def computed(
    sharing: "Sharing", group: Sequence[tuple[int, Row]], hidden: Tensor, kwargs: dict[str, Any],
    added: AddedFeatures | None,
) -> dict[Hashable, Prefix]:  # fmt: skip
    """Return the prefixes of m rows, all of one length P, by key.

    Args:
        sharing: says which layers, and which of their states are kept.
        group: of `groups`.
        hidden: [b, n, d], entering layer 0.
        kwargs: of layer 0.
        added: what the first layers are followed by.
    """
    length, numbers = group[0][1].length, [number for number, _ in group]
    owns = [slice(row.first, row.first + length) for _, row in group]
    states = torch.stack([hidden[number, own] for number, own in zip(numbers, owns, strict=True)])
    cache, mine = DynamicCache(), None if added is None else added.of_rows(numbers)
    given = _arguments(kwargs, cache, states, numbers, owns, mask_kind(sharing.attention))
    columns = torch.stack([torch.arange(own.start, own.stop, device=hidden.device) for own in owns])
    kept = {}
    for layer in range(sharing.layers):
        if layer in sharing.states:
            kept[layer] = states.clone()
        output = sharing.modules[layer](states, **given)
        states = output[0] if isinstance(output, tuple) else output
        if mine is not None:
            states = mine.after(layer, states, columns)
    if sharing.layers in sharing.states:
        ends = sharing.layers == len(sharing.modules)
        kept[sharing.layers] = sharing.final_norm(states) if ends else states
    layers: Any = cache.layers[: sharing.layers]
    return {
        row.key: Prefix(
            tuple(_alone(layer.keys, place) for layer in layers),
            tuple(_alone(layer.values, place) for layer in layers),
            {layer: _alone(part, place) for layer, part in kept.items()},
        )
        for place, (_, row) in enumerate(group)
    }


def _arguments(
    kwargs: dict[str, Any], cache: Any, states: Tensor, numbers: Sequence[int], owns: Sequence[slice],
    kind: str,
) -> dict[str, Any]:  # fmt: skip
    """Return what the layers are given, of what they are given for the whole batch."""
    length = states.shape[1]
    given = {
        **kwargs, "attention_mask": ops.layer_mask(kind, None, length, length, states), "position_ids": None,
        "position_embeddings": tuple(_of_rows(part, numbers, owns) for part in kwargs["position_embeddings"]),
        STATE: _Alone(), **{name: cache for name in NAMES if kwargs.get(name) is not None},
    }  # fmt: skip
    if given.get("cache_position") is not None:
        given["cache_position"] = given["cache_position"][:length]
    return given


class _Alone:
    """The state of layers that compute a prefix: nothing is changed on their way."""

    def enter_layer(self, number: int, layer: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Return the hidden states as they are."""
        return hidden


def _of_rows(rotary: Tensor, numbers: Sequence[int], owns: Sequence[slice]) -> Tensor:
    """Return cos or sin [..., m, P, e] of some rows' own columns, of [..., b or 1, n, e]."""
    rows = [0] * len(numbers) if rotary.shape[-3] == 1 else numbers
    parts = [
        rotary.narrow(-3, row, 1).narrow(-2, own.start, own.stop - own.start)
        for row, own in zip(rows, owns, strict=True)
    ]
    return torch.cat(parts, dim=-3)


def _alone(parts: Tensor, place: int) -> Tensor:
    """Return one row of [m, ...] as [1, ...], in memory of its own."""
    return parts if len(parts) == 1 else parts[place : place + 1].clone()
