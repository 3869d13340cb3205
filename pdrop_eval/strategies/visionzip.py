"""VisionZip: the patches that the class token looks at, and a few tokens merged from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.before_decoder.interface import LAYOUTS, ImageView, Reduced
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy, check_count, projection_flops
from pdrop_eval.strategies.presets import check_preset, fill
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class VisionZip(BeforeStrategy):
    """VisionZip (Yang et al., CVPR 2025, arXiv 2412.04467, section 3.2).

    Of each tile, the dominant tokens are the class token and the patches to which it attends most in the
    layer whose output is taken, summed over heads. Of the other patches, evenly spaced ones are targets; each
    of the rest goes to the target whose key is nearest (cosine, keys of that layer, mean over heads), and
    each target becomes one contextual token. The projector then works on dominant and contextual tokens.

    Deliberate differences from the official code:

    - The query of one token and the keys are all that is computed of the attention, whatever implementation
      the tower uses. The official patch needs the whole map, and stays on the class for good.
    - Equal attention goes to the earlier patch; torch.topk promises nothing.
    - No class token and more contextual tokens than patches that are left are refused before a sample runs.

    On Qwen-VL, as in Tencent/AngelSlim at 67394ce: dominant tokens are those that receive most attention in
    the tower's last block (mean over heads, summed over all rows and a token's four patches), and keys are
    that block's, rotated, mean over heads and patches. Merged are the tokens, and with them what Qwen3-VL
    adds in its first layers (DeepStack); a contextual token stands in its target's place. The port is
    `official=False`. On InternVL the class token's row of the last layer takes the place of all rows, for
    each tile. Neither has the class token among its dominant tokens.

    Attributes:
        dominant: dominant tokens of a tile, the class token among them; None: 54, or what the preset says.
        contextual: contextual tokens of a tile; None: 10, or what the preset says.
        official: true: a contextual token is the target plus the mean of those that went to it, so about
            twice as long as others, as the official code has it; false: the mean of all of them, as the paper
            says.
        layout: of several tiles. "official": the overview's tokens, then all tiles' dominant patches row by
            row over their grid, those on padding included, then the tiles' class tokens, then their
            contextual tokens; no newlines. "packed": unpadded and with every newline; only patches that the
            model itself takes are chosen from.
        preset: None, or one of `presets`: a number of tokens of LLaVA-1.5's 576, or `next_` and one of
            LLaVA-NeXT's 2,880. The README has 64; the others are the splits in proportion that all use.
    """

    dominant: int | None = None
    contextual: int | None = None
    official: bool = True
    layout: str = "official"
    preset: str | None = None
    name: ClassVar[str] = "visionzip"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "VisionZip"
    paper: ClassVar[str] = "Yang et al., CVPR 2025, arXiv 2412.04467"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#B3458C", "dark": "#e59ac4", "marker": "D", "linestyle": "-.", "order": 10
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("{dominant}+{contextual}",)
    merged: ClassVar[str] = "the class token, and contextual ones into which all other patches are merged"
    solved_fields: ClassVar[tuple[str, ...]] = ("dominant", "contextual", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"dominant": 162, "contextual": 30},
        "128": {"dominant": 108, "contextual": 20},
        "64": {"dominant": 54, "contextual": 10},
        "next_640": {"dominant": 108, "contextual": 20},
        "next_320": {"dominant": 54, "contextual": 10},
        "next_160": {"dominant": 27, "contextual": 5},
    }
    needs = Needs(
        attention=("features",), keys=("features",), features=True, class_token=True, projected=True
    )

    def __post_init__(self) -> None:
        fill(self, {"dominant": 54, "contextual": 10})
        check_setting("layout", self.layout, LAYOUTS)
        for name in ("dominant", "contextual"):
            check_count(name, getattr(self, name))

    @property
    def counts(self) -> tuple[int, int]:
        """Dominant and contextual tokens of a tile."""
        assert self.dominant is not None
        assert self.contextual is not None
        return self.dominant, self.contextual

    def retained_count(self, shape: TokenShape) -> int:
        """Return the dominant and contextual tokens of all tiles."""
        most_dominant, most_merged = self.counts
        if self.layout == "official":
            return shape.tiles * (most_dominant + most_merged)
        dominant = [min(most_dominant - 1, seen) for seen in shape.seen]
        merged = [min(most_merged, seen - kept) for seen, kept in zip(shape.seen, dominant, strict=True)]
        return sum(dominant) + sum(merged) + shape.tiles + shape.newlines

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more dominant patches than a tile has, and more contextual tokens than it has others."""
        check_preset(self, shape)
        if sum(self.counts) > shape.patches + 1:
            raise UserError(
                f"dominant={self.dominant} and contextual={self.contextual} are too many: a tile has "
                f"{shape.patches} patches and a class token, so {shape.patches + 1} together at most."
            )

    def reduce(self, view: ImageView) -> Reduced:
        """Return the dominant tokens as they are and the contextual ones after the projector."""
        if view.received is not None:
            return self._by_received_attention(view)
        import torch

        features, class_token = view.features, view.class_token
        dominant, contextual = self.counts
        assert features is not None
        assert class_token is not None
        scores = view.attention().sum(1)
        with torch.no_grad():
            seen = torch.ones_like(scores, dtype=torch.bool)
            if self.layout == "packed":
                seen = torch.zeros_like(seen)
                seen[view.patch_places] = True
            chosen = dominant_patches(scores, seen, dominant - 1)
            metric = view.keys()[:, 1:].unflatten(-1, (view.heads, -1)).mean(2)
            others = [rest.nonzero().flatten() for rest in (seen & ~chosen).unbind()]
        made = [
            view.project(
                torch.cat((
                    class_token[tile, None],
                    merged(features[tile, rest], metric[tile, rest], contextual, self.official),
                ))
            )
            for tile, rest in enumerate(others)
        ]  # fmt: skip
        patches = view.take_patches(chosen, self.layout, scores)
        overview = min(dominant - 1, view.shape.seen[0] if self.layout == "packed" else view.shape.patches)
        order = [(made[0][:1], True), (patches.tokens[:overview], False), (made[0][1:], True)]
        order += [(patches.tokens[overview:], False)]
        order += [(one[:1], True) for one in made[1:]] + [(one[1:], True) for one in made[1:]]
        sources = iter((patches.source[:overview], patches.source[overview:]))
        source = [
            torch.full((len(tokens),), -1, device=tokens.device) if is_made else next(sources)
            for tokens, is_made in order
        ]
        tokens = torch.cat([tokens.to(patches.tokens) for tokens, _ in order])
        return Reduced(tokens, torch.cat(source), patches.scores)

    def _by_received_attention(self, view: ImageView) -> Reduced:
        """Return dominant tokens, and contextual ones in the places of those that others are merged into."""
        import torch

        assert view.received is not None
        assert view.metric is not None
        layers = [] if view.added is None else list(view.added)
        values = torch.cat((view.tokens, *layers), dim=-1)  # DeepStack's features are merged alike
        ids, made, size = [], [], view.shape.patches
        for start in range(0, len(view.tokens), size):
            own = torch.arange(start, start + size, device=values.device)
            kept, targets, rest = split_tokens(view.received[own], *self.counts)
            ids += [own[kept], own[targets]]
            others = merged(values[own[rest]], view.metric[own[rest]], len(targets), self.official)
            made += [values[own[kept]], others]
        where = torch.cat(ids)
        order = where.argsort()
        parts = torch.cat(made)[order].to(values.dtype).split([view.tokens.shape[1]] * (1 + len(layers)), -1)
        added = torch.stack(parts[1:]) if layers else None
        return Reduced(parts[0], where[order], view.received, added=added)

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the class token's attention, the cosines of the others, and the made tokens' projection."""
        dominant, contextual = self.counts
        if sizes.vision_merge > 1:
            others = shape.patches - dominant - contextual
            width = sizes.vision_d // sizes.vision_heads
            cosines = shape.tiles * max(0, others) * contextual * width
            return super().choosing_flops(shape, sizes) + cosines
        others = shape.patches - (dominant - 1)
        cosines = (others - contextual) * contextual * (sizes.vision_d // sizes.vision_heads)
        made = projection_flops(1 + contextual, sizes)
        return super().choosing_flops(shape, sizes) + shape.tiles * (cosines + made)

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> VisionZip:
        """Split a tile's tokens as the paper does at 64: 54 dominant to 10 contextual."""
        each = max(2, count // shape.tiles)
        contextual = max(1, round(each * 10 / 64))
        return cls(dominant=each - contextual, contextual=contextual, **fields)


def split_tokens(received: Tensor, dominant: int, contextual: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the numbers of dominant tokens, of targets, and of all others with the targets, ascending.

    Args:
        received: [n], how much attention each token receives.
        dominant: how many stay as they are; fewer in an image that has fewer.
        contextual: how many targets the others are merged into.
    """
    import torch

    n = len(received)
    contextual = min(contextual, n)
    dominant = min(dominant, n - contextual)
    everywhere = torch.ones_like(received, dtype=torch.bool)[None]
    chosen = dominant_patches(received[None], everywhere, dominant)[0]
    rest = (~chosen).nonzero().flatten()
    step = max(1, len(rest) // contextual)
    return chosen.nonzero().flatten(), rest[: step * contextual : step], rest


def dominant_patches(scores: Tensor, seen: Tensor, count: int) -> Tensor:
    """Mark the `count` best patches of each tile among those seen; ties go to the earlier one.

    Args:
        scores: [P, N].
        seen: [P, N] bool, from which to choose.
        count: how many.

    Returns:
        [P, N] bool.
    """
    import torch

    best = scores.masked_fill(~seen, -torch.inf).argsort(dim=-1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(seen).scatter(1, best, True) & seen


def merged(features: Tensor, metric: Tensor, contextual: int, official: bool = True) -> Tensor:
    """Merge the m left-over patches of a tile into at most `contextual` tokens.

    Args:
        features: [m, w].
        metric: [m, e], by whose cosine patches go to targets.
        contextual: how many targets.
        official: the target plus the mean of those that went to it; otherwise the mean of all of them.

    Returns:
        [contextual, w] features; fewer where m is less.
    """
    import torch

    from pdrop_eval.models.transfer import upload

    metric = metric / metric.norm(dim=-1, keepdim=True)
    m, step = len(metric), max(1, len(metric) // contextual)
    targets = slice(0, step * contextual, step)
    kept = features[targets].contiguous()
    if len(kept) == m:
        return kept
    is_other = torch.ones(
        m, dtype=torch.bool
    )  # in the host's memory: which they are follows from their number
    is_other[targets] = False
    others = upload(is_other.nonzero().flatten(), metric.device)
    own = (metric[others] @ metric[targets].contiguous().T).argmax(1)
    total = torch.zeros_like(kept).index_add(0, own, features[others])
    number = torch.zeros(len(kept), dtype=torch.long, device=own.device).index_add(
        0, own, torch.ones_like(own)
    )
    number = number[:, None].to(total.dtype)
    if official:
        return kept + total / number.clamp(min=1)
    return (kept + total) / (number + 1)
