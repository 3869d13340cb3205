"""MustDrop in the decoder: what no word looks at goes, by two thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.engine.interface import Drop, Selection, SelectionContext
from pdrop_eval.engine.stages.positions import RENUMBER_IF_POSSIBLE, check_positions
from pdrop_eval.strategies import raters as rating
from pdrop_eval.strategies.before import check_count
from pdrop_eval.strategies.depth import scaled_note
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class MustDrop(InsideStrategy):
    """MustDrop's half in the decoder (Liu et al., 2024, arXiv 2411.10803, section 3.3).

    At each drop, an image token goes if the words behind the image give it less than a share of all that they
    give to image tokens, summed over words, and no word gives it as much as a bound; both by the attention of
    the layer before, mean over heads. Counts depend on the sample. Tokens of a key set never go: those that
    the vision tower's class token attends to most; a strategy before the decoder may mark them.

    Official code: liuting20/MustDrop, commit 909afa5, which prunes after layers 2, 6, 10 and 14: before 3, 7,
    11 and 15.

    Deliberate differences from the official code:

    - After the prefill, the official code cuts the caches of layers 2 to 14 to the tokens that are left in
      the end, and goes on at the cut cache's length: the query then stands before its keys. Here each layer
      keeps what it processed, unless `cut_caches` says otherwise.
    - All images of a row are thresholded together; words stand behind its last image. A row without any is
      looked at by its last token.
    - The query rows of all text are projected, so that what ranking costs depends on counts alone.
    - Labels are refused: with answers behind the image, they would look.

    Attributes:
        global_thr: share of the summed attention below which a token may go; None: .001, or what the preset
            says.
        individual_thr: bound that no word's attention may reach; None: .001, or what the preset says.
        layers: drop before each of these layer indices of the model; None: 3, 7, 11, 15 of 32, scaled to the
            depth.
        key_set: which image tokens of a row never go, beside those that a strategy before the decoder marks.
        cut_caches: cut the caches after the prefill, as the official code does.
        positions: "renumber" (the official way) or "keep", which is the default where there is no
            renumbering (Qwen-VL's M-RoPE).
        preset: None, or "192", "128", "64" of LLaVA-1.5's 576: the thresholds with which the paper aims at
            that mean.
    """

    global_thr: float | None = None
    individual_thr: float | None = None
    layers: Sequence[int] | None = None
    key_set: Sequence[int] | None = None
    cut_caches: bool = False
    positions: str = RENUMBER_IF_POSSIBLE
    preset: str | None = None
    name: ClassVar[str] = "mustdrop"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "MustDrop (decoder)"
    paper: ClassVar[str] = "Liu et al., 2024, arXiv 2411.10803"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#A50F15", "dark": "#fb8072", "marker": "o", "linestyle": "-.", "order": 8
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("preset {preset}", "{global_thr}, {individual_thr}")
    adaptive: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"global_thr": 0.001, "individual_thr": 0.001},
        "128": {"global_thr": 0.0012, "individual_thr": 0.001},
        "64": {"global_thr": 0.011, "individual_thr": 0.01},
    }
    paper_layers: ClassVar[tuple[int, ...]] = (3, 7, 11, 15)

    def __post_init__(self) -> None:
        self.prepare({"global_thr": 0.001, "individual_thr": 0.001, "layers": None})
        for name in ("global_thr", "individual_thr"):
            check_number(name, getattr(self, name), low=0, high=1)
        check_positions(self.positions)
        if not isinstance(self.cut_caches, bool):
            raise UserError(f"cut_caches={self.cut_caches!r} is not allowed: use true or false.")
        if self.key_set is not None:
            if isinstance(self.key_set, str) or not isinstance(self.key_set, Sequence):
                raise UserError(f"key_set={self.key_set!r} is not allowed: give numbers of image tokens.")
            self.key_set = tuple(self.key_set)
            for token in self.key_set:
                check_count("key_set", token, low=0)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops, each ranked by the layer before."""
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in self.layers_of(num_layers))

    def cache_cut(self, num_layers: int) -> int | None:
        """Return the first layer that ranks, whose cache is the first to be cut; None: none is.

        Layer 0 is never cut: it says how many tokens were seen.
        """
        return max(1, self.layers_of(num_layers)[0] - 1) if self.cut_caches else None

    def select(self, context: SelectionContext) -> Selection:
        """Retain what some word looks at, what all words together do, and the key set."""
        assert self.global_thr is not None
        assert self.individual_thr is not None
        total, most = looked_at(context)
        share = total / total.masked_fill(~context.image, 0).sum(1, keepdim=True)
        unseen = (share < self.global_thr) & (most < self.individual_thr) & ~self._key_set(context)
        return Selection(scores=total, keep=context.image & ~unseen)

    def _key_set(self, context: SelectionContext) -> Tensor:
        import torch

        from pdrop_eval.engine.stages.ops import on_device

        if not self.key_set:
            return context.marked
        ids = on_device(self.key_set, context.image.device)
        return context.marked | torch.isin(context.image_ids, ids)

    def ranking_flops(self, sizes: Architecture, alive: Sequence[int], text_tokens: int) -> int:
        """Return each drop's keys, text queries and their products."""
        return rating.rows_flops(sizes, alive, text_tokens)

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means, and which layers were scaled."""
        notes = []
        if self.preset is not None:
            notes.append(
                f"preset={self.preset} has the thresholds with which the paper aims at that mean over the "
                "layers; counts depend on each sample, and the record has their mean."
            )
        if self.layers is None:
            notes += scaled_note(self._named, num_layers)
        return notes


def looked_at(context: SelectionContext) -> tuple[Tensor, Tensor]:
    """Return ([b, n] sum, [b, n] maximum) of the attention of the words behind the image, mean over heads."""
    import torch

    mine = rating.answering(context.text_after, context.valid)
    found = context.query_key(mine | context.text)
    among = mine.gather(1, found.rows) & found.real
    total = torch.zeros(context.image.shape, device=context.hidden.device)
    most = torch.zeros_like(total)
    for part, weights in context.scoring.chunks(found, heads="mean"):
        own = weights * among[:, part, None]
        total += own.sum(1)
        most = torch.maximum(most, own.amax(1))
    return total, most
