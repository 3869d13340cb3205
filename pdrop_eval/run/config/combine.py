"""Combinations on the command line: `combine=[visionzip,pdrop]` in place of `strategy=`.

It becomes `strategy=visionzip+pdrop`, a choice of the group that is made when it is asked for, and the
settings that are given inside become `strategy.pdrop.ratio=0.4`.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Override

from pdrop_eval.run.config.quoting import parsed
from pdrop_eval.strategies.combinations import EXAMPLE, JOIN, check_name, is_combined, keys_of, read_parts
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import presets

SETTING = "combine"


def without_combine(arguments: Sequence[str]) -> list[str]:
    """The overrides with `strategy=` in place of `combine=`.

    Raises:
        UserError: Both are given, or what is no combination.
    """
    given = [one for one in arguments if one.partition("=")[0].lstrip("+") == SETTING]
    if not given:
        return list(arguments)
    rest = [one for one in arguments if one not in given]
    found = parsed([given[-1].lstrip("+")])[0]
    if found.value() is None and not found.is_sweep_override():
        return rest
    for one in rest:
        if one.lstrip("+~").partition("=")[0].partition(".")[0] == "strategy":
            raise UserError(
                f"{given[-1]} and {one} can't be given together: a combination names its strategies itself, "
                f"with their settings inside, {EXAMPLE}. Leave one of them out."
            )
    return [*rest, *_overrides(found)]


def register(name: str) -> None:
    """Make a combination a choice of the group `strategy`: the settings of its parts by their names."""
    names = name.split(JOIN)
    check_name(name)
    parts = [dict(presets("strategy")[part]) for part in names]
    node: dict[str, Any] = {"_target_": JOIN.join(str(part.pop("_target_")) for part in parts)}
    ConfigStore.instance().store(
        group="strategy", name=name, node=node | dict(zip(keys_of(names), parts, strict=True))
    )


def register_all(names: Iterable[str]) -> None:
    """Do so with those of the names that are combinations."""
    for name in names:
        if is_combined(name):
            register(name)


def _overrides(found: Override) -> list[str]:
    if not found.is_sweep_override():
        name, settings = read_parts(found.value())
        return [f"strategy={name}", *(f"strategy.{key}={_literal(value)}" for key, value in settings.items())]
    names = []
    for one in found.sweep_string_iterator():
        name, settings = read_parts(parsed([f"{SETTING}={one}"])[0].value())
        if settings:
            raise UserError(
                f"{found.input_line} sweeps over combinations, one of them with settings of its own: run "
                "that one alone, or give none of them settings."
            )
        names.append(name)
    return [f"strategy={','.join(names)}"]


def _literal(value: Any) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_literal(key)}:{_literal(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(_literal, value))}]"
    return json.dumps(value, ensure_ascii=False)
