"""What a scoring layer can be asked for: queries, keys, and attention of chosen rows, in chunks of rows.

Nothing is computed until a strategy asks. Shapes: b rows, n columns, q query rows, h heads, g key heads, e
head dimension.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.engine.stages import ops
from pdrop_eval.models.family import Family
from pdrop_eval.utils.validation import check_choice

CHUNK = 64  # query rows whose weights of all heads are in memory at once
HEADS = ("mean", "max")
OVER = ("causal", "image")


@dataclass(frozen=True)
class QueryKey:
    """Queries of chosen rows and keys of all columns.

    Attributes:
        query: [b, h, q, e].
        key: [b, g, n, e].
        scaling: of q·k.
        rows: [b, q] the column of each query row.
        real: [b, q] bool, false on the padding behind a row's last query row.
    """

    query: Tensor
    key: Tensor
    scaling: float
    rows: Tensor
    real: Tensor


@dataclass(frozen=True)
class ScoringLayer:
    """One layer on the states that enter it.

    Attributes:
        family: the model's.
        layer: the decoder layer.
        hidden: [b, n, d], entering it.
        rotary: its cos and sin.
        valid: [b, n] bool, false on padding.
        image: [b, n] bool, the image tokens alive.
    """

    family: Family
    layer: Any
    hidden: Tensor
    rotary: tuple[Tensor, Tensor]
    valid: Tensor
    image: Tensor

    def last_token(self, kind: str, index: Tensor, starts: Tensor | None) -> Tensor:
        """Return scores [b, n] by the last token's row; in training, the mean of the rows before answers.

        Args:
            kind: as of `ops.query_scores`.
            index: [b, n] the columns in the full sequence.
            starts: [b, s] where answers start in it, or None without labels.
        """
        if starts is None:
            queries = ops.last_column(self.valid)
            real = torch.ones_like(queries, dtype=torch.bool)
        else:
            queries, real = ops.answer_queries(starts, self.valid, index)
        columns = torch.arange(self.valid.shape[1], device=self.hidden.device)
        visible = self.valid[:, None] & (columns <= queries[:, :, None])
        query, key, scaling = self.family.query_key(self.layer, self.hidden, queries, *self.rotary)
        return ops.query_scores(query, key, visible, real, scaling=scaling, kind=kind)

    def query_key(self, rows: Tensor, rope: bool = True) -> QueryKey:
        """Project the queries of `rows` [b, n] bool, and all keys; without RoPE as if all stood at 0."""
        chosen = rows & self.valid
        columns, real = ops.compact(chosen, max(1, int(chosen.sum(1).max())), right_aligned=False)
        cos, sin = self.rotary
        if not rope:
            cos, sin = torch.ones_like(cos), torch.zeros_like(sin)
        query, key, scaling = self.family.query_key(self.layer, self.hidden, columns, cos, sin)
        return QueryKey(query, key, scaling, columns, real)

    def keys(self, rope: bool = True) -> Tensor:
        """Return the keys [b, n, g, e] of all columns."""
        first = torch.zeros_like(self.valid)
        first[:, 0] = True
        return self.query_key(first, rope).key.transpose(1, 2)

    def chunks(
        self, found: QueryKey, heads: str | None = None, over: str = "causal"
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield (which of the q query rows, their weights [b, h, t, n] float32, or [b, t, n] by `heads`).

        Args:
            found: of `query_key`.
            heads: "mean" or "max" of all heads; None leaves them apart.
            over: "causal", softmax over every column up to the query row's own, padding left out; "image",
                over the image columns among them. Rows of padding, and rows that see no column, are 0.
        """
        if heads is not None:
            check_choice("heads", heads, HEADS)
        check_choice("over", over, OVER)
        seen = self.image if over == "image" else self.valid
        numbers = torch.arange(seen.shape[1], device=seen.device)
        for start in range(0, found.rows.shape[1], CHUNK):
            part = slice(start, start + CHUNK)
            visible = seen[:, None] & (numbers <= found.rows[:, part, None]) & found.real[:, part, None]
            weights = ops.softmax_rows(found.query[:, :, part], found.key, visible, found.scaling)
            if heads is not None:
                weights = weights.mean(1) if heads == "mean" else weights.amax(1)
            yield part, weights

    def rows(
        self, rows: Tensor, *, rope: bool = True, over: str = "causal", heads: str | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (weights [b, h, q, n], or [b, q, n] by `heads`; real [b, q]) of the query rows `rows`."""
        found = self.query_key(rows, rope)
        parts = [weights for _, weights in self.chunks(found, heads, over)]
        return torch.cat(parts, dim=-2), found.real

    def sums(
        self, masks: Sequence[Tensor], *, rope: bool = True, over: str = "causal", heads: str = "mean"
    ) -> list[Tensor]:
        """Return, for each mask [b, n] of query rows, the sum [b, n] of its rows' weights."""
        union = torch.stack(list(masks)).any(0)
        found = self.query_key(union, rope)
        among = [mask.gather(1, found.rows) & found.real for mask in masks]
        totals = [torch.zeros(mask.shape, device=self.hidden.device) for mask in masks]
        for part, weights in self.chunks(found, heads, over):
            for total, mine in zip(totals, among, strict=True):
                total += (weights * mine[:, part, None]).sum(1)
        return totals
