"""FastV: an early drop, ranked by the attention of the layer before it, with positions or without."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, SelectionContext
from pdrop_eval.engine.schedule import check_named_layers, complement
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.depth import earlier_note
from pdrop_eval.strategies.last_row import image_attention
from pdrop_eval.strategies.presets import check_preset, fill, preset_note
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number, check_setting, check_truth

if TYPE_CHECKING:
    from torch import Tensor

ROUNDINGS = ("round", "floor", "truncate")


@dataclass
class FastV(Strategy):
    """FastV (Chen et al., ECCV 2024, arXiv 2403.06764, section 4).

    After K layers, FastV removes the R of the image tokens that get the least attention; the first K layers
    see all of them. The attention is that of the K-th layer (index K-1): softmax, mean over heads, row of the
    last prompt token. The retained tokens keep their position ids.

    With `rope=False`, the query of that row and the keys are compared without RoPE, and the softmax runs over
    the image tokens alone, so that late tokens no longer win by where they stand; there may be several K,
    each removing the share R of the tokens alive. That is FastV as FEATHER's authors corrected it (Endo et
    al., arXiv 2412.13180; github.com/markendo/FEATHER, commit c2a09b2): their setting is K = 3, R = .75.

    Deliberate differences from the official code:

    - FastV chooses tokens once, at prefill. Without a KV cache the official code chooses again at every
      generated token.
    - Several images in a row share one budget, and the span of image tokens is found, not configured: the
      official code takes one fixed span.
    - With labels (training, or scoring an answer), the query rows are those before each answer, as in
      PyramidDrop: FastV defines inference only, and the last row would look at the answer. Without RoPE,
      labels are refused.

    Attributes:
        k: K, the number of layers that see all image tokens; 1 to the model's depth. Several, rising, are
            several drops.
        r: R, the share of the image tokens that is removed, in [0, 1]. r=1 removes all of them: the layers
            from K on see text only.
        rounding: how to round the retained count. "round" is round(N * (1 - R)), the Hugging Face
            implementation; "floor" is int(N * retained), the one for lmms-eval; "truncate" is
            int(N * (1 - R)) in floats, FEATHER's. N is how many are alive.
        attention_rank: the retained count given directly, as in the original implementation; r and rounding
            then have no effect.
        rope: whether the attention that ranks has positions, as officially; False: FEATHER's correction.
        positions: "keep" (the official way) or "renumber".
        preset: None, or one of `presets`: ours, the attention_rank with which K = 2 comes to at most 192, 128
            and 64 of 576 image tokens a layer in the mean over 32 layers; r then has no effect. Tables that
            copy FastV's scores at these numbers follow each another convention.
    """

    k: int | Sequence[int] = 2
    r: float = 0.5
    rounding: str = "round"
    attention_rank: int | None = None
    rope: bool = True
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "fastv"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "FastV"
    paper: ClassVar[str] = "Chen et al., ECCV 2024, arXiv 2403.06764"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#D55E00", "dark": "#ff8f4d", "marker": "s", "linestyle": "--", "order": 1
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("K={k}", "R={r}", "{attention_rank} tokens")
    solved_fields: ClassVar[tuple[str, ...]] = ("r", "attention_rank", "preset")
    layout_fields: ClassVar[tuple[str, ...]] = ("k",)
    layer_field: ClassVar[str] = "k"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"k": 2, "attention_rank": 166},
        "128": {"k": 2, "attention_rank": 98},
        "64": {"k": 2, "attention_rank": 29},
    }

    def __post_init__(self) -> None:
        fill(self, {})
        self.k = tuple(self.k) if isinstance(self.k, Sequence) and not isinstance(self.k, str) else self.k
        check_named_layers("k", self.k)
        check_truth("rope", self.rope)
        vars(self)["trains"] = self.rope
        check_number("r", self.r, low=0, high=1)
        check_setting("rounding", self.rounding, ROUNDINGS)
        check_positions(self.positions)
        rank = self.attention_rank
        if rank is not None and (isinstance(rank, bool) or not isinstance(rank, int) or rank < 0):
            raise UserError(f"attention_rank={rank!r} is not allowed: use a whole number of tokens, or None.")

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drop before layer K, ranked by layer K-1; or one for each K."""
        layers = check_named_layers("k", self.k, num_layers)
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in layers)

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return the count after each drop."""
        counts, alive = [], image_tokens
        for _ in check_named_layers("k", self.k):
            alive = self._left(alive)
            counts.append(alive)
        return tuple(counts)

    def check_image(self, shape: TokenShape) -> None:
        """Refuse a preset for images with other tokens than LLaVA-1.5's."""
        check_preset(self, shape)

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means."""
        return preset_note(self, "mean", num_layers, image_tokens)

    def _left(self, alive: int) -> int:
        if self.attention_rank is not None:
            return min(self.attention_rank, alive)
        if self.rounding == "round":
            return round(alive * (1 - self.r))
        return int(alive * (complement(self.r) if self.rounding == "floor" else 1 - self.r))

    def rank(self, context: SelectionContext) -> "Tensor":
        """Return the attention of the last row [b, n], with positions or without."""
        return context.attention("softmax") if self.rope else image_attention(context)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return the drop after K layers, and where K isn't given, after the first as the last resort."""
        if "k" in fields:
            return [Layout(partial(_keeping, cls, **fields))]
        note = earlier_note(check_named_layers("k", cls.k))
        usual, first = (Layout(partial(_keeping, cls, k=k, **fields), n) for k, n in ((cls.k, ""), (1, note)))
        return [usual, first]


def _keeping(cls: type[FastV], share: float, **fields: Any) -> FastV:
    return cls(r=complement(share), **fields)
