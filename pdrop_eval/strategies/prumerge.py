"""PruMerge and PruMerge+: patches that stand out in attention, and what is near them merged in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.models.towers.encoded import LAST, Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy, projection_flops
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor

NEIGHBOURS = 32


@dataclass
class PruMerge(BeforeStrategy):
    """LLaVA-PruMerge (Shang et al., ICCV 2025, arXiv 2403.15388, section 3).

    Patches are kept whose attention from the class token, in the tower's last layer and all heads taken as
    one, is an outlier: above Q3 + 1.5·(Q3 - Q1). Each becomes its feature plus those of its 32 nearest
    patches (cosine of the last layer's keys) times their attention; one more token is the sum of all patches
    that aren't kept, times theirs. The projector then works on them. They are ordered by falling attention.

    Source: 42Shawn/LLaVA-PruMerge at 097c041, llava/model/multimodal_encoder/clip_encoder.py (85-171). How
    many tokens are left depends on the image: 32 in the mean on LLaVA-1.5. No preset and no budget sets it;
    the fixed 192, 128 and 64 of other papers' tables are their own adaptations.

    Deliberate differences from the official code:

    - No more neighbours are asked for than there are, where the official code crashes.
    - Equal attention, and equal likeness, goes to the earlier patch.
    - Each image is looked at by itself: its tiles, not the whole batch, say what an outlier is. The tokens of
      several tiles follow each other, the overview's first, without newlines; the official code takes no
      tiles.

    Attributes:
        reduction_ratio: None: outliers say how many are kept; a number in [0, 1]: int(N·ratio) of each tile.
    """

    reduction_ratio: float | None = None
    name: ClassVar[str] = "prumerge"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "PruMerge"
    paper: ClassVar[str] = "Shang et al., ICCV 2025, arXiv 2403.15388"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#7F7F7F", "dark": "#b3b3b3", "marker": "^", "linestyle": ":", "order": 16
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("ratio {reduction_ratio}",)
    merged: ClassVar[str] = (
        "each patch that stands out with its neighbours, and one for the sum of all others"
    )
    adaptive: ClassVar[bool] = True
    plus: ClassVar[bool] = False
    needs = Needs(keys=(LAST,), queries=(LAST,), features=True, projected=True)

    def __post_init__(self) -> None:
        if self.reduction_ratio is not None:
            check_number("reduction_ratio", self.reduction_ratio, low=0, high=1)

    def reduce(self, view: ImageView) -> Reduced:
        """Return the merged tokens of each tile after the projector."""
        import torch

        from pdrop_eval.models.towers.tower import class_row

        features = view.features
        assert features is not None
        keys = view.keys(LAST)
        attention = class_row(view.query(LAST), keys, heads=1)[:, 0]
        with torch.no_grad():
            ratio, adaptive = self.reduction_ratio, self.reduction_ratio is None
            ratio = outlier_ratio(attention) if ratio is None else ratio
            kept = [picked(own, ratio, self.plus, adaptive) for own in attention]
        made = [
            merged(tile, key[1:], own, ids)
            for tile, key, own, ids in zip(features, keys, attention, kept, strict=True)
        ]
        tokens = view.project(torch.cat(made).to(features))
        tile, patch = view.sources.unbind(1)
        drawn = attention[tile, patch].masked_fill(patch < 0, -torch.inf)
        return Reduced(tokens, torch.full((len(tokens),), -1, device=tokens.device), drawn)

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the class token's attention; `making_flops` has what depends on the image."""
        return shape.tiles * (shape.patches + 1) * sizes.vision_d

    def making_flops(self, left: int, shape: TokenShape, sizes: Architecture) -> int:
        """Return the likeness of each kept patch with all of its tile, and the projection of all tokens."""
        kept = left - shape.tiles  # one more token of each tile is the sum of the others
        return kept * shape.patches * sizes.vision_d + projection_flops(left, sizes)


def outlier_ratio(attention: Tensor) -> float:
    """Return the share of values [P, N] that are above the upper fence of all of them."""
    import torch

    from pdrop_eval.engine.stages.ops import on_device

    values = attention.float().flatten()
    q1, q3 = torch.quantile(values.double(), on_device([0.25, 0.75], values.device, torch.double))
    return int((values.double() > q3 + 1.5 * (q3 - q1)).sum()) / len(values)


def picked(attention: Tensor, ratio: float, plus: bool = False, adaptive: bool = True) -> Tensor:
    """Return the ids of the kept patches of one tile, in the order of the output.

    Args:
        attention: [N].
        ratio: int(N·ratio) of them are kept by attention.
        plus: whether evenly spaced ones are appended.
        adaptive: appended are those that aren't kept yet, three times as many as the ratio has; otherwise, as
            many, kept or not.
    """
    import torch

    n = len(attention)
    ids = attention.argsort(descending=True, stable=True)[: int(n * ratio)]
    if not plus or ratio <= 0:
        return ids
    if not adaptive:
        step = int(1 / ratio)
        return torch.cat((ids, torch.arange(step // 2, n - 1, step, device=ids.device)))
    spread = torch.arange(0, n - 1, max(1, int(int(1 / ratio) / 3)), device=ids.device)
    return torch.cat((ids, spread[~torch.isin(spread, ids)]))


def merged(features: Tensor, keys: Tensor, attention: Tensor, ids: Tensor) -> Tensor:
    """Merge the patches of one tile into those that are kept, and the sum of the others.

    Args:
        features: [N, w].
        keys: [N, w], whose cosine says which are near.
        attention: [N].
        ids: [T], the kept ones, in order.

    Returns:
        [T + 1, w].
    """
    import torch

    weighted = attention[:, None] * features
    unit = keys.float() / keys.float().norm(dim=-1, keepdim=True)
    likeness = (unit[ids] @ unit.T).scatter(1, ids[:, None], -torch.inf)  # no patch is its own neighbour
    near = likeness.argsort(dim=1, descending=True, stable=True)[:, : min(NEIGHBOURS, len(features) - 1)]
    rest = torch.ones(len(features), dtype=torch.bool, device=ids.device).index_fill(0, ids, False)
    return torch.cat((features[ids] + weighted[near].sum(1), weighted[rest].sum(0, keepdim=True)))
