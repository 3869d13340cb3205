"""VisPruner: patches that the class token looks at, and others that are unlike each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.before_decoder.interface import ImageView
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.fastervlm import tile_scores
from pdrop_eval.strategies.per_tile import PerTile, best
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor

STEP = 8  # at most so many are removed in a round


@dataclass
class VisPruner(PerTile):
    """VisPruner (Zhang et al., ICCV 2025, arXiv 2412.01818v2, sections 3.2 and 3.3).

    Of each tile's T patches, int(T·r) are those to which the class token attends most, in the layer whose
    output is taken, in the mean over heads. The others, by falling attention, are halved round by round into
    those at even and at odd places; the 8 even ones that are most like an odd one go, until as many are left
    as are wanted. Likeness is the cosine of the features before the projector.

    Source: Theia-4869/VisPruner at aefa01a, llava/model/llava_arch.py (141-186). Nothing fixes r by
    benchmark; the README also has 64 tokens with r=0.75.

    The rounds are chaotic: who meets whom hangs on the order, so that a relative error of 1e-6 changes 16-30%
    of the choice (64 of 576, r=0.5). Ids agree on given tensors only; between machines or precisions compare
    scores of benchmarks.

    Deliberate differences from the official code:

    - Ranks and likeness are float32, not the tower's precision, and equal ones go to the earlier patch in the
      list, so that one machine repeats its choice.
    - An odd number of candidates, and fewer than 16, work: the last of an odd list is at an even place, and a
      round removes no more than it has at even places. The official code crashes.
    - Each image is chosen from by itself; officially all images of a batch share one row.

    On Qwen-VL, as in Tencent/AngelSlim at 67394ce: attention is what a token receives in the tower's last
    block (see VisionZip), likeness that of the tokens, and the others are candidates in the order of the
    image, in every round; round(T·r) are chosen by attention. On InternVL likewise, for each tile, by the
    class token's attention.

    Attributes:
        visual_token_num: T, of each tile; None: 64, or what the preset says.
        important_ratio: r, the share of T that attention chooses, in [0, 1]; the others are for diversity.
        layout: as in FasterVLM.
        preset: as in FasterVLM.
    """

    important_ratio: float = 0.5
    name: ClassVar[str] = "vispruner"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "VisPruner"
    paper: ClassVar[str] = "Zhang et al., ICCV 2025, arXiv 2412.01818"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#8C564B", "dark": "#c49c94", "marker": "s", "linestyle": "-.", "order": 13
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("T={visual_token_num}", "r={important_ratio}")
    needs = Needs(attention=("features",), features=True, projected=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("important_ratio", self.important_ratio, low=0, high=1)

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the class token's attention, and the cosines of the candidates."""
        count = min(self.count, shape.patches)
        if sizes.vision_merge > 1:
            important = round(count * self.important_ratio)
            important = count - 1 if important >= count > 1 else important
            left, pairs = shape.patches - important, 0
            while left > count - important:
                pairs += (left - left // 2) * (left // 2)
                left -= min(STEP, left // 2, left - (count - important))
            return super().choosing_flops(shape, sizes) + shape.tiles * pairs * sizes.d
        important = int(count * self.important_ratio)
        rest, wanted = shape.patches - important, count - important
        pairs = rest**2 if 0 < wanted < rest else 0
        return super().choosing_flops(shape, sizes) + shape.tiles * pairs * sizes.vision_d

    def choose(self, view: ImageView, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return the important and the diverse ones of each tile."""
        import torch

        scores = tile_scores(view)
        if view.received is not None:
            features = view.tokens.view(*scores.shape, -1)
            chosen = [
                by_place(own, values, min(self.count, len(own)), self.important_ratio)
                for own, values in zip(scores, features, strict=True)
            ]
            return torch.stack(chosen), scores
        assert view.features is not None
        chosen = [
            important_and_diverse(own, features, mask, min(self.count, int(mask.sum())), self.important_ratio)
            for own, features, mask in zip(scores, view.features, seen, strict=True)
        ]
        return torch.stack(chosen), scores


def important_and_diverse(
    scores: Tensor, features: Tensor, seen: Tensor, count: int, important_ratio: float
) -> Tensor:
    """Mark `count` patches of one tile.

    Args:
        scores: [N], attention.
        features: [N, w], before the projector.
        seen: [N] bool, from which to choose.
        count: how many.
        important_ratio: the share that attention chooses.

    Returns:
        [N] bool.
    """
    import torch

    important = int(count * important_ratio)
    chosen = best(scores[None], seen[None], important)[0]
    order = scores.masked_fill(~seen, -torch.inf).argsort(descending=True, stable=True)
    candidates = order[important : int(seen.sum())]
    chosen[candidates[diverse(features[candidates], count - important)]] = True
    return chosen


def by_place(scores: Tensor, features: Tensor, count: int, important_ratio: float) -> Tensor:
    """Mark `count` tokens of one image, as the port to Qwen2.5-VL does.

    The rest are candidates in the order of the image, in every round, and the share that attention chooses is
    rounded to the nearest number, and never all.

    Args:
        scores: [n], attention received.
        features: [n, d], the tokens.
        count: how many.
        important_ratio: the share that attention chooses.

    Returns:
        [n] bool.
    """
    import torch

    important = round(count * important_ratio)
    if important >= count > 1:
        important = count - 1
    everywhere = torch.ones_like(scores, dtype=torch.bool)
    chosen = best(scores[None], everywhere[None], important)[0]
    left = (~chosen).nonzero().flatten()
    values = features.float()
    values = values / values.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    while len(left) > count - important:
        even, odd = left[::2], left[1::2]
        remove = min(STEP, len(left) // 2, len(left) - (count - important))
        likeness = (values[even] @ values[odd].T).amax(1)
        kept = likeness.argsort(descending=True, stable=True)[remove:]
        left = torch.cat((even[kept], odd)).sort().values
    chosen[left] = True
    return chosen


def diverse(features: Tensor, wanted: int) -> Tensor:
    """Return [wanted] numbers of R features [R, w] that are left after removing those most like another."""
    import torch

    left = torch.arange(len(features), device=features.device)
    if wanted <= 0 or len(left) <= wanted:
        return left[: max(0, wanted)]
    values = features.float()
    values = values / values.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    cosine = values @ values.T
    while len(left) > wanted:
        even, odd = left[::2], left[1::2]
        remove = min(STEP, len(left) - wanted, len(even))
        likeness = cosine[even][:, odd].amax(1)
        kept = likeness.argsort(descending=True, stable=True)[remove:]
        left = torch.cat((even[kept], odd))
    return left
