"""Combinations by name: `visionzip+pdrop` is VisionZip before the decoder, then PyramidDrop in it.

A setting of a part has the part's name in front: `pdrop.ratio`. On the command line a combination is a list
of its parts, `combine=[visionzip,{pdrop:{ratio:0.4}}]`; inside, it is the name and the settings.
Nothing here imports a strategy.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.validation import check_choice

JOIN = "+"
EXAMPLE = "combine=[visionzip,{pdrop:{ratio:0.4}}]"


def is_combined(name: str) -> bool:
    """Tell whether a name, or a class, is that of a combination."""
    return JOIN in name


def is_strategy(name: str) -> bool:
    """Tell whether a name is a file of `conf/strategy`, or a combination of them."""
    return all(part in options("strategy") for part in name.split(JOIN))


def check_name(name: str, what: str = "strategy", more: Iterable[str] = (), fix: str = "") -> None:
    """Refuse a name that is neither a file of `conf/strategy` nor a combination of them.

    Args:
        name: of a strategy.
        what: it is, for the message.
        more: names that are allowed beside them.
        fix: what else the message says.

    Raises:
        UserError: with the nearest name.
    """
    for part in name.split(JOIN) if is_combined(name) else [name]:
        check_choice(what, part, [*options("strategy"), *more], fix)


def keys_of(names: Sequence[str]) -> list[str]:
    """Return what stands in front of each part's settings: its name; the second of two equal ones has a 2."""
    return [name if names.index(name) == at else f"{name}_{at + 1}" for at, name in enumerate(names)]


def flattened(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of parts, each with its part's name in front: `{"pdrop.ratio": 0.4}`."""
    return {f"{key}.{name}": value for key, fields in parts.items() for name, value in fields.items()}


def parted(keys: Sequence[str], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the settings of each part, from those with the parts' names in front.

    Raises:
        UserError: a setting of no part.
    """
    found: dict[str, dict[str, Any]] = {key: {} for key in keys}
    for name, value in settings.items():
        key, _, own = name.partition(".")
        if key not in found or not own:
            raise UserError(
                f"{name} is no setting of {JOIN.join(keys)}: a setting has its part's name in front, "
                f"{keys[-1]}.<name>."
            )
        found[key][own] = value
    return list(found.values())


def read_parts(parts: Any, setting: str = "combine") -> tuple[str, dict[str, Any]]:
    """Read a list of parts.

    Args:
        parts: such as `["visionzip", {"pdrop": {"ratio": 0.4}}]`.
        setting: under which it was given, for messages.

    Returns:
        The combination's name, `visionzip+pdrop`, and the settings that are given, `{"pdrop.ratio": 0.4}`.

    Raises:
        UserError: No list of two, and a part that there isn't.
    """
    if not isinstance(parts, (list, tuple)) or len(parts) != 2:
        raise UserError(
            f"{setting}={shown(parts)} is no combination: name two strategies, the first before the decoder "
            f"and the second in it, as in {EXAMPLE}."
        )
    read = [_part(part, setting) for part in parts]
    names = [name for name, _ in read]
    for name in names:
        check_choice(f"strategy in {setting}", name, options("strategy"))
    settings = dict(zip(keys_of(names), (fields for _, fields in read), strict=True))
    return JOIN.join(names), flattened(settings)


def as_parts(name: str, settings: Mapping[str, Any]) -> str:
    """Return the list that `read_parts` reads: `[visionzip,{pdrop:{ratio:0.4}}]`."""
    names = name.split(JOIN)
    fields = parted(keys_of(names), settings)
    return shown([{part: own} if own else part for part, own in zip(names, fields, strict=True)])


def shown(value: Any) -> str:
    """Return a value as the command line has it: `[a,{b:{c:[2,4]}}]`."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{shown(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(shown, value))}]"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _part(part: Any, setting: str) -> tuple[str, Mapping[str, Any]]:
    if isinstance(part, str):
        return part, {}
    if isinstance(part, Mapping) and len(part) == 1:
        ((name, fields),) = part.items()
        if isinstance(fields, Mapping) or fields is None:
            return str(name), fields or {}
    raise UserError(
        f"{setting} has {shown(part)}: write one strategy with its settings by name, {{pdrop:{{ratio:0.4}}}}."
    )
