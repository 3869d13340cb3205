"""Recipes belong to a model: lmms-eval's own command is refused another one, as ours is by its plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.models.loading.adapter import model_sha256
from pdrop_eval.models.loading.checkpoint import resolve_checkpoint
from pdrop_eval.models.loading.hub import hub_commit
from pdrop_eval.records.run_identity import checkpoint_sha256
from pdrop_eval.strategies.recipe_settings import recipes_in


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
