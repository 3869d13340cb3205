"""Random: image tokens by chance; a control that looks at nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.engine.before_decoder.interface import ImageReducer, ImageView, Reduced
from pdrop_eval.engine.interface import Drop, SelectionContext
from pdrop_eval.engine.schedule import check_named_layers
from pdrop_eval.engine.stages.positions import check_positions
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.before import BeforeStrategy, check_count
from pdrop_eval.strategies.presets import check_preset, fill, preset_note

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Random(BeforeStrategy):
    """Keeps T image tokens by chance, in their order: a control without any choice.

    Each sample of a run draws anew, and draws the same whenever the run is repeated. Exactly T are left. More
    than an image of the model has (its `nominal_shape`) are refused before a sample is computed; where images
    differ in size, as in LLaVA-NeXT, a smaller one that has fewer than T keeps all of its tokens, and the
    record has the mean that was left. In the library, equal images draw equal tokens before the decoder, and
    rows with as many image tokens do in it, unless `strategy(model, seeds=[...])` gives one number a row.

    Attributes:
        tokens: T: before the decoder of each image, in it of all images of a row; None: 64, or what the
            preset says.
        k: the layers that see all image tokens; 0: the tokens go before the decoder.
        seed: another one draws other tokens; to average over.
        positions: within the decoder, "keep" leaves the tokens their position ids, "renumber" closes the
            gaps, as a published variant does in deep layers. Before the decoder there are none yet.
        preset: None, or one of `presets`: T by its name, of LLaVA-1.5's 576 or (`next_`) LLaVA-NeXT's 2,880
            tokens. Within the decoder it is the final count.
    """

    tokens: int | None = None
    k: int = 0
    seed: int = 0
    positions: str = "keep"
    preset: str | None = None
    name: ClassVar[str] = "random"
    display_name: ClassVar[str] = "Random"
    stage: ClassVar[str] = "both"
    label_fields: ClassVar[tuple[str, ...]] = ("{tokens} tokens", "K={k}", "seed {seed}")
    solved_fields: ClassVar[tuple[str, ...]] = ("tokens", "preset")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "192": {"tokens": 192},
        "128": {"tokens": 128},
        "64": {"tokens": 64},
        "next_640": {"tokens": 640},
        "next_320": {"tokens": 320},
        "next_160": {"tokens": 160},
    }

    def __post_init__(self) -> None:
        fill(self, {"tokens": 64})
        check_count("tokens", self.tokens)
        check_count("k", self.k, low=0)
        check_count("seed", self.seed, low=0)
        check_positions(self.positions)
        # By the question's own chance: before the decoder it decides what enters, in it what goes at layer k.
        vars(self)["shares_prefix"] = bool(self.k)

    @property
    def reducer(self) -> ImageReducer | None:
        """Itself, unless the tokens go within the decoder."""
        return None if self.k else self

    def drops(self, num_layers: int) -> tuple[Drop, ...]:
        """Return the one drop after k layers, or none."""
        if not self.k:
            return ()
        check_named_layers("k", self.k, num_layers)
        return (Drop(layer=self.k),)

    @property
    def count(self) -> int:
        """T."""
        assert self.tokens is not None
        return self.tokens

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return T for the one drop."""
        return (min(self.count, image_tokens),) if self.k else ()

    def schedule(self, num_layers: int, image_tokens: int, tile_tokens: int | None = None) -> tuple[int, ...]:
        """Return T for every layer from k on."""
        if self.k:
            return Strategy.schedule(self, num_layers, image_tokens)
        return super().schedule(num_layers, image_tokens, tile_tokens)

    def rank(self, context: SelectionContext) -> Tensor:
        """Return chance [b, n]; a row's doesn't depend on the rows beside it."""
        import torch

        scores = torch.zeros(context.image.shape)
        for row, n in enumerate(context.image_tokens):
            words = f"{self.seed} {context.seeds[row]}".encode()
            seed = int.from_bytes(hashlib.sha256(words).digest()[:8], "big") >> 1
            chance = torch.rand(n, generator=torch.Generator().manual_seed(seed))
            scores[row, context.image[row].cpu()] = chance  # no token is gone yet
        return scores.to(context.image.device)

    def retained_count(self, shape: TokenShape) -> int:
        """Return T, or all that there are."""
        return min(self.count, shape.tokens)

    def check_shape(self, shape: TokenShape) -> None:
        """Refuse more than an image has, and a preset for other tiles."""
        check_preset(self, shape)
        check_count("tokens", self.tokens, shape.tokens)

    def check_image(self, shape: TokenShape) -> None:
        """Refuse a preset for other images."""
        check_preset(self, shape)

    def notes(self, num_layers: int, image_tokens: int) -> list[str]:
        """Say what a preset's number means within the decoder."""
        return preset_note(self, "final", num_layers, image_tokens) if self.k else []

    def reduce(self, view: ImageView) -> Reduced:
        """Return them."""
        import torch

        order = torch.randperm(len(view.tokens), generator=view.generator)
        return view.take(order[: self.count].sort().values)
