"""The whole model's FLOPs: vision tower, projector, decoder with text, rankings, head, and decode steps.

Nothing here needs torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.efficiency.architecture import Architecture, architecture_of
from pdrop_eval.efficiency.schedules import choosing_of, schedule_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_setting

PARTS = ("vision", "projector", "decoder", "ranking", "head", "decode", "prefill", "ttft", "total")
CONVENTION = (
    "multiply-adds of the whole model, image and text tokens: all layers of the vision tower and the "
    "projector on every tile; linear maps and attention (every pair, no causal half) of the decoder layers; "
    "each drop's ranking (keys of all tokens before it, one query row, or what the strategy asks), and what "
    "choosing before the decoder multiplies; the output head on the last "
    "position; decode steps of one token, each layer on its own cache. Left out: embeddings, norms, softmax, "
    "activations, rotations"
)


@dataclass(frozen=True)
class ModelFlops:
    """Multiply-adds of one sample, part by part; see `convention`.

    Attributes:
        vision: the vision tower, on all tiles.
        projector: on all tiles.
        decoder: the layers' prefill.
        ranking: of all drops that find an image token, and of choosing tokens before the decoder.
        head: the output head on the last position.
        decode: the steps after the first token, head included.
        convention: what is counted, in words.
    """

    vision: int
    projector: int
    decoder: int
    ranking: int
    head: int
    decode: int = 0
    convention: str = CONVENTION

    @property
    def prefill(self) -> int:
        """What follows the image features up to the first token: decoder, rankings and head."""
        return self.decoder + self.ranking + self.head

    @property
    def ttft(self) -> int:
        """What comes before the first token: vision tower, projector and prefill."""
        return self.vision + self.projector + self.prefill

    @property
    def total(self) -> int:
        """All of it, decode steps included."""
        return self.ttft + self.decode


class KeepAll:
    """Vanilla without the engine, which needs torch."""

    def drops(self, num_layers: int) -> tuple[Any, ...]:
        """Return no drops."""
        return ()

    def retained(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return no counts."""
        return ()

    def schedule(self, num_layers: int, image_tokens: int) -> tuple[int, ...]:
        """Return all image tokens for each layer."""
        return (image_tokens,) * num_layers


def model_flops(
    config: Any,
    strategy: Any,
    image_tokens: int,
    text_tokens: int,
    new_tokens: int = 0,
    tiles: int | None = None,
    schedule: Sequence[int] | None = None,
) -> ModelFlops:
    """Count one sample's multiply-adds, from its pixels to its last decode step.

    A strategy says itself what a ranking costs: usually the attention of one query row
    (`SelectionContext.attention`), and nothing where no image token is left to rank. What choosing costs
    before the decoder counts as ranking, too.

    Args:
        config: a transformers config, a config.json as a dict, or its `Architecture`; of a text model alone,
            there is no vision tower to count.
        strategy: the strategy.
        image_tokens: of the prompt, before any drop.
        text_tokens: of the prompt.
        new_tokens: decode steps. The first token of an answer comes with the prefill, so an answer of t
            tokens takes t - 1 steps.
        tiles: tiles that the vision tower sees; None: as many as fit the image tokens best. Of pictures at
            their own size, each is one.
        schedule: image tokens of each layer where a run has measured them, as it must where the strategy
            decides by the image how many remain; None: what the strategy says.

    Raises:
        UserError: a negative number, a config of another kind of model, a strategy that doesn't fit.
    """
    counted = {"image_tokens": image_tokens, "text_tokens": text_tokens, "new_tokens": new_tokens}
    for name, value in {**counted, "tiles": 0 if tiles is None else tiles}.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise UserError(f"{name}={value!r} is not allowed: use a whole number from 0 up.")
    sizes = architecture_of(config)
    tiles = sizes.tiles(image_tokens) if tiles is None else tiles
    left = None if schedule is None else int(schedule[0])
    if schedule is None:
        schedule = schedule_of(strategy, sizes.layers, image_tokens, sizes.tile_tokens)
    head = sizes.d * sizes.vocabulary
    return ModelFlops(
        vision=sizes.vision(image_tokens, tiles),
        projector=sizes.projection(tiles * sizes.tile_tokens or (image_tokens if tiles else 0)),
        decoder=sum(sizes.layer(n + text_tokens) for n in schedule),
        ranking=_ranking(sizes, strategy, schedule, text_tokens)
        + choosing_of(strategy, sizes, image_tokens, tiles, left),
        head=head,
        decode=sum(
            head + sum(sizes.linear(1) + sizes.attention(1, n + text_tokens + step) for n in schedule)
            for step in range(1, new_tokens + 1)
        ),
    )


def speedup_bound(
    config: Any, strategy: Any, image_tokens: int, text_tokens: int, part: str = "prefill", **same: Any
) -> float:
    """Return how many times the strategy's FLOPs of a part go into vanilla's.

    It bounds the speed-up where time is proportional to the products.

    Args:
        config: see `model_flops`, as for the next three.
        strategy: the same.
        image_tokens: the same.
        text_tokens: the same.
        part: one of `PARTS`: a field of `ModelFlops`, "prefill", "ttft" or "total".
        **same: new_tokens and tiles.

    Raises:
        UserError: an unknown part, one that costs nothing here, and what `model_flops` raises.
    """
    check_setting("part", part, PARTS)
    vanilla, own = (
        getattr(model_flops(config, s, image_tokens, text_tokens, **same), part)
        for s in (KeepAll(), strategy)
    )
    if not own:
        raise UserError(f"part={part!r} costs nothing here, so nothing can be gained: choose another one.")
    return vanilla / own


def _ranking(sizes: Architecture, strategy: Any, schedule: Sequence[int], text_tokens: int) -> int:
    """All drops that find an image token; the engine ranks nothing once all are gone."""
    alive = [schedule[drop.layer - 1] for drop in strategy.drops(sizes.layers)]
    return int(strategy.ranking_flops(sizes, alive, text_tokens)) if any(alive) else 0
