"""MustDrop, both halves: a key set that the vision tower names never goes in the decoder."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageView, Reduced
from pdrop_eval.engine.stages.positions import RENUMBER_IF_POSSIBLE
from pdrop_eval.models.towers.encoded import LAST, Needs, TokenShape
from pdrop_eval.strategies.before import BeforeStrategy
from pdrop_eval.strategies.mustdrop import MustDrop
from pdrop_eval.strategies.two_stage import TwoStage
from pdrop_eval.utils.validation import check_number


@dataclass
class MustDropFull(TwoStage):
    """MustDrop with its key set (Liu et al., 2024, arXiv 2411.10803, sections 3.2 and 3.3).

    Before the decoder nothing goes, but the patches to which the class token attends most in the tower's last
    layer, mean over heads, are marked: ceil(.08·N) of each tile, 47 of 576. In the decoder, `mustdrop` drops
    by its two thresholds whatever isn't marked.

    Source: liuting20/MustDrop at 909afa5, llava/model/multimodal_encoder/clip_encoder.py (keep_rate) beside
    what `mustdrop` names.

    Deliberate differences from the official code, beside those of `mustdrop`:

    - Not built is the merging inside of the tower, after its first layer, of 3 x 3 windows whose patches are
      alike: a strategy here sees what the tower has made. Scores stand for MustDrop without it.
    - Each tile has a key set of its own; officially there is one tile.

    Attributes:
        key_rate: the share of a tile's patches that is marked, in [0, 1].
        global_thr: as in `mustdrop`, as all that follow.
        individual_thr: the same.
        layers: the same.
        cut_caches: the same.
        positions: the same.
        preset: the same.
    """

    key_rate: float = 0.08
    global_thr: float | None = None
    individual_thr: float | None = None
    layers: Sequence[int] | None = None
    cut_caches: bool = False
    positions: str = RENUMBER_IF_POSSIBLE
    preset: str | None = None
    name: ClassVar[str] = "mustdrop_full"
    display_name: ClassVar[str] = "MustDrop"
    paper: ClassVar[str] = "Liu et al., 2024, arXiv 2411.10803"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#D6604D", "dark": "#f4a582", "marker": "s", "linestyle": "-.", "order": 21
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("preset {preset}", "{global_thr}, {individual_thr}")
    adaptive: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_number("key_rate", self.key_rate, low=0, high=1)
        self.first = _KeySet(self.key_rate)
        self.second = MustDrop(
            global_thr=self.global_thr,
            individual_thr=self.individual_thr,
            layers=self.layers,
            cut_caches=self.cut_caches,
            positions=self.positions,
            preset=self.preset,
        )
        self.global_thr, self.individual_thr = self.second.global_thr, self.second.individual_thr
        self.layers, self.preset = self.second.layers, self.second.preset
        self.settle()


@dataclass
class _KeySet(BeforeStrategy):
    """Keeps all tokens, and marks those to which the class token attends most."""

    key_rate: float
    shares_prefix: ClassVar[bool] = True
    needs = Needs(attention=(LAST,))

    def retained_count(self, shape: TokenShape) -> int:
        """Return all."""
        return shape.tokens

    def reduce(self, view: ImageView) -> Reduced:
        """Return all tokens, with the marks and the attention."""
        import torch

        scores = view.attention(LAST).mean(1)
        count = math.ceil(self.key_rate * scores.shape[1])
        best = scores.argsort(dim=-1, descending=True, stable=True)[:, :count]
        key = torch.zeros_like(scores, dtype=torch.bool).scatter(1, best, True)
        tile, patch = view.sources.unbind(1)
        marks = key[tile, patch] & (patch >= 0)
        drawn = scores[tile, patch].masked_fill(patch < 0, -torch.inf)
        whole = view.take(torch.arange(len(view.tokens), device=view.tokens.device), drawn)
        return replace(whole, marks=marks)


_KeySet.name = MustDropFull.name  # for messages; no strategy of its own
