"""Recipes: the settings of a strategy that `pdrop-eval-calibrate` has found for one model, in a JSON file.

A strategy that takes one has the field `recipe`, names in `recipe_fields` the settings that a recipe gives
it, calls `take` before it looks at them, and `check_depth` where it learns the model's depth. The whole file
is described by `pdrop_eval.records.recipe_file`; here stands what a strategy needs of it, without pydantic.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import read_whole
from pdrop_eval.utils.validation import is_plain_name, parse, shortened

FORMAT = "pdrop-eval recipe"
VERSION = 1
FOLDER = Path(__file__).parent / "recipes"  # of those that are shipped: a folder a strategy


@dataclass(frozen=True)
class Recipe:
    """What a strategy takes from a recipe's file.

    Attributes:
        given: as it was named: a file, or the name of a shipped one.
        sha256: of the file's content.
        strategy: the strategy's name.
        settings: of the strategy, by name.
        model: the name of the model that it was made for.
        model_sha256: of that model's weights and files.
        layers: its depth.
        split: the questions that it was made with: "calibration", or "evaluation" for those of an evaluation.
    """

    given: str
    sha256: str
    strategy: str
    settings: Mapping[str, Any]
    model: str
    model_sha256: str
    layers: int
    split: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a record says of it."""
        return {
            "strategy": self.strategy,
            "given": self.given,
            "sha256": self.sha256,
            "model": self.model,
            "layers": self.layers,
            "split": self.split,
        }

    def check_depth(self, num_layers: int) -> None:
        """Refuse a model of another depth. Raises UserError."""
        if num_layers != self.layers:
            raise UserError(
                f"recipe={self.given} was made for {self.model}, which has {self.layers} layers, and this "
                f"model has {num_layers}. {self._fix('<its name>')}"
            )

    def check_model(self, name: str, model_sha256: str) -> None:
        """Refuse another model than the one it was made for. Raises UserError.

        Args:
            name: the model's.
            model_sha256: of the model that is about to run.
        """
        if model_sha256 != self.model_sha256:
            raise UserError(
                f"strategy.recipe={self.given} was made for {self.model}, whose weights are others "
                f"({self.model_sha256[:10]}) than those of {name} ({model_sha256[:10]}). {self._fix(name)}"
            )

    def _fix(self, name: str) -> str:
        return (
            f"Make one for this model, pdrop-eval-calibrate strategy={self.strategy} model={name}, and name "
            "the file that it writes; or leave recipe out."
        )


def shipped(strategy: str) -> list[str]:
    """Return the names of the recipes that the package holds for a strategy."""
    return sorted(path.stem for path in (FOLDER / strategy).glob("*.json"))


def read_recipe(given: Any, strategy: str) -> Recipe:
    """Return a recipe.

    Args:
        given: a file, or the name of a shipped one.
        strategy: the name of the strategy that it has to be of.

    Raises:
        UserError: there is none, it is damaged, or it is another strategy's.
    """
    if not isinstance(given, str) or not given.strip():
        raise UserError(f"recipe={given!r} is not allowed: {_choices(strategy)}")
    path = _place(given, strategy)
    try:
        content = read_whole(path)
    except OSError as error:
        raise UserError(
            f"The recipe {given!r} can't be read ({error.strerror}): {_choices(strategy)}"
        ) from error
    try:
        found = _recipe(given, content)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"The file {path} is no recipe: {error}. Make it again: pdrop-eval-calibrate strategy={strategy}."
        ) from error
    if found.strategy != strategy:
        raise UserError(f"The recipe {given} is of {found.strategy}, not of {strategy}: {_choices(strategy)}")
    return found


def take(strategy: Any) -> None:
    """Give a strategy the settings of its recipe, if it has one; `from_recipe` is the recipe then.

    Args:
        strategy: its settings that a recipe gives are None, or say the same.

    Raises:
        UserError: a recipe that can't be read, and one beside a setting that says something else.
    """
    if strategy.recipe is None:
        return
    recipe = read_recipe(strategy.recipe, strategy.name)
    for name in strategy.recipe_fields:
        if name not in recipe.settings:
            raise UserError(f"The recipe {recipe.given} doesn't say {name}. Make it again.")
        said, value = recipe.settings[name], getattr(strategy, name)
        said = tuple(said) if isinstance(said, list) else said
        if value is not None and (tuple(value) if isinstance(value, list) else value) != said:
            raise UserError(
                f"recipe={recipe.given} says {name}={_shown(said)}, and {name}={_shown(value)} is given "
                "beside it: leave one of them out (null on the command line)."
            )
        setattr(strategy, name, said)
    strategy.from_recipe = recipe


def check_depth(strategy: Any, num_layers: int) -> None:
    """Refuse a model of another depth than that of the strategy's recipe, if it has one. Raises UserError."""
    if strategy.from_recipe is not None:
        strategy.from_recipe.check_depth(num_layers)


def _place(given: str, strategy: str) -> Path:
    """The file that is meant: a name without a folder and an ending may be a shipped one's."""
    if is_plain_name(given) and given in shipped(strategy):
        return FOLDER / strategy / f"{given}.json"
    return Path(given).expanduser()


def _choices(strategy: str) -> str:
    names = ", ".join(shipped(strategy))
    own = f", or one of those that are shipped ({names})" if names else ""
    return f"use a file that pdrop-eval-calibrate strategy={strategy} model=<name> has written{own}."


def _recipe(given: str, content: bytes) -> Recipe:
    """The recipe of a file. Raises ValueError and TypeError for one that is damaged."""
    found = parse(content.decode("utf-8"))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f'it doesn\'t say "format": {json.dumps(FORMAT)}')
    if found.get("version") != VERSION:
        raise ValueError(
            f"its version is {shortened(found.get('version'))}, and this program reads {VERSION}"
        )
    model = found.get("model")
    if not isinstance(model, dict):
        raise TypeError("it names no model")
    kinds = {
        "strategy": (found, str),
        "settings": (found, dict),
        "name": (model, str),
        "sha256": (model, str),
        "layers": (model, int),
    }
    for key, (part, kind) in kinds.items():
        if not isinstance(part.get(key), kind) or isinstance(part.get(key), bool):
            raise TypeError(f"its {key} is {shortened(part.get(key))}")
    return Recipe(
        given=given,
        sha256=hashlib.sha256(content).hexdigest(),
        strategy=found["strategy"],
        settings=found["settings"],
        model=model["name"],
        model_sha256=model["sha256"],
        layers=model["layers"],
        split=(found.get("questions") or {}).get("split"),
    )


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)
