"""VScan: patches that the class token looks at, and in the decoder's middle those that the text looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from pdrop_eval.engine.schedule import check_named_layers
from pdrop_eval.engine.stages.positions import RENUMBER_IF_POSSIBLE
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.before import check_count
from pdrop_eval.strategies.depth import scaled, scaled_note
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.presets import check_preset, fill
from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.strategies.two_stage import TwoStage

LAYER, PART = 16, 3  # of 32; one of so many tokens goes on behind it


@dataclass
class VScan(TwoStage):
    """VScan (Zhang et al., TMLR 2026, arXiv 2505.22654), as far as its rule is known here.

    A combination: T patches stay before the decoder; before its layer 16 (of 32) they are ranked as in
    PyramidDrop, by the attention that the last prompt token pays to them there, and a fixed number stays.
    Official code: Tencent/SelfEvolvingAgent at a82450e, VScan (`visual_token_num`, `layer_list`,
    `image_token_list`).

    What is built of the paper's two scans in the encoder is the global one: the patches to which the class
    token attends most in the layer whose output is taken, as in FasterVLM, on whose code the official one
    stands. Not built is the local scan, which gives a part of T to windows of the image by an early layer,
    and the merging of unselected tokens into selected ones: which layer, windows and weights these have was
    not at hand. Scores stand for this variant, not for the paper's.

    Deliberate differences from the official code, beside these: those of FasterVLM and PyramidDrop; the layer
    is scaled to the model's depth.

    Attributes:
        visual_token_num: T, of each tile; None: 96, or what the preset says.
        image_token_num: those that stay from `layer` on, of all images of a prompt together; None: 32, or
            what the preset says.
        layer: the drop, before this layer of the model itself; None: 16 of 32, scaled.
        layout: of several tiles, as in FasterVLM.
        positions: as in PyramidDrop.
        preset: None, or one of `presets`: 192, 128 and 64 of 576 tokens, the mean over 32 layers. The paper's
            code has 64; the others are in its proportion.
    """

    visual_token_num: int | None = None
    image_token_num: int | None = None
    layer: int | None = None
    layout: str = "official"
    positions: str = RENUMBER_IF_POSSIBLE
    preset: str | None = None
    name: ClassVar[str] = "vscan"
    display_name: ClassVar[str] = "VScan"
    paper: ClassVar[str] = "Zhang et al., TMLR 2026, arXiv 2505.22654"
    series_style: ClassVar[Mapping[str, Any]] = {
        "color": "#4E6A1E", "dark": "#a9c77a", "marker": "s", "linestyle": ":", "order": 20
    }  # fmt: skip
    label_fields: ClassVar[tuple[str, ...]] = ("T={visual_token_num}", "then {image_token_num}", "K={layer}")
    solved_fields: ClassVar[tuple[str, ...]] = ("visual_token_num", "image_token_num", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"visual_token_num": 288, "image_token_num": 96},
        "128": {"visual_token_num": 192, "image_token_num": 64},
        "64": {"visual_token_num": 96, "image_token_num": 32},
    }

    def __post_init__(self) -> None:
        fill(self, {"visual_token_num": 96, "image_token_num": 32})
        for name in ("visual_token_num", "image_token_num"):
            check_count(name, getattr(self, name))
        self._check_layer(None)
        self.first = FasterVLM(visual_token_num=self.visual_token_num, layout=self.layout)
        self.second = _MiddleLayer(stages=2, positions=self.positions, whole=self)
        self.settle()

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than a tile has, and a preset for other images."""
        check_preset(self, shape)
        super().check_shape(shape)

    def layer_of(self, num_layers: int) -> int:
        """Return the layer before which tokens go, in a model of `num_layers`."""
        self._check_layer(num_layers)
        return scaled((LAYER,), num_layers)[0] if self.layer is None else self.layer

    def notes(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> list[str]:
        """Say what a preset comes to, and where the layer is."""
        notes = []
        if self.preset is not None:
            mean = sum(self.schedule(num_layers, image_tokens, tile_tokens)) / num_layers
            notes.append(
                f"preset={self.preset} is image tokens a layer in the mean over the layers: {mean:.4g} of "
                f"{image_tokens} here."
            )
        return notes if self.layer is not None else notes + scaled_note((LAYER,), num_layers)

    def _check_layer(self, num_layers: int | None) -> None:
        if self.layer is not None:
            check_named_layers("layer", self.layer, num_layers)

    @property
    def asked(self) -> tuple[str, str]:
        """What the halves are called where their counts don't go together."""
        return f"visual_token_num={self.visual_token_num}", f"image_token_num={self.image_token_num}"

    @classmethod
    def for_count(cls, count: int, shape: TokenShape, **fields: Any) -> VScan:
        """Return VScan with both counts in the paper's proportion, 3 to 1."""
        first = FasterVLM.for_count(count, shape, layout=fields.get("layout", cls.layout))
        left = first.retained_count(shape)
        return cls(visual_token_num=first.count, image_token_num=max(1, left // PART), **fields)


@dataclass(repr=False)
class _MiddleLayer(PyramidDrop):
    """PyramidDrop's ranking at one layer, after which a fixed number of tokens is left."""

    whole: Any = None

    def drops(self, num_layers: int) -> tuple[Any, ...]:
        """Return the one drop."""
        return PyramidDrop(layers=(self.whole.layer_of(num_layers),), ratios=(0.5,)).drops(num_layers)

    def retained(self, num_layers: int, image_tokens: int) -> Sequence[int]:  # type: ignore[override]
        """Return the one count."""
        return (min(self.whole.image_token_num, image_tokens),)
