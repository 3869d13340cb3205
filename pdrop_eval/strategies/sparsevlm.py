"""SparseVLM: words about the picture rate its tokens, and what is pruned is recycled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop, Merged, Selection, SelectionContext
from pdrop_eval.engine.schedule import check_ratios
from pdrop_eval.engine.stages.positions import RENUMBER_IF_POSSIBLE, check_positions
from pdrop_eval.strategies import raters as rating
from pdrop_eval.strategies.base import no_budget, no_schedule
from pdrop_eval.strategies.before import check_count
from pdrop_eval.strategies.depth import earlier_note, scaled, scaled_note
from pdrop_eval.strategies.inside import InsideStrategy
from pdrop_eval.strategies.presets import PATCHES
from pdrop_eval.strategies.recycling import candidate_count, cluster_count, clustered
from pdrop_eval.strategies.sparsevlm_presets import COUNTS, LAYERS, PRESETS, VERSIONS, between
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number, check_setting

if TYPE_CHECKING:
    from torch import Tensor

_MANY = 100_000  # image tokens, more than any prompt has


@dataclass
class SparseVLM(InsideStrategy):
    """SparseVLM (Zhang et al., ICML 2025, arXiv 2410.04417) in its three versions, and SparseVLM+.

    Raters are the words behind the image that its tokens are most like, by the decoder's inputs. At each drop
    the image tokens are ranked by the raters' attention in the layer before: mean over heads and raters. In
    versions 1.0 and 1.5, the best of what is pruned is clustered by density peaks, and each cluster becomes a
    token behind the retained ones, which is ranked, pruned and merged again later.

    Version 1.0 retains int(rank·scale + bias) tokens, by the rank of the raters' attention, so its counts
    depend on the sample; 1.5 fixed counts; "plus" fixed counts without merging, positions kept, attention
    divided by what RoPE alone would make of it, over the best 14 heads. Official code: Gumpest/SparseVLMs,
    commits 91fb6d9 (1.0) and 26a5f48 (1.5, and plus as USE_VERSION=2_0); it prunes after layers 2, 6, 15 (and
    19), which is before 3, 7, 16 (and 20).

    Deliberate differences from the official code:

    - The noise on densities, which decides between clusters that are as good, is off by default: with it,
      4 of 8 runs at the 64 preset changed between two seeds.
    - Softmax and mean are in float32, where the official code stays in the model's half precision.
    - All images of a row share one budget; raters stand behind its last image. A row with one word there is
      rated by it, one without any by its last token; the official code divides by zero.
    - The query rows of all text are projected, so that what ranking costs is known before a run.
    - Labels are refused: with answers behind the image, they would rate.

    Attributes:
        version: "1.0", "1.5" or "plus".
        counts: image tokens retained at each drop, before merged ones are added; at most one fewer than there
            are. Not for 1.0. None: by `ratios`, or what the preset says.
        ratios: the same as shares of the original image tokens. Neither: those of the preset 192 of 576.
        scale, bias: of version 1.0's int(rank·scale + bias); None: 13.5 and 0, or what the preset says.
        layers: drop before each of these layer indices of the model; None: 3, 7, 16 (1.0: and 20) of 32,
            scaled to the depth.
        heads: how many heads "plus" averages over; all of a model that has fewer.
        recycle: share of the pruned tokens that is merged: int(recycle·p) + 1 of them.
        cluster: of m tokens to merge, int(m/cluster) + 1 are made.
        noise: largest noise on a density; officially 1e-6.
        positions: None: "renumber" for 1.0 and 1.5, "keep" for plus, and where there is no renumbering
            (Qwen-VL's M-RoPE). Kept, merged tokens stand where the last retained image token does.
        preset: None, or "192", "128", "64" (1.5 and plus: "96"), of LLaVA-1.5's 576: the official mean over
            the layers, in which a layer that prunes counts with what it leaves (192.03, 128.6, 96.9 and 64.8
            in version 1.5); by tokens that layers process it is 206.5, 145.4, 114.1 and 82.3.
    """

    version: str = "1.5"
    counts: Sequence[int] | None = None
    ratios: Sequence[float] | None = None
    scale: float | None = None
    bias: float | None = None
    layers: Sequence[int] | None = None
    heads: int = 14
    recycle: float = 0.3
    cluster: int = 10
    noise: float = 0.0
    positions: str | None = None  # type: ignore[assignment]
    preset: str | None = None
    name: ClassVar[str] = "sparsevlm"
    shares_prefix: ClassVar[bool] = True
    display_name: ClassVar[str] = "SparseVLM"
    paper: ClassVar[str] = "Zhang et al., ICML 2025, arXiv 2410.04417"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#5E3C99", "dark": "#b2a1e0", "marker": "D", "linestyle": "-", "order": 2.5
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = (
        "v{version}", "preset {preset}", "{counts} tokens", "{ratios}", "{scale}·rank+{bias}"
    )  # fmt: skip
    solved_fields: ClassVar[tuple[str, ...]] = ("counts", "ratios", "scale", "bias", "preset")
    layout_fields: ClassVar[tuple[str, ...]] = ("layers",)
    share_field: ClassVar[str] = "ratios"
    merged: ClassVar[str] = "the best of the pruned tokens, clustered by density peaks"
    needs_embeddings: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.version = str(self.version)
        check_setting("version", self.version, VERSIONS)
        adaptive = self.version == "1.0"
        vars(self).update(adaptive=adaptive, presets=PRESETS[self.version], paper_layers=LAYERS[self.version])
        self._check_counts(adaptive)
        usual: dict[str, Any] = {"layers": None}
        if adaptive:
            usual |= {"scale": 13.5, "bias": 0.0}
        elif self.counts is None and self.preset is None and self.ratios is None:
            usual["ratios"] = tuple(n / PATCHES for n in COUNTS[self.version]["192"])
        self.prepare(usual)
        self._check_values()
        if self.positions is None:
            self.positions = "keep" if self.version == "plus" else RENUMBER_IF_POSSIBLE
        check_positions(self.positions)

    def _check_counts(self, adaptive: bool) -> None:
        """Refuse settings of another version, and two kinds of counts."""
        others = ("counts", "ratios") if adaptive else ("scale", "bias")
        for name in others:
            if getattr(self, name) is not None:
                raise UserError(
                    f"{name}={getattr(self, name)!r} is no setting of SparseVLM's version {self.version}: "
                    f"use {'scale and bias' if adaptive else 'counts or ratios'}."
                )
        if self.ratios is not None and (self.counts is not None or self.preset is not None):
            raise UserError(
                "ratios, counts and preset say the same: give one of them, and null for the others."
            )

    def _check_values(self) -> None:
        drops = len(self._named if self.layers is None else self.layers)
        for name in ("counts", "ratios"):
            given = getattr(self, name)
            if given is None:
                continue
            if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != drops:
                where = "" if self.layers is None else f" of layers={list(self.layers)}"
                raise UserError(
                    f"{name}={given!r} is not allowed: give {drops} numbers, one for each drop{where}."
                )
            setattr(self, name, tuple(given))
        for count in self.counts or ():
            check_count("counts", count, low=0)
        if self.ratios is not None:
            check_ratios(self.ratios)
        for name, low in (("scale", 0), ("bias", -_MANY)):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), low=low, high=_MANY)
        check_number("recycle", self.recycle, low=0, high=1)
        check_number("noise", self.noise, low=0, high=1)
        check_count("heads", self.heads)
        check_count("cluster", self.cluster)

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the drops, each ranked by the layer before."""
        return tuple(Drop(layer, scoring_layer=layer - 1) for layer in self.layers_of(num_layers))

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return how many image tokens there are after each drop, those merged included."""
        if self.version == "1.0":
            raise no_schedule(f"{self.display_name} 1.0")
        counts, alive = [], image_tokens
        for wanted in self._wanted(image_tokens):
            kept = min(wanted, alive - 1) if alive else 0
            alive = kept + self._made(alive - kept)
            counts.append(alive)
        return tuple(counts)

    def asked_count(self, num_layers: int) -> int:
        """Return the largest of the counts that are given; those that are made come on top."""
        return max(self.counts or (0,))

    def _wanted(self, image_tokens: int) -> tuple[int, ...]:
        """The tokens retained at each drop, where there are enough."""
        if self.counts is not None:
            return tuple(self.counts)
        return tuple(int(image_tokens * ratio + 1e-9) for ratio in self.ratios or ())

    def _made(self, pruned: int) -> int:
        """The tokens made of so many pruned ones."""
        return 0 if self.version == "plus" else cluster_count(pruned, self.recycle, self.cluster)

    def select(self, context: SelectionContext) -> Selection:
        """Rate, retain the best, and merge the best of the others."""
        from pdrop_eval.engine.stages.ops import on_device, top_mask

        raters = rating.text_raters(context)
        if self.version == "1.0":
            assert self.scale is not None
            assert self.bias is not None
            scores, ranks = rating.ranked_attention(context, raters)
            wanted = [int(rank * self.scale + self.bias) for rank in ranks]
            # A full rank says that no token repeats another: nothing goes.
            counts = [
                v if rank == v else max(0, min(count, v - 1))
                for count, rank, v in zip(wanted, ranks, context.alive, strict=True)
            ]
        else:
            if self.version == "plus":
                scores, _ = rating.corrected_attention(context, raters, self.heads)
            else:
                scores = rating.mean_attention(context, raters)
            counts = [
                min(self._wanted(n)[context.drop], v - 1) if v else 0
                for n, v in zip(context.image_tokens, context.alive, strict=True)
            ]
        keep = top_mask(scores, context.image, on_device(counts, scores.device))
        pruned = [v - count for v, count in zip(context.alive, counts, strict=True)]
        if self.version == "plus" or not any(pruned):
            return Selection(scores=scores, keep=keep)
        merge = partial(_merged, self._plans(context, scores, keep, pruned))
        return Selection(scores=scores, keep=keep, merge=merge)

    def _plans(
        self, context: SelectionContext, scores: Tensor, keep: Tensor, pruned: Sequence[int]
    ) -> list[_Plan]:
        """What is to be merged of each row; the noise is drawn now, so that the drop can be repeated."""
        import torch

        plans = []
        for row, p in enumerate(pruned):
            gone = (context.image[row] & ~keep[row]).nonzero()[:, 0]
            candidates = gone[scores[row, gone].topk(candidate_count(p, self.recycle)).indices]
            noise = None
            if self.noise:
                drawn = torch.rand(len(candidates), generator=context.generator(row))
                noise = (self.noise * drawn).to(scores.device)
            plans.append((candidates, self._made(p), noise))
        return plans

    def ranking_flops(self, sizes: Architecture, alive: Sequence[int], text_tokens: int) -> int:
        """Return the likeness of image and text, and each drop's keys, text queries and their products."""
        once = alive[0] * text_tokens * sizes.d
        extra = sizes.head if self.version == "plus" else 0
        return once + rating.rows_flops(sizes, alive, text_tokens, extra)

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means, and which layers were scaled."""
        notes = []
        if self.preset is not None and self.version == "1.0":
            notes.append(
                f"preset={self.preset} of version 1.0 aims at that mean over the layers; the counts follow "
                "the rank of each sample's attention, and the record has their mean."
            )
        elif self.preset is not None:
            mean = sum(self.schedule(num_layers, image_tokens)) / num_layers
            # A layer that prunes counts with what it leaves: all drops one layer earlier.
            layers = [0, *(layer - 1 for layer in self.layers_of(num_layers)), num_layers]
            counts = (image_tokens, *self.retained(num_layers, image_tokens))
            official = sum(n * (b - a) for n, (a, b) in zip(counts, pairwise(layers), strict=True))
            notes.append(
                f"preset={self.preset} is the official mean over the layers, in which a layer that prunes "
                f"counts with what it leaves ({official / num_layers:.4g} here); by the tokens that layers "
                f"process it is {mean:.4g} of {image_tokens}, and {counts[-1]} are left in the end."
            )
        if self.layers is None:
            notes += scaled_note(self._named, num_layers)
        return notes

    @classmethod
    def for_budget(cls, model: Any, **given: Any) -> Any:
        """Return a strategy that costs no more than the budget; see `Strategy.for_budget`.

        Raises:
            UserError: also of version 1.0, whose counts no setting decides.
        """
        if str(given.get("version", cls.version)) == "1.0":
            raise no_budget(f"{cls.display_name} 1.0")
        return super().for_budget(model, **given)

    @classmethod
    def budget_layouts(cls, num_layers: int, **fields: Any) -> Sequence[Layout]:
        """Return counts between those of the official presets, and the first layers as the last resort."""
        layers = fields.pop("layers", None)
        if layers is not None:
            return [Layout(partial(_between, cls, layers=tuple(layers), **fields))]
        named = LAYERS[str(fields.get("version", cls.version))]
        usual = scaled(named, num_layers)
        first = tuple(range(1, len(named) + 1))
        note = earlier_note(usual)
        early = [] if usual == first else [Layout(partial(_between, cls, layers=first, **fields), note)]
        return [Layout(partial(_between, cls, **fields)), *early]


def _between(cls: type[SparseVLM], share: float, **fields: Any) -> SparseVLM:
    return cls(ratios=between(str(fields.get("version", cls.version)), share), **fields)


_Plan = tuple["Tensor", int, "Tensor | None"]


def _merged(plans: Sequence[_Plan], hidden: Tensor) -> Merged:
    """Return the tokens that each row's candidates become on the states [b, n, d] that enter the drop."""
    made = [number for _, number, _ in plans]
    tokens = hidden.new_zeros(len(plans), max(made), hidden.shape[2])
    for row, (candidates, number, noise) in enumerate(plans):
        if number:
            tokens[row, :number] = clustered(hidden[row, candidates], number, noise).tokens
    return Merged(tokens, made)
