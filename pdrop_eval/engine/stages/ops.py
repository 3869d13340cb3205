"""Pure tensor operations of the staged forward; nothing here knows a model or a strategy.

Shapes: b rows, n columns (tokens), t query rows, h heads, g key/value heads, e head dimension.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def choosing() -> Iterator[None]:
    """Within it no gradients are recorded, and autocast keeps no cast of a weight.

    A weight that torch 2.9 casts without gradients is cast for good: the layer that uses it next, in the same
    autocast, would give it no gradient.
    """
    was = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_autocast_cache_enabled(was)


def on_device(values: Sequence[Any], device: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Return numbers of the host on a device; a GPU gets them from pinned memory, and nobody waits.

    Args:
        values: numbers, or lists of numbers of equal lengths.
        device: a torch.device.
        dtype: None: by the values.
    """
    made = torch.tensor(values, dtype=dtype)
    if device.type != "cuda":
        return made.to(device)
    return made.pin_memory().to(device, non_blocking=True)


def query_scores(
    query: Tensor, key: Tensor, visible: Tensor, real: Tensor, *, scaling: float, kind: str = "softmax"
) -> Tensor:
    """Score every column by the attention that query rows pay to it: mean over heads, then over rows.

    Args:
        query: [b, h, t, e], with positions applied; h is a multiple of g.
        key: [b, g, n, e], with positions applied.
        visible: [b, t, n] bool, the columns a query row may see.
        real: [b, t] bool, false on padding query rows.
        scaling: of q·k.
        kind: "softmax" is normalised over the whole visible row in float32 and cast back to the model's dtype
            before the mean, as the official PyramidDrop and FastV code does; "logits" is the scaled q·k
            without the softmax.

    Returns:
        [b, n] float32. No tensor on the way is larger than [b, h, t, n].
    """
    b, h, t, e = query.shape
    g, n = key.shape[1], key.shape[2]
    logits = (query.reshape(b, g, h // g * t, e) @ key.transpose(2, 3)).view(b, h, t, n) * scaling
    visible = visible & real[:, :, None]
    if kind == "logits":
        seen = visible.sum(1)
        total = (logits.float().mean(1) * visible).sum(1)
        return torch.where(seen > 0, total / seen.clamp(min=1), -torch.inf)
    # Padding rows see nothing; they get column 0, so that the softmax stays finite, and weigh nothing below.
    open_ = visible.clone()
    open_[:, :, 0] |= ~real
    weights = logits.float().masked_fill(~open_[:, None], -torch.inf).softmax(-1).to(query.dtype).mean(1)
    weights = weights.float() * real[:, :, None]
    return weights.sum(1) / real.sum(1, keepdim=True).clamp(min=1)


def softmax_rows(query: Tensor, key: Tensor, visible: Tensor, scaling: float) -> Tensor:
    """Return the attention weights [b, h, t, n] of query rows, in float32; rows that see nothing are 0.

    Args:
        query: [b, h, t, e]; h is a multiple of g.
        key: [b, g, n, e].
        visible: [b, t, n] bool, the columns over which a row's softmax runs.
        scaling: of q·k.
    """
    b, h, t, e = query.shape
    g, n = key.shape[1], key.shape[2]
    # In place where it can be, and scaled before the product: passes over [b, h, t, n] are what it costs.
    logits = ((query * scaling).reshape(b, g, h // g * t, e) @ key.transpose(2, 3)).view(b, h, t, n).float()
    blind = ~visible.any(-1, keepdim=True)
    weights = logits.masked_fill_(~(visible | blind)[:, None], -torch.inf).softmax(-1)
    return weights.masked_fill_(blind[:, None], 0.0)


def top_mask(scores: Tensor, candidates: Tensor, counts: Tensor) -> Tensor:
    """Mark the best-scored candidates of each row; ties go to the earlier column.

    Args:
        scores: [b, n].
        candidates: [b, n] bool.
        counts: [b], how many to mark.

    Returns:
        [b, n] bool, a subset of `candidates`.
    """
    by_score = scores.argsort(dim=-1, descending=True, stable=True)
    first = (~candidates).gather(1, by_score).to(torch.uint8).argsort(dim=-1, stable=True)
    order = by_score.gather(1, first)
    best = torch.arange(scores.shape[1], device=scores.device) < counts[:, None]
    return torch.zeros_like(candidates).scatter(1, order, best) & candidates


def compact(keep: Tensor, length: int, right_aligned: bool) -> tuple[Tensor, Tensor]:
    """Pack the retained columns of each row into `length` columns, in order, padding on one side.

    Args:
        keep: [b, n] bool with at most `length` true per row.
        length: columns to pack into.
        right_aligned: pads on the left, so that the last column stays the last token of every row.

    Returns:
        (columns [b, length] to gather, valid [b, length] bool, false on padding).
    """
    flag = keep if right_aligned else ~keep
    order = flag.to(torch.uint8).argsort(dim=-1, stable=True)
    order = order[:, keep.shape[1] - length :] if right_aligned else order[:, :length]
    return order, keep.gather(1, order)


def last_column(valid: Tensor) -> Tensor:
    """Return [b, 1]: the last true column of each row of `valid` [b, n]."""
    columns = torch.arange(valid.shape[1], device=valid.device)
    return torch.where(valid, columns, 0).amax(1, keepdim=True)


def answer_queries(starts: Tensor, valid: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Find, for each answer span, the last retained column before it.

    Args:
        starts: [b, t] original column of each span's first token, 0 for none.
        valid: [b, n] bool, false on padding.
        index: [b, n] original column of each retained column.

    Returns:
        (columns [b, t], real [b, t] bool, false where there is no span, or nothing before it).
    """
    columns = torch.arange(valid.shape[1], device=valid.device)
    before = valid[:, None] & (index[:, None] < starts[:, :, None])
    last = torch.where(before, columns, -1).amax(-1)
    return last.clamp(min=0), last >= 0


def span_starts(labels: Tensor, valid: Tensor, ignore: int = -100) -> Tensor:
    """Return [b, t]: the columns where a labelled span starts, 0 on padding.

    t is the most spans in a row, at least 1. A span at column 0 has nothing before it and is left out.

    Args:
        labels: [b, n].
        valid: [b, n] bool, false on padding.
        ignore: the label of tokens that are not answered.
    """
    labelled = (labels != ignore) & valid
    start = labelled.clone()
    start[:, 1:] &= ~labelled[:, :-1]
    start[:, 0] = False
    t = max(1, int(start.sum(1).max()))
    order = (~start).to(torch.uint8).argsort(dim=-1, stable=True)[:, :t]
    return torch.where(start.gather(1, order), order, 0)


def layer_mask(kind: str, valid: Tensor | None, q: int, n: int, like: Tensor) -> Tensor | None:
    """Build the causal mask of one layer, in the form that its attention implementation takes.

    Args:
        kind: "eager", "sdpa" or "flash".
        valid: [b, n] bool, false on padding, or None when nothing is padding.
        q: query rows; they are the last of the n columns.
        n: columns.
        like: [b, ...] tensor that gives rows, dtype and device.

    Returns:
        Of "eager" a float [b, 1, q, n]; of "sdpa" a bool [b, 1, q, n], or None where the kernel's own causal
        mask is right; of "flash" a bool [b, n], or None.
    """
    if kind == "flash":
        return valid
    if kind == "sdpa" and valid is None and q in (1, n):
        return None
    columns = torch.arange(n, device=like.device)
    rows = columns[n - q :, None]
    allowed = (columns <= rows)[None]
    if valid is not None:
        # A padding query sees itself: it is never read, and a row that sees nothing is NaN in some kernels.
        allowed = allowed & (valid[:, None] | (columns == rows))
    allowed = allowed[:, None].expand(like.shape[0], 1, q, n)
    if kind == "sdpa":
        return allowed
    floor = torch.finfo(like.dtype).min
    return torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill(~allowed, floor)
