"""Whether a strategy fits the model that it is asked for, from the checkpoint's config.json: before torch."""

from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from pdrop_eval.efficiency.budget import solve
from pdrop_eval.engine.before_decoder.fits import check_fits
from pdrop_eval.models import families
from pdrop_eval.models.loading.checkpoint import Checkpoint
from pdrop_eval.models.text_model import text_sizes
from pdrop_eval.run.config.spec import StrategySpec
from pdrop_eval.strategies.combinations import is_combined
from pdrop_eval.strategies.make import settings_of, without_torch
from pdrop_eval.utils.errors import UserError, naming
from pdrop_eval.utils.presets import presets


def check_model(
    spec: StrategySpec, checkpoint: Checkpoint, anyres: Any, budget: Mapping[str, Any] | None = None
) -> None:
    """Refuse a strategy that doesn't fit the model, as far as its config.json says it; the rest comes later.

    Args:
        spec: The strategy.
        checkpoint: The model's.
        anyres: The setting `model.anyres`.
        budget: What may be spent, `{"tokens": 64}`; it decides the counts.

    Raises:
        UserError: With what is allowed, under the names of the command line.
    """
    strategy = without_torch(spec.build)
    if strategy is None:
        return
    if not budget:
        with spec.named():
            check_strategy(strategy, checkpoint, anyres)
        return
    # What config.json leaves to transformers' defaults is known only when it is loaded: checked again then.
    with suppress(AttributeError):
        config = view_of(checkpoint)
        families.multimodal(checkpoint.family).set_anyres(anyres, config)
        within_budget(spec, strategy, config, budget)


def within_budget(spec: StrategySpec, strategy: Any, config: Any, budget: Mapping[str, Any]) -> Any:
    """Return the strategy that costs no more than a budget.

    Args:
        spec: As it was asked for.
        strategy: The same, built.
        config: The model's.
        budget: What may be spent, by kind.

    Raises:
        UserError: A budget out of reach, and settings that it decides itself, under the command line's names.
    """
    _check_decided(spec, strategy)
    with naming(budget, "budget."), naming(spec.settings.keys() - budget.keys(), "strategy."):
        return solve(strategy, config, **budget)


def check_strategy(strategy: Any, checkpoint: Checkpoint, anyres: Any) -> None:
    """Refuse a strategy that doesn't fit a checkpoint's model, under the names that its own fields have.

    Raises:
        UserError: With what is allowed.
    """
    family, config = families.multimodal(checkpoint.family), view_of(checkpoint)
    if (layers := getattr(config.text_config, "num_hidden_layers", None)) is not None:
        strategy.drops(layers)
    with suppress(AttributeError):  # checked again when the config is loaded
        family.set_anyres(anyres, config)
        check_fits(family, config, strategy, ready=False)
        check_asked(strategy, config.text_config.num_hidden_layers, family.nominal_shape(config).tokens)


def view_of(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's config.json in the form of a transformers config; see `config_view`."""
    family = families.multimodal(checkpoint.family)
    text = text_sizes(family.text_settings(checkpoint.config) or {}, family.text_types[0])
    return config_view({**checkpoint.config, "text_config": text})


def _check_decided(spec: StrategySpec, strategy: Any) -> None:
    """Refuse settings that a budget decides: a command line that names them is refused even earlier."""
    # As they are asked for: a strategy fills in what depends on others.
    usual = settings_of(spec.preset) if is_combined(spec.preset) else presets("strategy").get(spec.preset)
    for name in (*getattr(strategy, "layout_fields", ()), *getattr(strategy, "solved_fields", ())):
        value = spec.settings.get(name)
        if value is not None and value != (spec.settings if usual is None else usual).get(name):
            raise UserError(
                f"strategy.{name}={value} can't be given with a budget, which decides that itself. Leave "
                "one of them out."
            )


def check_asked(strategy: Any, layers: int, image_tokens: int) -> None:
    """Refuse a strategy in the decoder that asks for more tokens than an image has: it would drop none.

    In the library it may ask for more, where a prompt has several images.

    Args:
        strategy: The strategy.
        layers: The model's depth.
        image_tokens: Of an image, or of a sample where that is several.

    Raises:
        UserError: With the number that an image has.
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
