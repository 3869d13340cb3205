"""Text raters: the words that are about the picture, and what they look at (SparseVLM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from pdrop_eval.efficiency.architecture import Architecture
    from pdrop_eval.engine.interface import SelectionContext


def text_raters(context: SelectionContext) -> Tensor:
    """Return [b, n] bool, the raters of each row; chosen at the first drop and remembered for the others."""
    if "raters" not in context.memory:
        embeddings = context.embeddings
        assert embeddings is not None
        context.memory["raters"] = choose(embeddings, context.image, context.text, context.text_after)
    found: Tensor = context.memory["raters"].gather(1, context.columns)
    return found & ~context.merged


def choose(embeddings: Tensor, image: Tensor, text: Tensor, behind: Tensor) -> Tensor:
    """Mark the words behind the image that more than their share of it is like.

    Dot products of every image token with the words, softmax over the words, mean over the image tokens:
    raters are above the mean of that. Where none is (a single word, or all alike), all words behind the image
    rate; where there are none, the last token of the prompt does.

    Args:
        embeddings: [b, n, d] the decoder's inputs.
        image: [b, n] bool.
        text: [b, n] bool, all text; the products of those before the image count for nothing.
        behind: [b, n] bool, the text behind the last image token.

    Returns:
        [b, n] bool; of a row without an image, whatever.
    """
    import torch

    from pdrop_eval.engine.stages import ops
    from pdrop_eval.models.rotary import gather_columns

    words, real = ops.compact(text, max(1, int(text.sum(1).max())), right_aligned=False)
    pictures, alive = ops.compact(image, max(1, int(image.sum(1).max())), right_aligned=False)
    rated = behind.gather(1, words) & real
    some = rated.any(1, keepdim=True)
    likeness = gather_columns(embeddings, pictures).float() @ gather_columns(embeddings, words).float().mT
    shares = likeness.masked_fill(~(rated | ~some)[:, None], -torch.inf).softmax(-1)
    mean = (shares * alive[..., None]).sum(1) / alive.sum(1, keepdim=True).clamp(min=1)
    fair = (mean * rated).sum(1, keepdim=True) / rated.sum(1, keepdim=True).clamp(min=1)
    above = (mean > fair) & rated
    above = torch.where(above.any(1, keepdim=True), above, rated)
    raters = torch.zeros_like(text).scatter(1, words, above) & text
    return answering(raters, image | text)


def answering(rows: Tensor, valid: Tensor) -> Tensor:
    """Return the query rows [b, n] bool; of a prompt without any, its last token.

    Args:
        rows: [b, n] bool.
        valid: [b, n] bool, false on padding.
    """
    import torch

    from pdrop_eval.engine.stages import ops

    last = torch.zeros_like(rows).scatter(1, ops.last_column(valid), True)
    return torch.where(rows.any(1, keepdim=True), rows, last)


def rows_flops(sizes: Architecture, alive: Sequence[int], text_tokens: int, extra: int = 0) -> int:
    """Return the multiply-adds of asking all text for its attention at each drop.

    Args:
        sizes: of the model.
        alive: image tokens that each drop finds.
        text_tokens: of the prompt.
        extra: width of further products of each query row with each column.
    """
    found = [n + text_tokens for n in alive if n]
    each = sum(n * (sizes.d * sizes.kv + text_tokens * (sizes.q + extra)) for n in found)
    return each + len(found) * text_tokens * sizes.d * sizes.q


def mean_attention(context: SelectionContext, raters: Tensor) -> Tensor:
    """Return [b, n]: the attention of the raters, mean over heads and raters."""
    total = context.attention_sums(raters, context.text)[0]
    return total / raters.sum(1, keepdim=True).clamp(min=1)


def ranked_attention(context: SelectionContext, raters: Tensor) -> tuple[Tensor, list[int]]:
    """Return ([b, n] as `mean_attention`, per row the rank of its raters' attention to its image tokens)."""
    import torch

    asked = raters | context.text
    weights, _ = context.attention_rows(asked, heads="mean")
    scores = torch.zeros(context.image.shape, device=weights.device)
    ranks = []
    for row, found in enumerate(weights):
        mine = raters[row][asked[row]]
        seen = found[: len(mine)][mine]
        scores[row] = seen.sum(0) / max(1, len(seen))
        matrix = seen[:, context.image[row]]
        ranks.append(int(torch.linalg.matrix_rank(matrix)) if matrix.numel() else 0)
    return scores, ranks


def corrected_attention(context: SelectionContext, raters: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Return ([b, n] as `mean_attention` of SparseVLM+, [b, h] the sums by which it chooses heads).

    Weights are divided by what RoPE alone makes of two tokens at these distances: the scaled product of
    vectors of ones. The `heads` heads with the largest sum over raters and image tokens are kept. The divisor
    may be negative or near 0, so all is float32.
    """
    import torch

    from pdrop_eval.models.rotary import gather_columns, rotate

    found = context.query_key(raters | context.text)
    cos, sin = (part.float() for part in context.rotary)
    ones = rotate(torch.ones_like(cos)[:, None], cos, sin)[:, 0]
    divisor = gather_columns(ones, found.rows) @ ones.mT * found.scaling
    mine = (raters.gather(1, found.rows) & found.real)[:, :, None] & context.image[:, None]
    total = torch.zeros(*found.query.shape[:2], context.image.shape[1], device=divisor.device)
    for part, weights in context.scoring.chunks(found):
        own = weights / divisor[:, None, part]
        total += torch.where(mine[:, None, part], own, 0.0).sum(2)
    sums = total.sum(-1)
    best = sums.argsort(dim=-1, descending=True, stable=True)[:, :heads, None]
    scores = total.gather(1, best.expand(-1, -1, total.shape[-1])).mean(1)
    return scores / raters.sum(1, keepdim=True).clamp(min=1), sums
