"""How a run's configuration differs from the one in `conf/`, and what that offers. No Hydra: it is slow."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.strategies.combinations import JOIN, flattened, is_combined, keys_of
from pdrop_eval.strategies.make import combination_of
from pdrop_eval.utils.batch_setting import FIXED_BATCH
from pdrop_eval.utils.paths import CONF
from pdrop_eval.utils.presets import presets, read_yaml

# Settings that can change a score; the device and the folders do not belong here.
SETTINGS = ("subset", "seed", "dtype", "batch_size", "attention", "downsample")
# What a setting that is "auto" stands for, on the processor, where a record says what it came to.
_AUTO = {"dtype": "float32", "batch_size": FIXED_BATCH}
# Groups that say how many tokens a strategy drops: other values are another row, not a deviation.
SCHEDULE = ("strategy.", "budget.")
# Not a change: what a suite was asked for, and where its data lie.
_OF_PLACE = {"suite": ("name", "source", "root", "tasks"), "model": (), "strategy": ()}
# A checkpoint that everyone keeps in a folder of their own is named by a folder that doesn't exist here.
USERS_FOLDER = "checkpoints/"


def recorded_settings(
    config: Mapping[str, Any], preset: str, fields: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The parts of a record that say with which settings a run is made: `config`, `strategy` and `changes`.

    Args:
        config: all settings, with those of the strategy.
        preset: the name of the strategy's file in `conf/strategy`.
        fields: what the strategy's settings became, where a budget has decided some of them.
    """
    given = dict(config.get("strategy") or {})
    target = given.pop("_target_", None)
    name = (registered_name(target) if target else None) or preset
    return {
        "config": {key: value for key, value in config.items() if key != "strategy"},
        "strategy": {"name": name, "preset": preset, "target": target, "fields": {**given, **(fields or {})}},
        "changes": changes_from_default(config),
    }


def changes_from_default(config: Mapping, conf: Path = CONF) -> list[str]:
    """The differences as overrides (`strategy.ratio=0.6`), empty for the default configuration.

    Only what can change a score is compared: the strategy, its budget, the model, the suite and `SETTINGS`
    (the limit has its own place). A setting that the record doesn't know yet is no change.
    """
    changes = [change for group in _OF_PLACE for change in _changes(config.get(group), conf, group)]
    budget = config.get("budget") or {}
    changes += [override(f"budget.{key}", value) for key, value in budget.items() if value is not None]
    defaults = read_yaml(conf / "evaluate.yaml")
    usual = {key: (defaults[key], _AUTO.get(key, defaults[key])) for key in SETTINGS if key in defaults}
    changes += [
        override(key, config[key]) for key in usual if key in config and config[key] not in usual[key]
    ]
    data = config.get("data") or {}
    asked = ("prompt_ending", "max_new_tokens")  # of data of the user's own, whose name tells the metric
    changes += [override(f"data.{key}", data[key]) for key in asked if data.get(key) is not None]
    own = own_data(config)
    return [*changes, override("data.root", own)] if own and _source(config) == "rendered" else changes


def own_data(config: Mapping) -> str | None:
    """The user's folder of data that a run has read, if it has."""
    root = (config.get("data") or {}).get("root")
    return str(root) if root else None


def own_folder(config: Mapping) -> list[str]:
    """The overrides that name the user's own questions, if a run has asked them."""
    data = config.get("data") or {}
    names = ("folder", "metric", "name", "ignore") if data.get("folder") else ()
    return [override(f"data.{name}", data[name]) for name in names if data.get(name) is not None]


def _source(config: Mapping) -> str | None:
    return (config.get("suite") or {}).get("source")


def default_of(group: str, values: Any, conf: Path = CONF) -> dict[str, Any] | None:
    """The file of a config group that a record's values are compared with, found by target or name.

    Of the files with a strategy's class, that is the one with the strategy's name: the others are presets.
    """
    if not isinstance(values, Mapping):
        return None
    if is_combined(str(values.get("_target_"))):
        return _default_of_combination(str(values["_target_"]), conf)
    key = "_target_" if "_target_" in values else "name"
    found = {name: file for name, file in presets(group, conf).items() if file.get(key) == values.get(key)}
    own = registered_name(str(values[key])) if key == "_target_" and len(found) > 1 else None
    return found.get(own or "", next(iter(found.values()), None))


def _default_of_combination(target: str, conf: Path) -> dict[str, Any] | None:
    """The defaults of a combination's parts, each with its part's name in front."""
    targets = target.split(JOIN)
    files = [default_of("strategy", {"_target_": one}, conf) for one in targets]
    names = [registered_name(one) or one for one in targets]
    known = [{k: v for k, v in file.items() if k != "_target_"} for file in files if file is not None]
    if len(known) < len(files):
        return None
    return {"_target_": target, **flattened(dict(zip(keys_of(names), known, strict=True)))}


def override(name: str, value: Any) -> str:
    """A value as it is written on the command line: `null`, `true`, `[8,16,24]`, plain text."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


def overrides_of_combination(text: str, setting: str) -> tuple[str, tuple[str, ...]]:
    """A combination's name, and the settings that are given inside, as overrides: `strategy.pdrop.ratio=0.4`.

    Args:
        text: what a command line says of it, `[visionzip,{pdrop:{ratio:0.4}}]`.
        setting: under which it was given, for messages.

    Raises:
        UserError: no combination.
    """
    name, settings = combination_of(text, setting)
    return name, tuple(override(f"strategy.{key}", value) for key, value in settings.items())


def _changes(values: Any, conf: Path, group: str) -> list[str]:
    default = default_of(group, values, conf)
    if default is None:
        return []
    names = [name for name in values if values[name] != default.get(name)]  # null is as good as absent
    return [
        override(f"{group}.{name}", values[name])
        for name in names
        if name not in _OF_PLACE[group] and not str(default.get(name)).startswith(USERS_FOLDER)
    ]
