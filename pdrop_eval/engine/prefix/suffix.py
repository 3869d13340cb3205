"""The layers before the first drop, on the rows behind a common prefix alone."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.engine.prefix.cache import Prefix
from pdrop_eval.engine.stages import ops
from pdrop_eval.models.kv_cache import cache_in


@dataclass(frozen=True)
class Row:
    """One row of a batch, padded on the left.

    Attributes:
        key: of its prefix.
        first: the column of its first token.
        length: P, the tokens of its prefix.
    """

    key: Hashable
    first: int
    length: int


@dataclass
class Suffix:
    """A prefill whose columns before `start` are known for the first `layers` layers; b rows, n columns.

    Attributes:
        start: the column from which on all rows are computed; rows with a shorter question compute the end of
            their prefix again.
        layers: those before the first drop.
        rows: of the batch.
        prefixes: by key.
        valid: [b, n] bool, false on padding; None: there is none.
        kind: of the mask, see `ops.layer_mask`.
    """

    start: int
    layers: int
    rows: Sequence[Row]
    prefixes: dict[Hashable, Prefix]
    valid: Tensor | None
    kind: str
    _mask: Tensor | None = field(default=None, init=False)

    def cut(self, number: int, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Return the rows that layer `number` computes, and give it the keys and values of the others.

        Args:
            number: of a layer before the first drop.
            hidden: [b, n, d], entering layer 0; of a later one [b, n - start, d].
            kwargs: of the layer; changed.
        """
        if number == 0:
            hidden = hidden[:, self.start :]
            columns = hidden.shape[1]
            self._mask = ops.layer_mask(self.kind, self.valid, columns, self.start + columns, hidden)
        cos, sin = kwargs["position_embeddings"]
        kwargs["position_embeddings"] = cos[..., self.start :, :], sin[..., self.start :, :]
        kwargs["attention_mask"] = self._mask
        kwargs["position_ids"] = None  # they are spent, as after a drop
        if kwargs.get("cache_position") is not None:
            kwargs["cache_position"] = kwargs["cache_position"][self.start :]
        layer = self._empty(cache_in(kwargs), number)
        layer.keys = self._joined(lambda prefix: prefix.keys[number], -2)
        layer.values = self._joined(lambda prefix: prefix.values[number], -2)
        return hidden

    def whole(self, number: int, hidden: Tensor) -> Tensor:
        """Return the whole prompt's states [b, n, d], of those [b, n - start, d] that are computed."""
        known = self._joined(lambda prefix: prefix.states[number], -2)
        return torch.cat((known.to(hidden.device), hidden), dim=1)

    def _empty(self, cache: Any, number: int) -> Any:
        """Return the cache's layer, made ready as its own update makes it, whatever the version.

        It is where the layer computed the prefix: of a model on several devices, states come from another.
        """
        nothing = next(iter(self.prefixes.values())).keys[number][:, :, :0]
        nothing = nothing.expand(len(self.rows), *nothing.shape[1:])
        cache.update(nothing, nothing, number)
        return cache.layers[number]

    def _joined(self, part: Callable[[Prefix], Tensor], columns: int) -> Tensor:
        """Return the rows' known columns [b, ..., start, e], 0 on padding; no copy where all are the same."""
        one = {row.key for row in self.rows} if all(row.first == 0 for row in self.rows) else ()
        if len(one) == 1:
            found = part(self.prefixes[self.rows[0].key]).narrow(columns, 0, self.start)
            return found.expand(len(self.rows), *found.shape[1:])
        like = part(next(iter(self.prefixes.values())))
        shape = [len(self.rows), *like.shape[1:]]
        shape[columns] = self.start
        joined = like.new_empty(shape)
        for row, place in zip(self.rows, joined, strict=True):
            padding = min(row.first, self.start)
            place.narrow(columns, 0, padding).zero_()
            if padding < self.start:
                known = part(self.prefixes[row.key])[0].narrow(columns, 0, self.start - padding)
                place.narrow(columns, padding, self.start - padding).copy_(known)
        return joined
