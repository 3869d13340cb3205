"""DivPrune: the tokens that are farthest from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.models.towers.encoded import Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy
from pdrop_eval.strategies.presets import check_preset, fill, shares
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor

USUAL = 0.098  # 56 of 576


@dataclass
class DivPrune(BeforeStrategy):
    """DivPrune (Alvar et al., CVPR 2025, arXiv 2503.02175, section 3.2).

    A Max-Min Diversity Problem, solved greedily: the first token is the one whose nearest neighbour is
    farthest, each further one is that whose nearest picked token is farthest. The distance is 1 - cosine
    between the tokens as they enter the decoder, newlines included; an image's tiles are one choice.

    Source: vbdi/divprune at 799e2d9, LLaVA/llava/model/llava_arch.py (LAYER_INDEX=0, SUBSET_RATIO). The
    distances of all pairs, n^2·d multiply-adds, are its own cost.

    Deliberate differences from the official code:

    - Distances are float32; officially they have the decoder's precision, so that many are equal. Equal ones
      go to the earlier token.
    - The image's tokens are found; officially they begin at place 35. Each image and each row is chosen from
      by itself; officially the first row's choice is everybody's.
    - At least one token stays.

    Attributes:
        subset_ratio: the share of the image's tokens that stays, in (0, 1]: round(share·n) tokens, halves to
            the even number; None: 0.098, or what the preset says.
        official: true: a token may be picked again where all others are copies of picked ones, as in the
            official code; false: each token at most once.
        preset: None, or one of `presets`: a number of tokens of LLaVA-1.5's 576, or `next_` and one of
            LLaVA-NeXT's 2,880, whose newlines count as tokens too.
    """

    subset_ratio: float | None = None
    official: bool = True
    preset: str | None = None
    name: ClassVar[str] = "divprune"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "DivPrune"
    paper: ClassVar[str] = "Alvar et al., CVPR 2025, arXiv 2503.02175"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#00805D", "dark": "#3fd0a6", "marker": "v", "linestyle": ":", "order": 12
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("ratio {subset_ratio}",)
    merged: ClassVar[str] = "tokens that were picked again"
    solved_fields: ClassVar[tuple[str, ...]] = ("subset_ratio", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = shares("subset_ratio")

    needs = Needs()

    def __post_init__(self) -> None:
        fill(self, {"subset_ratio": USUAL})
        check_number("subset_ratio", self.subset_ratio, low=0, high=1)

    def retained_count(self, shape: TokenShape) -> int:
        """Return the rounded share of the tokens."""
        return self._count(shape.tokens)

    def _count(self, tokens: int) -> int:
        assert self.subset_ratio is not None
        return max(1, round(self.subset_ratio * tokens))

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse a share that leaves no token, and a preset for other tiles."""
        check_preset(self, shape)
        if round((self.subset_ratio or 0) * shape.tokens) < 1:
            raise UserError(
                f"subset_ratio={self.subset_ratio} leaves none of an image's {shape.tokens} tokens: use "
                f"{1 / shape.tokens:.4g} to 1."
            )

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> DivPrune:
        """Return the share that leaves so many of the tokens."""
        return cls(subset_ratio=min(1.0, count / shape.tokens), **fields)

    def choosing_flops(self, shape: TokenShape, sizes: Architecture) -> int:
        """Return the multiply-adds of the cosines of all pairs."""
        return shape.tokens**2 * sizes.d

    def reduce(self, view: ImageView) -> Reduced:
        """Return the picked tokens in their order; a token that is picked again counts as made."""
        import torch

        with torch.no_grad():
            picked = most_diverse(view.tokens, self._count(len(view.tokens)), self.official)
            ids = picked.sort().values
            again = torch.zeros_like(ids, dtype=torch.bool)
            again[1:] = ids[1:] == ids[:-1]
        return Reduced(view.tokens[ids], ids.masked_fill(again, -1))


def most_diverse(tokens: Tensor, count: int, official: bool = True) -> Tensor:
    """Pick tokens that are far from each other.

    Args:
        tokens: [n, d].
        count: how many to pick.
        official: picked tokens stay candidates, at distance 0; otherwise each is picked once at most.

    Returns:
        [count] ids, in the order of the picks.
    """
    import torch

    distance = distances(tokens)
    if len(tokens) == 1:
        return torch.zeros(count, dtype=torch.long, device=tokens.device)
    nearest = distance.topk(2, dim=0, largest=False).values[1]
    picked = [nearest.argmax()]
    closest = distance[picked[0]]
    for _ in range(count - 1):
        if not official:
            closest = closest.index_fill(0, torch.stack(picked), -torch.inf)
        picked.append(closest.argmax())
        closest = closest.minimum(distance[picked[-1]])
    return torch.stack(picked)


def distances(tokens: Tensor) -> Tensor:
    """Return 1 - cosine [n, n] of tokens [n, d], in float32."""
    import torch

    values = tokens.float()
    values = values / values.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return 1 - values @ values.T
