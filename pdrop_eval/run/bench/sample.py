"""What a row of a batch is, and whether the strategies fit the model, by its sizes. Needs no torch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pdrop_eval.efficiency.architecture import nominal_image_tokens
from pdrop_eval.efficiency.budget import solve
from pdrop_eval.engine.before_decoder.fits import check_fits
from pdrop_eval.models import families
from pdrop_eval.models.loading.checkpoint import Checkpoint
from pdrop_eval.run.bench.spec import BenchSpec
from pdrop_eval.run.config.fits import check_asked, view_of
from pdrop_eval.strategies.make import make_strategy, without_torch
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from pdrop_eval.run.bench.settings import Variant

TEXT_SIZES = {
    "layers": "num_hidden_layers", "width": "hidden_size", "intermediate": "intermediate_size",
    "heads": "num_attention_heads", "kv_heads": "num_key_value_heads", "vocabulary": "vocab_size",
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What one row of a batch is. tiles: that the vision tower sees; size: height and width of an image."""

    images: int
    tiles: int
    image_tokens: int
    text_tokens: int
    size: tuple[int, int]


def sample_of(config: Any, image_tokens: int | None, text_tokens: int) -> Sample:
    """The sample with so many image tokens, made up of whole images. Raises UserError if there is none.

    A LLaVA-NeXT's image fills the largest grid; its nominal number (2,880) stands for it with its newlines.
    """
    vision, shape, nominal = (
        config.vision_config,
        families.multimodal_of(config).largest_image(config),
        nominal_image_tokens(config),
    )
    one = shape.tokens
    asked = one if image_tokens is None else image_tokens
    for unit in (one, nominal):
        if asked % unit == 0:
            images = asked // unit
            return Sample(images, images * shape.tiles, images * one, text_tokens, shape.size)
    below = max(1, asked // one)
    raise UserError(
        f"image_tokens={asked} is no whole number of images: an image has {one:,} tokens here. Use "
        f"{below * one} or {(below + 1) * one}, or images of another size, which follows from "
        f"sizes.tile={getattr(vision, 'image_size', None)} and sizes.patch={vision.patch_size}."
    )


def fitted(variant: "Variant", budget: Mapping[str, Any], config: Any, image_tokens: int | None) -> Any:
    """Return a variant's strategy, within the budget unless its own settings say what remains.

    Args:
        variant: of a strategy.
        budget: by kind; empty for none.
        config: the model's, or what is known of it.
        image_tokens: of the sample; None where that isn't known.

    Raises:
        UserError: one that doesn't fit the model, or a budget that it can't meet.
    """
    try:
        strategy = make_strategy(str(variant.strategy), variant.fields)
        decided = getattr(strategy, "solved_fields", ())  # what was given by hand stays
        if budget and variant.strategy != VANILLA and not set(variant.fields) & set(decided):
            return solve(strategy, config, **budget, image_tokens=image_tokens)
        layers = config.get_text_config().num_hidden_layers
        strategy.drops(layers)
        check_fits(families.multimodal_of(config), config, strategy, ready=False)
        if image_tokens is not None:
            check_asked(strategy, layers, image_tokens)
    except UserError as error:
        raise UserError(f"strategies has {variant.label}: {error}") from error
    return strategy


def check_variants(
    config: BenchSpec, variants: Sequence["Variant"], budget: Mapping[str, Any], known: Any
) -> None:
    """Refuse what doesn't fit the model, as far as its sizes are known; the rest comes when it is built.

    Args:
        config: the settings.
        variants: what is compared.
        budget: by kind; empty for none.
        known: the model's sizes, see `known_sizes`.

    Raises:
        UserError: with the variant and what is allowed.
    """
    tokens = None
    with suppress(AttributeError):
        families.multimodal_of(known).set_anyres(config.model.anyres or "p5", known)
        tokens = sample_of(known, config.image_tokens, config.text_tokens).image_tokens
    for variant in variants:
        if variant.strategy is not None:
            with suppress(AttributeError):
                without_torch(lambda one=variant: fitted(one, budget, known, tokens))  # type: ignore[misc]


def known_sizes(config: BenchSpec, checkpoint: Checkpoint | None, published: str | None) -> Any:
    """Return what is known of a model's config without torch, in its form.

    Args:
        config: the settings, whose `sizes` count.
        checkpoint: whose config.json is there; None for a published model.
        published: the name of that.
    """
    given = config.sizes.given()
    if checkpoint is None:
        family, whole = families.published_text(str(published))
        checkpoint = Checkpoint(family, whole, Path(), {})
    found = view_of(checkpoint)
    for name, value in given.items():
        if name in TEXT_SIZES:
            setattr(found.text_config, TEXT_SIZES[name], value)
    if given.keys() - TEXT_SIZES.keys():
        found.vision_config = SimpleNamespace()  # of other sizes, which follow when the model is built
    return found
