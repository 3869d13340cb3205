"""FasterVLM: the patches that the class token looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageView
from pdrop_eval.models.towers.encoded import Needs
from pdrop_eval.strategies.per_tile import PerTile, best

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class FasterVLM(PerTile):
    """FasterVLM (Zhang et al., 2024, arXiv 2412.01818, section 3.3).

    Of each tile, the T patches stay to which the class token attends most in the layer whose output is taken
    as features, in the mean over heads.

    Source: Theia-4869/FasterVLM at f5d5f12, llava/model/llava_arch.py and multimodal_encoder/clip_encoder.py.
    The presets are its counts, T of each tile; the repository itself has 144, 58 and 29 of 576.

    Deliberate differences from the official code:

    - Attention is ranked in float32; officially it is cast to half precision before the mean. Equal values
      go to the earlier patch; torch.topk promises nothing.
    - Only the class token's row is computed, whatever attention implementation the tower uses.
    - The grid of tiles is the model's own; officially it is the one with the least padding.

    On InternVL a token has the sum of its four patches' attention, of the tower's last layer.
    """

    name: ClassVar[str] = "fastervlm"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "FasterVLM"
    paper: ClassVar[str] = "Zhang et al., 2024, arXiv 2412.01818"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#9A6A00", "dark": "#ffc24d", "marker": "^", "linestyle": "--", "order": 11
    }  # fmt: skip
    needs = Needs(attention=("features",), projected=True)

    def choose(self, view: ImageView, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Return those with the most attention."""
        scores = tile_scores(view)
        return best(scores, seen, self.count), scores


def tile_scores(view: ImageView) -> Tensor:
    """Return [P, N]: the class token's attention, or what the tower pays to tokens that join patches."""
    if view.received is not None:
        return view.received.view(view.shape.tiles, -1)
    return class_attention(view.attention())


def class_attention(attention: Tensor) -> Tensor:
    """Return the mean over heads [P, N] of the class token's attention [P, h, N]."""
    return attention.mean(1)
