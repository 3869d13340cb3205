"""What lmms-eval's own command names is held against the model before it is loaded, as our plans do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.adapter import model_sha256
from pdrop_eval.models.loading.checkpoint import check_checkpoint, resolve_checkpoint
from pdrop_eval.models.loading.hub import hub_commit
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.run.config.fits import check_strategy
from pdrop_eval.strategies.recipe_settings import recipes_in
from pdrop_eval.strategies.registry import VANILLA


def check_arguments(
    strategy: Any, settings: Mapping[str, Any], pretrained: str, revision: str | None, adapter: Any,
    trust_remote_code: bool, anyres: Any,
) -> None:  # fmt: skip
    """Refuse a strategy that arguments name and that doesn't fit the model: its recipe, layers and counts.

    Args:
        strategy: the strategy.
        settings: its settings as they are named; empty for an object, which a plan has checked.
        pretrained: the checkpoint.
        revision: of the checkpoint on the Hub.
        adapter: on it.
        trust_remote_code: whether code of the checkpoint may run.
        anyres: LLaVA-NeXT's grids of tiles.

    Raises:
        UserError: with what is allowed.
    """
    if settings:
        check_recipes(settings, pretrained, revision, adapter)
        drops = strategy.name != VANILLA
        check_strategy(strategy, check_checkpoint(pretrained, revision, trust_remote_code, drops), anyres)


def check_recipes(settings: Mapping[str, Any], pretrained: str, revision: str | None, adapter: Any) -> None:
    """Refuse a model that a strategy's recipe wasn't made for, before it is loaded.

    Args:
        settings: of the strategy, with its class as `_target_`.
        pretrained: the checkpoint.
        revision: of the checkpoint on the Hub.
        adapter: on it.

    Raises:
        UserError: another model than the recipe's.
    """
    recipes = list(recipes_in(settings))
    if recipes:
        source = resolve_checkpoint(pretrained)
        commit = None if isinstance(source, Path) else hub_commit(source, "model", revision)
        for recipe in recipes:
            recipe.check_model(pretrained, model_sha256(checkpoint_sha256(source, commit), adapter))
