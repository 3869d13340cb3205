"""The values of a comparison's own settings: which are allowed."""

import math
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks, by_task
from pdrop_eval.report.compare.place import NAME
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_whole

GATES = ("shown", "estimate", "possible")
UNPAIRED = ("refuse", "leave_out")


def checked(values: dict[str, Any]) -> dict[str, Any]:
    """The values of which only some are allowed, in their types."""
    check_choice("gate", values["gate"], GATES)
    check_choice("unpaired", values["unpaired"], UNPAIRED)
    check_whole("examples", values["examples"], 0)
    if values["downsample"] is not None:
        check_whole("downsample", values["downsample"], 2, "Use downsample=null for none.")
    limits = values["max_drop_of"]
    if not isinstance(limits, dict):
        raise UserError(
            f"max_drop_of={limits} is no list of limits. Write it in quotes: 'max_drop_of={{gqa:2,pope:1}}'."
        )
    if not str(values["out"]).strip():
        raise UserError("out= names no folder. Use out=results/compare.")
    single = [values[name] for name in ("max_drop", "max_drop_overall", "max_changed")]
    if single == [None] * 3 and not limits:
        raise UserError(
            "Nothing is looked at, so everything would pass. Set max_drop, max_drop_of, max_drop_overall or "
            "max_changed."
        )
    if not isinstance(values["allow_same"], bool):
        raise UserError(f"allow_same={values['allow_same']} is not allowed: it is true or false.")
    return {
        "max_drop": _points("max_drop", values["max_drop"]),
        "max_drop_overall": _points("max_drop_overall", values["max_drop_overall"]),
        "max_drop_of": _limits_of(limits),
        "max_changed": _changed(values["max_changed"]),
        "min_paired": _share("min_paired", values["min_paired"]),
        "out": Path(str(values["out"])).expanduser(),
        "name": None if values["name"] in (None, "null") else _file_name(str(values["name"])),
    }


def _key(name: Any) -> str:
    """The benchmark of a key or of a task."""
    if name in by_task():
        return by_task()[name].key
    check_choice("benchmark in max_drop_of", name, benchmarks())
    return str(name)


def _points(name: str, value: Any) -> float | None:
    return None if value is None else _limit(name, value)


def _limits_of(limits: dict[Any, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in limits.items():
        key = _key(name)
        if key in found:
            raise UserError(f"max_drop_of names {key} twice, also as {name}. Leave one of them out.")
        found[key] = _limit(f"max_drop_of.{name}", value)
    return found


def _limit(name: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 100:
        raise UserError(
            f"{name}={value} is not allowed: it is the drop in points that may pass, a number from 0 to 100. "
            "Use null to leave it out."
        )
    return float(value)


def _changed(value: Any) -> float | None:
    if value is not None and (not _is_number(value) or not 0 <= value < 100):
        raise UserError(
            f"max_changed={value} is not allowed: it is the percentage of the answers that may differ, a "
            "number from 0 (not one) to less than 100. Use null to leave it out."
        )
    return None if value is None else float(value)


def _share(name: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 1:
        raise UserError(f"{name}={value} is not allowed: it is a share from 0 to 1, as in {name}=0.5.")
    return float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _file_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(
            f"name={name} can't name files: use letters, digits, dots, hyphens and underscores, at most 100, "
            "and out= for the folder."
        )
    return name
