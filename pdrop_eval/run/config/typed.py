"""Plain settings as a typed dataclass: what is a text, a truth value, a group or a list is settled here.

Every command makes its settings so, once, from what Hydra has composed; the values themselves (ranges,
choices) are checked where the command knows what they mean.
"""

import os
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_truth

Kind = TypeVar("Kind")


def make_typed(kind: type[Kind], given: Mapping[str, Any], group: str = "") -> Kind:
    """Return a dataclass made from settings by name.

    Args:
        kind: The dataclass; the types of its fields are the kinds that its settings have.
        given: Plain values: numbers, texts, lists and dicts.
        group: The name of the group that the settings are of, `model`; empty for a command's own.

    Raises:
        UserError: A setting that there isn't, that is missing, or that is of another kind.
    """
    hints, known = get_type_hints(kind), {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    for name in given:
        check_choice(f"setting of {group}" if group else "setting", name, known)
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{_path(group, name)} is missing. Give it a value, as the files of conf/ do.")
    return kind(
        **{name: _typed(hints[name], given[name], _path(group, name)) for name in known if name in given}
    )


def typed_config(kind: type[Kind], config: DictConfig) -> Kind:
    """Return what Hydra has composed as a dataclass; see `make_typed`."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    return make_typed(kind, plain)


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A value of the kind that a field has. Numbers are checked with their range, by the command."""
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if (value is None and type(None) in kinds) or hint is Any:
        return value
    group: Any = next(filter(is_dataclass, kinds), None)
    if group and isinstance(value, Mapping):
        return make_typed(group, value, name)
    if group and not isinstance(value, group):
        inner = ", ".join(f"{name}.{field.name}" for field in fields(group))
        raise UserError(f"{name}={_shown(value)} would replace all of its settings: set one of {inner}.")
    if bool in kinds:
        check_truth(name, value)
    listed = next((kind for kind in kinds if get_origin(kind) is tuple), None)
    if listed:
        return _listed(listed, value, name)
    if str in kinds and int not in kinds:
        if value is None or isinstance(value, (dict, list)):
            raise UserError(f"{name}={_shown(value)} is not allowed: it must be a text.")
        return _text(value)
    return value


def _text(value: Any) -> str:
    """A text; one that begins with ~/ is a path, which no shell has expanded inside of quotes."""
    return os.path.expanduser(value) if str(value).startswith("~/") else str(value)


def _listed(hint: Any, value: Any, name: str) -> tuple[Any, ...]:
    """A list as a tuple; a text that stands for a list of one, too."""
    if isinstance(value, str):
        return (_text(value),)
    if not isinstance(value, (list, tuple)):
        raise UserError(f"{name}={_shown(value)} is not allowed: it must be a list, {name}=[...].")
    return tuple(map(_text, value)) if str in get_args(hint) else tuple(value)


def _shown(value: Any) -> Any:
    return "null" if value is None else value


def _path(group: str, name: str) -> str:
    return f"{group}.{name}" if group else name
