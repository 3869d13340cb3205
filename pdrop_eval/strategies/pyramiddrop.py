"""PyramidDrop: image tokens are dropped in stages, more in the deeper layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine import schedule
from pdrop_eval.engine.interface import Drop, SelectionContext
from pdrop_eval.engine.stages.positions import RENUMBER_IF_POSSIBLE, check_positions
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.depth import earlier_note
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number, check_setting

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_RATIO, DEFAULT_STAGES = 0.5, 4


@dataclass
class PyramidDrop(Strategy):
    """PyramidDrop (Xing et al., CVPR 2025, arXiv 2410.17247, section 3.2).

    The decoder is split into S stages. At the end of each stage but the last, PyramidDrop ranks the image
    tokens by the attention that the last instruction token pays to them, and retains the share lambda.

    Give either `ratio` and `stages`, and the layers follow from the model's depth, or `layers` and `ratios`.

    With labels (training), the query rows are those before each answer span, and their scores are averaged;
    where the last token before an answer is an image token (captions), it is the last one still alive. Rows
    without labels are not dropped. The choice carries no gradient, and the loss runs on the shortened
    sequence.

    Deliberate differences from the official code:

    - All images of a row are ranked together, with one budget: the official code tracks only the first.
    - The ranking projects one query row and the keys, not the queries, keys and values of all tokens: the
      paper's O(n); in float32 the chosen tokens are the same.
    - Key heads are shared out to query heads, so that GQA models work. Rows of a batch are repacked to the
      right without labels, so that the last column stays the last token; with labels to the left, as
      officially.
    - Equal scores (half precision) are resolved in favour of the earlier token, so that a run can be
      repeated.

    Attributes:
        ratio: lambda, the share of the image tokens that remains after each stage, in [0, 1]; 0.5 by default.
            ratio=0 removes every image token at the end of the first stage: the later stages see text only,
            and have nothing to rank.
        stages: S, the number of stages; 4 by default, drops after 1/4, 2/4 and 3/4 of the layers.
        layers: drop before each of these layer indices of the model itself, each in 1..depth, rising. The
            depth itself is a drop after the last layer (ranked by the last layer: there is no next one).
        ratios: for each of `layers`, the share of the original image tokens that remains; in [0, 1], not
            growing. From a 0 on, no image token is left.
        rank_with: "next_layer" ranks with the projections of the layer after the drop, the official code's
            way; "last_layer" with those of the stage's last layer, the paper's Eq. 2.
        score: "softmax" is the attention of the official code: over the whole sequence, in float32, mean over
            heads; "logits" is the plain similarity q·k of the paper, with the layer's norm and positions,
            mean over heads.
        rounding: "floor" is int(N0 * cumulative ratio), the official code's way; "progressive" removes
            ceil((1 - lambda) * alive) at each drop, the paper's.
        positions: "renumber" closes the gaps in the position ids after every drop, the official code's way;
            "keep" leaves each token its own. Position ids of M-RoPE (Qwen-VL) can't be renumbered: there the
            default is "keep", and "renumber" is refused.
    """

    ratio: float | None = None
    stages: int | None = None
    layers: Sequence[int] | None = None
    ratios: Sequence[float] | None = None
    rank_with: str = "next_layer"
    score: str = "softmax"
    rounding: str = "floor"
    positions: str = RENUMBER_IF_POSSIBLE
    name: ClassVar[str] = "pdrop"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "PDrop"
    paper: ClassVar[str] = "Xing et al., CVPR 2025, arXiv 2410.17247"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#0072B2", "dark": "#56b4e9", "marker": "o", "linestyle": "-", "order": 2
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("λ={ratio}", "S={stages}", "layers {layers}: {ratios}")
    solved_fields: ClassVar[tuple[str, ...]] = ("ratio", "ratios")
    layout_fields: ClassVar[tuple[str, ...]] = ("layers",)
    layer_field: ClassVar[str] = "layers"
    share_field: ClassVar[str] = "ratios"
    instead_of_layers: ClassVar[tuple[str, ...]] = ("stages",)

    def __post_init__(self) -> None:
        check_setting("rank_with", self.rank_with, ("next_layer", "last_layer"))
        check_setting("score", self.score, ("softmax", "logits"))
        check_setting("rounding", self.rounding, schedule.ROUNDINGS)
        check_positions(self.positions)
        if (self.layers is None) != (self.ratios is None):
            raise UserError("Give layers and ratios together, such as layers=[8,16] and ratios=[0.5,0.25].")
        if self.layers is not None and self.ratios is not None:
            self._check_explicit()
            return
        self.ratio = DEFAULT_RATIO if self.ratio is None else self.ratio
        self.stages = DEFAULT_STAGES if self.stages is None else self.stages
        check_number("ratio", self.ratio, low=0, high=1)
        if isinstance(self.stages, bool) or not isinstance(self.stages, int) or self.stages < 1:
            raise UserError(f"stages={self.stages!r} is not allowed: use a whole number from 1 to the depth.")

    def _check_explicit(self) -> None:
        assert self.layers is not None
        assert self.ratios is not None
        if self.ratio is not None or self.stages is not None:
            raise UserError(
                f"ratio={self.ratio}, stages={self.stages} and layers={list(self.layers)}, "
                f"ratios={list(self.ratios)} are two schedules: give one pair, and None for the other "
                "(on the command line: strategy.ratio=null strategy.stages=null)."
            )
        self.layers, self.ratios = tuple(self.layers), tuple(self.ratios)
        if len(self.layers) != len(self.ratios):
            raise UserError(
                f"{len(self.layers)} layers need as many ratios, but there are {len(self.ratios)}: one "
                "cumulative ratio for each drop, without the leading 1."
            )
        schedule.check_layers(self.layers)
        schedule.check_ratios(self.ratios)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return one drop at the end of each stage but the last, or those of `layers`."""
        layers = self.layers
        if layers is None:
            assert self.stages is not None
            layers = schedule.stage_layers(num_layers, self.stages)
        schedule.check_layers(layers, num_layers)
        back = 1 if self.rank_with == "last_layer" else 0
        return tuple(Drop(layer, scoring_layer=min(layer - back, num_layers - 1)) for layer in layers)

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the count after each drop, by `rounding`."""
        ratios = self.ratios
        if ratios is None:
            assert self.ratio is not None
            assert self.stages is not None
            ratios = schedule.stage_ratios(self.ratio, self.stages)
        return schedule.retained_counts(image_tokens, ratios, self.rounding)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return S equal stages; where they can't cost so little, S - 1 drops that come earlier.

        First those that PyramidDrop's author suggests for 64 tokens a layer (issue 22 of its repository):
        every drop one stage earlier, the first after 1/16 of the layers, 2, 8 and 16 of 32. Then a drop
        after each of the first layers. The ratios are powers of lambda everywhere. `layers` that are given
        are kept.
        """
        layers, stages = fields.pop("layers", None), fields.pop("stages", None)
        if layers is not None:
            return [Layout(partial(_powers, cls, tuple(layers), {**fields, "stages": stages}))]
        stages = DEFAULT_STAGES if stages is None else stages
        usual = Layout(lambda share: cls(ratio=share, stages=stages, **fields))
        usual.build(1.0).drops(num_layers)  # stages that can't be are refused here
        equal = schedule.stage_layers(num_layers, stages)
        early, first = (max(1, num_layers // 16), *equal[:-1]), tuple(range(1, stages))
        note = earlier_note(equal)
        rising = [early] if all(a < b for a, b in pairwise(early)) else []
        places = [*rising, first] if stages > 1 else []
        return [usual, *(Layout(partial(_powers, cls, place, fields), note) for place in places)]

    def rank(self, context: SelectionContext) -> "Tensor":
        """Return the attention of the instruction's query row, as `score` says."""
        return context.attention(self.score)


def _powers(
    cls: type[PyramidDrop], layers: tuple[int, ...], fields: dict[str, Any], share: float
) -> PyramidDrop:
    return cls(layers=layers, ratios=schedule.stage_ratios(share, len(layers) + 1), **fields)
