"""Strategy objects from the files of `conf/strategy`, or from a class's name; without Hydra.

What runs a model reads this file too, so nothing here says how a command is written or ends.
"""

import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from pdrop_eval.engine.stages.positions import UnsetPositions
from pdrop_eval.strategies.combinations import (
    EXAMPLE,
    JOIN,
    check_name,
    flattened,
    is_combined,
    keys_of,
    parted,
    read_parts,
)
from pdrop_eval.utils.errors import UserError, naming
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.validation import check_choice, check_truth


def make_strategy(name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """The strategy of `conf/strategy/<name>.yaml`, or a combination of two, with some of its fields replaced.

    Raises:
        UserError: An unknown name or field, and what the strategy itself raises for a wrong value.
    """
    return instantiate_strategy(settings_of(name, fields), given=list(fields or ()))


def settings_of(name: str, fields: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings of `conf/strategy/<name>.yaml`, with some of them replaced; its class is `_target_`.

    Args:
        name: Of a file, or of a combination: `visionzip+pdrop`, whose classes are joined likewise.
        fields: Values by name; of a combination with the file's name in front, `pdrop.ratio`. In what is
            returned, it is the name of the class.

    Raises:
        UserError: An unknown name or field.
    """
    check_name(name)
    if is_combined(name):
        names = name.split(JOIN)
        own = parted(keys_of(names), fields or {})
        return joined([settings_of(part, given) for part, given in zip(names, own, strict=True)])
    config = deepcopy(_read(CONF / "strategy" / f"{name}.yaml"))
    known = [key for key in config if key != "_target_"]
    for key in fields or {}:
        check_choice(f"field of strategy={name}", key, known)
    return {**config, **(fields or {})}


@cache
def _read(path: Path) -> dict[str, Any]:
    """A file of settings: a large sweep asks for the same ones thousands of times."""
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    return found


def combination_of(text: Any, setting: str = "combine") -> tuple[str, dict[str, Any]]:
    """A combination's name and the settings that are given, from what a command line says of it.

    Args:
        text: `[visionzip,{pdrop:{ratio:0.4}}]`; or, without settings, `visionzip/pdrop`.
        setting: Under which it was given, for messages.

    Raises:
        UserError: No combination.
    """
    if not isinstance(text, str):
        return read_parts(text, setting)
    if not text.lstrip().startswith("["):
        return read_parts(text.split("/"), setting)
    try:  # YAML wants a space behind a colon
        return read_parts(yaml.load(re.sub(r":(?=\S)", ": ", text), _Loader), setting)
    except yaml.YAMLError as error:
        raise UserError(f"{setting}={text} can't be read: write it as in {EXAMPLE}.") from error


def joined(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a combination's parts, each with its `_target_`, as those of the whole."""
    targets = [str(part["_target_"]) for part in parts]
    own = [{key: value for key, value in part.items() if key != "_target_"} for part in parts]
    return {"_target_": JOIN.join(targets), **flattened(dict(zip(_keys(targets), own, strict=True)))}


def instantiate_strategy(settings: Mapping[str, Any], given: Collection[str] | None = None) -> Any:
    """The strategy object of a class, `_target_`, with its fields. Lists become tuples.

    Args:
        settings: Plain values by name, as a file of `conf/strategy` has them, or as `settings_of` returns.
        given: The names of those that the user gave; None: all. Position ids that nobody asked to renumber
            stay as they are where a model's can't be.

    Raises:
        UserError: A class that isn't there or is no strategy, and values that it refuses.
    """
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    target = str(fields.pop("_target_"))
    if is_combined(target):
        return _combination(target.split(JOIN), fields, given)
    build = _strategy_class(target)
    _check_fields(build, fields)
    usual: Any = getattr(build, "positions", None)
    asked = given is None or "positions" in given
    if isinstance(usual, UnsetPositions) and fields.get("positions") == usual and not asked:
        fields["positions"] = usual
    try:
        return build(**fields)
    except TypeError as error:  # a number where a list belongs, and the like
        raise UserError(f"The settings of {target} are not of the right kind: {error}.") from error


def _combination(targets: Sequence[str], fields: Mapping[str, Any], given: Collection[str] | None) -> Any:
    """The combination of two classes, with the fields of both."""
    # By its name: what a statement imports here counts in the identity of every run, this in a combination's.
    combine: Any = import_module(f"{__package__}.combine").Combine
    keys = _keys(targets)
    halves = []
    for key, target, own in zip(keys, targets, parted(keys, fields), strict=True):
        with naming(own, f"{key}."):
            mine = given and [name.removeprefix(f"{key}.") for name in given if name.startswith(f"{key}.")]
            halves.append(instantiate_strategy({"_target_": target, **own}, mine))
    if len(halves) != 2:
        raise UserError(f"{JOIN.join(keys)} combines {len(halves)} strategies: name two, as in {EXAMPLE}.")
    return combine(*halves)


def _keys(targets: Sequence[str]) -> list[str]:
    return keys_of([str(_strategy_class(target).name) for target in targets])


def _strategy_class(target: str) -> Any:
    """The class of a strategy; nothing else is ever called."""
    from pdrop_eval.strategies.base import Strategy

    build = _class(target)
    if not (isinstance(build, type) and issubclass(build, Strategy)):
        raise UserError(
            f"strategy._target_={target} is no strategy: name a subclass of {Strategy.__module__}.Strategy."
        )
    return build


def without_torch(build: Callable[[], Any]) -> Any | None:
    """What `build` returns, without importing torch; None where the strategy's file needs it.

    Raises:
        UserError: What `build` raises for settings that can't be right.
    """
    if sys.modules.get("torch") is not None:
        return build()
    barred = "torch" in sys.modules  # by a test, already
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails at once
    try:
        return build()
    except UserError as error:
        reason: BaseException | None = error
        while reason is not None:
            if isinstance(reason, ImportError) and reason.name == "torch":
                return None
            reason = reason.__cause__ or reason.__context__
        raise
    finally:
        if not barred:
            del sys.modules["torch"]


def _check_fields(build: type, given: Mapping[str, Any]) -> None:
    """Raises UserError for a field that there isn't, and for "no" where a field is true or false."""
    if not is_dataclass(build):
        return
    known = {field.name: field.default for field in dataclass_fields(build) if field.init}
    for name, value in given.items():
        check_choice(f"setting of {build.__name__}", name, known)
        if isinstance(known[name], bool):
            check_truth(name, value)


def _class(target: str) -> Any:
    """What a dotted name names."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except Exception as error:  # whatever is wrong with a strategy's own file
        reason: BaseException = error
        while reason.__cause__ or reason.__context__:
            reason = reason.__cause__ or reason.__context__ or reason
        raise UserError(
            f"The strategy {target} can't be imported: {type(reason).__name__}: {reason}. Check its file and "
            "the _target_ in conf/strategy."
        ) from error


class _Loader(yaml.SafeLoader):
    """Reads `1e-3` as a number, as Hydra does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
