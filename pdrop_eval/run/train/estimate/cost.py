"""What training costs in theory: multiply-adds of forward and backward, by a strategy's schedule.

Nothing here needs torch, except to read a config that leaves its values to transformers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.efficiency import architecture
from pdrop_eval.efficiency.architecture import Architecture
from pdrop_eval.efficiency.model_flops import KeepAll
from pdrop_eval.efficiency.schedules import choosing_of, entering, schedule_of
from pdrop_eval.models import families
from pdrop_eval.models.family import PARTS
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_setting

_CONVENTION = (
    "multiply-adds of forward and backward. image_tokens: image tokens in the decoder layers alone, "
    "4nd^2 + 2n^2d + 3ndm a layer (PyramidDrop Eq. 4). all_tokens: image and text tokens in decoder layers, "
    "rankings and output head, tiles in vision tower and projector. A product's backward counts once for its "
    "input where a gradient goes further back, once for its weights where they learn; attention's twice; "
    "{checkpointing}. Left out: padding, embeddings, norms, activations, the optimizer, and what an "
    "attention kernel computes again"
)
_RECOMPUTED = {
    True: "layers that a gradient passes run forward twice (gradient checkpointing)",
    False: "no layer runs forward twice (no gradient checkpointing)",
}


@dataclass(frozen=True)
class Cost:
    """Multiply-adds in two conventions: as the paper counts, and of the whole model (see `convention`)."""

    image_tokens: int
    all_tokens: int
    convention: str

    def __add__(self, other: "Cost") -> "Cost":
        image, every = self.image_tokens + other.image_tokens, self.all_tokens + other.all_tokens
        return Cost(image, every, self.convention)

    def __mul__(self, times: int) -> "Cost":
        return Cost(self.image_tokens * times, self.all_tokens * times, self.convention)


def training_flops(
    config: Any,
    strategy: Any,
    image_tokens: int,
    text_tokens: int,
    *,
    train: Sequence[str],
    checkpointing: bool,
    lora_rank: int | None = None,
    tiles: int | None = None,
) -> Cost:
    """Count one sample's forward and backward pass.

    Args:
        config: A checkpoint's config.json as a dict, its transformers config, or its `Architecture` (quicker
            for many samples).
        image_tokens, text_tokens: Those of the sample, before any drop.
        train: The parts that learn, of vision, projector and decoder. A frozen decoder costs less, but the
            gradient passes it on its way to the projector.
        lora_rank: A learning decoder learns by adapters of this rank on all its linear layers; its own
            weights and the output head are frozen. None: it learns as a whole.
        tiles: Tiles that the vision tower sees; None: as many as fit the image tokens best.

    Raises:
        UserError: an unknown part, a config of another kind of model, a strategy that doesn't fit it.
    """
    for part in train:
        check_setting("train", part, PARTS)
    sizes = architecture_of(config)
    if tiles is None:
        tiles = sizes.tiles(image_tokens)
    schedule = schedule_of(strategy, sizes.layers, image_tokens, sizes.tile_tokens)
    learns = "decoder" in train
    layers = {
        text: sum(_decoder_layer(sizes, n + text, learns, checkpointing, lora_rank) for n in schedule)
        for text in {0, text_tokens}
    }
    every = layers[text_tokens] + _head_and_rankings(
        sizes, strategy, (image_tokens, *schedule), text_tokens, learns, lora_rank
    )
    every += choosing_of(strategy, sizes, image_tokens, tiles)
    every += tiles * (_vision(sizes, "vision" in train, checkpointing) + _projector(sizes, train))
    return Cost(layers[0], every, _CONVENTION.format(checkpointing=_RECOMPUTED[checkpointing]))


def speedup_bound(
    config: Any,
    strategy: Any,
    image_tokens: int,
    text_tokens: int,
    train: Sequence[str],
    checkpointing: bool,
    *,
    lora_rank: int | None = None,
    tiles: int | None = None,
) -> float:
    """Return how many times the strategy's cost of a sample goes into vanilla's, over all tokens.

    It bounds what can be gained where time is proportional to the products: the arguments are those of
    `training_flops`.
    """
    vanilla, own = (
        training_flops(
            config,
            s,
            image_tokens,
            text_tokens,
            train=train,
            checkpointing=checkpointing,
            lora_rank=lora_rank,
            tiles=tiles,
        ).all_tokens
        for s in (KeepAll(), strategy)
    )
    return vanilla / own


def architecture_of(config: Any) -> Architecture:
    """Read the sizes of a LLaVA model from a config. Raises UserError for another kind of model."""
    sizes = architecture.architecture_of(config)
    if not sizes.vision_layers:
        known = " or ".join(families.display_names().values())
        raise UserError(
            f"A model of type {families.type_of(config)!r} has no vision tower, so the cost of training it "
            f"can't be counted: give the config of a {known} model."
        )
    return sizes


def _decoder_layer(sizes: Architecture, n: int, learns: bool, checkpointing: bool, lora: int | None) -> int:
    """Forward and backward of one layer of n tokens."""
    d, m, q, kv = sizes.d, sizes.m, sizes.q, sizes.kv
    linear, attention = sizes.linear(n), sizes.attention(n, n)
    again = int(checkpointing)
    passes = 2 + again + (1 if learns and not lora else 0)
    cost = passes * linear + (3 + again) * attention
    if learns and lora:
        widths = 2 * (d + q) + 2 * (d + kv) + 3 * (d + m)
        cost += (3 + again) * n * lora * widths
    return cost


def _head_and_rankings(
    sizes: Architecture,
    strategy: Any,
    tokens: Sequence[int],
    text_tokens: int,
    learns: bool,
    lora: int | None,
) -> int:
    """The output head on what is left at the end, and each drop's keys of all tokens before it."""
    drops = strategy.drops(sizes.layers)
    image_tokens, *schedule = tokens
    left = entering(strategy, image_tokens, sizes.tile_tokens)
    counts = (left, *strategy.retained(sizes.layers, left)) if drops else (schedule[-1],)
    keys = sum(n + text_tokens for n in counts[:-1] if n) * sizes.d * sizes.kv
    passes = 3 if learns and not lora else 2
    return keys + passes * (counts[-1] + text_tokens) * sizes.d * sizes.vocabulary


def _vision(sizes: Architecture, learns: bool, checkpointing: bool) -> int:
    """One tile through the tower. Layers behind the one that is taken run, but no gradient comes to them."""
    n, d = sizes.vision_tokens, sizes.vision_d
    layer = 4 * n * d * d + 2 * n * n * d + 2 * n * d * sizes.vision_m
    patches = sizes.patches * sizes.patch_inputs * d
    if not learns:
        return sizes.vision_layers * layer + patches
    return (sizes.vision_layers + sizes.vision_used * (2 + int(checkpointing))) * layer + 2 * patches


def _projector(sizes: Architecture, train: Sequence[str]) -> int:
    """The two linear layers on one tile's tokens."""
    own, before = int("projector" in train), int("vision" in train)
    first = (1 + own + before) * sizes.feature_width * sizes.d
    second = (1 + own + max(own, before)) * sizes.d * sizes.d
    return sizes.tile_tokens * (first + second)
