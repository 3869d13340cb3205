"""Whether a strategy fits the model that it is asked for, from the checkpoint's config.json: before torch."""

from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from pdrop_eval.engine.fits import check_fits
from pdrop_eval.models import families
from pdrop_eval.models.loading.checkpoint import Checkpoint
from pdrop_eval.run.config.spec import StrategySpec
from pdrop_eval.strategies.base import no_budget
from pdrop_eval.strategies.make import without_torch
from pdrop_eval.utils.errors import UserError


def check_model(spec: StrategySpec, checkpoint: Checkpoint, anyres: Any, budget: bool = False) -> None:
    """Refuse a strategy that doesn't fit the model, as far as its config.json says it; the rest comes later.

    Args:
        spec: The strategy.
        checkpoint: The model's.
        anyres: The setting `model.anyres`.
        budget: Whether a budget decides the counts, which is looked at later.

    Raises:
        UserError: With what is allowed, under the names of the command line.
    """
    strategy = without_torch(spec.build)
    if strategy is None:
        return
    if budget:
        if strategy.adaptive and not strategy.bounded:
            raise no_budget(strategy.display_name)
        return
    family = families.multimodal(checkpoint.family)
    text = family.text_settings(checkpoint.config) or {}
    config = config_view({**checkpoint.config, "text_config": text})
    with spec.named():
        if (layers := text.get("num_hidden_layers")) is not None:
            strategy.drops(layers)
    # What config.json leaves to transformers' defaults is known only when it is loaded: checked again then.
    with suppress(AttributeError), spec.named():
        family.set_anyres(anyres, config)
        check_fits(family, config, strategy, ready=False)
        depth = config.get_text_config().num_hidden_layers
        _check_asked(strategy, depth, family.nominal_shape(config).tokens)


def _check_asked(strategy: Any, layers: int, image_tokens: int) -> None:
    """Refuse a strategy in the decoder that asks for more tokens than an image has: it would drop none.

    In the library it may ask for more, where a prompt has several images.
    """
    asked = strategy.asked_count(layers) if strategy.reducer is None else 0
    if asked > image_tokens:
        raise UserError(
            f"{strategy.display_name} as it is set asks for {asked} image tokens in the decoder, and an "
            f"image has {image_tokens}: let it retain {image_tokens} or fewer."
        )


class _View(SimpleNamespace):
    """A config.json with its entries as attributes."""

    def get_text_config(self) -> Any:
        """Return the text model's part."""
        return self.text_config


def config_view(config: Mapping[str, Any]) -> Any:
    """Return a config.json in the form of a transformers config, without its defaults."""
    return _View(
        **{key: config_view(value) if isinstance(value, Mapping) else value for key, value in config.items()}
    )
