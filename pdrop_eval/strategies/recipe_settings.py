"""Where settings name recipes: the files behind them, and their contents in place of their names.

Apart from `recipe`, which strategies import: the list of all strategies, needed here to know which of them
take recipes, is no part of what decides a run's numbers.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pdrop_eval.strategies.combinations import JOIN
from pdrop_eval.strategies.recipe import Recipe, read_recipe
from pdrop_eval.strategies.registry import installed


def recipes_in(settings: Any) -> Iterator[Recipe]:
    """Yield the recipes that settings name, wherever a strategy's stand in them.

    Args:
        settings: plain values: dicts, of which those of a strategy have its class as `_target_`, and lists.

    Raises:
        UserError: a recipe that can't be read.
    """
    if isinstance(settings, Mapping):
        for key, name in _taking(settings).items():
            yield read_recipe(settings[key], name)
        for value in settings.values():
            yield from recipes_in(value)
    elif isinstance(settings, Sequence) and not isinstance(settings, str):
        for value in settings:
            yield from recipes_in(value)


def by_content(settings: Any) -> Any:
    """Return settings with the hash of each recipe's content in the place of its name.

    Args:
        settings: as of `recipes_in`.

    Raises:
        UserError: a recipe that can't be read.
    """
    if isinstance(settings, Mapping):
        changed = {key: by_content(value) for key, value in settings.items()}
        return changed | {
            key: read_recipe(changed[key], name).sha256 for key, name in _taking(settings).items()
        }
    if isinstance(settings, Sequence) and not isinstance(settings, str):
        return [by_content(value) for value in settings]
    return settings


def _taking(settings: Mapping[str, Any]) -> dict[str, str]:
    """Which of the settings of a strategy, or of a combination, name a recipe, each with whose it is."""
    if not isinstance(settings.get("_target_"), str):
        return {}
    found = [_takers().get(target) for target in settings["_target_"].split(JOIN)]
    alone = len(found) == 1
    keys = {("recipe" if alone else f"{name}.recipe"): name for name in found if name is not None}
    return {key: name for key, name in keys.items() if settings.get(key) is not None}


@cache
def _takers() -> dict[str, str]:
    """The strategies that take recipes, by class."""
    found = [info for info in installed().values() if info.recipe_fields]
    return {f"{info.module}.{info.class_name}": info.name for info in found}
