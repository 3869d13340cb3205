"""The configuration folder as a registry: choices, and wrong overrides explained."""

import difflib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.run.config.combine import register, without_combine
from pdrop_eval.run.config.endpoint import check_runs_here
from pdrop_eval.run.config.quoting import advice, parsed
from pdrop_eval.strategies.combinations import JOIN, is_combined
from pdrop_eval.strategies.registry import info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, options
from pdrop_eval.utils.presets import presets
from pdrop_eval.utils.terminal.cli import CONFIG_ERRORS, explain
from pdrop_eval.utils.validation import check_choice

# The groups of each entry point: a configuration file in `conf`, and the folders that it chooses from.
ENTRIES = {
    "evaluate": ("strategy", "model", "suite", "experiment"),
    "train": ("strategy", "model", "recipe", "distributed"),
    "bench": ("model",),
    "calibrate": ("strategy", "model", "suite"),
    "sweep": ("sweep",),
    "import": (),
    **dict.fromkeys(("compare", "show", "tables", "figures", "page", "merge", "check-results"), ()),
}
# Where + adds what the defaults don't name: a strategy's class says what it takes when it is built.
_OPEN = ("strategy.", "max_drop_of.", "distributed.fsdp_config.")


def _scratch() -> str:
    """A folder of this user for what Hydra insists on writing in a sweep."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    return os.path.join(tempfile.gettempdir(), f"pdrop-eval-{user}")


OmegaConf.register_new_resolver("scratch", _scratch, replace=True)


def compose_config(overrides: Sequence[str] = (), entry: str = "evaluate") -> DictConfig:
    """The configuration that a command runs with these overrides. Raises UserError for a wrong one."""
    overrides = _without_combine(overrides, entry)
    _check_sweeps(check_overrides(overrides, entry))
    return _compose(overrides, entry)


def _compose(overrides: Sequence[str], entry: str) -> DictConfig:
    if GlobalHydra.instance().is_initialized():  # inside a Hydra application: leave its state as it is
        raise RuntimeError("compose_config can't be called while Hydra runs; use the config that it passed")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            return compose(entry, overrides=list(overrides))
        except CONFIG_ERRORS as error:
            raise explain(error) from error


def chosen_strategy(overrides: Sequence[str], entry: str = "evaluate") -> str:
    """The name of the strategy's file, or of the combination of two, that overrides choose."""
    given = without_combine(overrides)
    chosen = [override.partition("=")[2] for override in given if override.startswith("strategy=")]
    return chosen[-1] if chosen else _default("strategy", entry)


def check_sections(config: Any) -> None:
    """Raises UserError where a setting stands in the place of a group of them, or a list isn't one."""
    for part in ("data", "model", "suite", "strategy", "judge"):
        if part in config and not OmegaConf.is_dict(config[part]):
            raise UserError(
                f"{part}={config[part]} would replace all of its settings: set one, {part}.<name>=."
            )
    if not OmegaConf.is_list(config.suite.tasks):
        raise UserError(f"suite.tasks={config.suite.tasks} is no list: write suite.tasks=[gqa,pope].")
    if not (config.tasks is None or isinstance(config.tasks, str) or OmegaConf.is_list(config.tasks)):
        raise UserError(f"tasks={config.tasks} is no list: write tasks=[gqa,pope], or tasks=null for all.")


@lru_cache
def own_settings(entry: str) -> list[str]:
    """The names at the top of an entry's file, with its groups."""
    config: Any = OmegaConf.load(CONF / f"{entry}.yaml")
    return [*(str(key) for key in config if key not in ("defaults", "hydra")), *ENTRIES[entry]]


def help_text(entry: str) -> str:
    """What --help prints of an entry whose settings are its own, from its file alone: at once."""
    config: Any = OmegaConf.load(CONF / f"{entry}.yaml")
    own = OmegaConf.to_yaml(OmegaConf.masked_copy(config, own_settings(entry)))
    return str(config.hydra.help.template).replace("$CONFIG", own)


def check_settings(arguments: Sequence[str], entry: str) -> list[str]:
    """The command line; refuses one that names a setting which a program of few settings doesn't have."""
    config: Any = OmegaConf.load(CONF / f"{entry}.yaml")
    parts = {name: config[name] for name in own_settings(entry)}
    known = [
        f"{name}.{inner}" if inner else name
        for name, part in parts.items()
        for inner in (part if OmegaConf.is_dict(part) else [""])
    ]
    given = [one for one in arguments if "=" in one and not one.startswith(("-", "hydra."))]
    for argument in given:
        name = argument.partition("=")[0].lstrip("+~")
        check_choice("setting", name, known, f"pdrop-eval-{entry} --help lists them.")
    _check_sweeps(parsed(given))
    return list(arguments)


def check_command_line(arguments: Sequence[str], entry: str = "evaluate") -> list[str]:
    """Checks the overrides in a command line before Hydra sees them; returns it with the flags first.

    Hydra reads `a=1 -m b=2` only as `-m a=1 b=2`. Raises UserError.
    """
    arguments = _without_combine(arguments, entry)
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    ordered = [argument for argument in arguments if argument not in overrides] + overrides
    known, _ = get_args_parser().parse_known_args(ordered)
    if known.config_dir or known.config_path or known.config_name:
        return ordered  # the user's own configuration: Hydra knows better what is allowed
    parsed = check_overrides(known.overrides, entry)
    if not known.multirun and any(override.key_or_group == "hydra/launcher" for override in parsed):
        raise UserError("hydra/launcher=... needs -m: Hydra runs the command right here without it. Add -m.")
    if not known.multirun:
        _check_sweeps(parsed, "Add -m to run one after the other. ")
    return ordered


def check_overrides(arguments: Sequence[str], entry: str = "evaluate") -> list[Override]:
    """Parses overrides such as `strategy=pdrop` or `limit=32`, checks choices and keys. Raises UserError."""
    overrides = parsed(_without_combine(arguments, entry))
    groups, chosen = ENTRIES[entry], dict[str, list[str]]()
    for override in overrides:
        if override.key_or_group in groups and not override.is_delete():
            chosen[override.key_or_group] = _check_group(override)
    check_runs_here(chosen.get("model", ()), entry)
    for override in overrides:
        key = override.key_or_group
        if not (key in groups or re.match(r"hydra\b", key)):
            _check_key(key, chosen, entry, adds=override.is_add() or override.is_force_add())
    _check_budget(overrides, chosen.get("strategy") or [_default("strategy", entry)])
    return overrides


def _without_combine(arguments: Sequence[str], entry: str) -> list[str]:
    """The same with `strategy=` in place of `combine=`, where an entry has the group."""
    return without_combine(arguments) if "strategy" in ENTRIES[entry] else list(arguments)


def _check_sweeps(parsed: Iterable[Override], otherwise: str = "") -> None:
    """Raises UserError for several values where one is wanted."""
    for override in parsed:
        if override.is_sweep_override():
            line = str(override.input_line)
            raise UserError(
                f"{line} has several values. {otherwise}A list is written in brackets, tasks=[gqa,pope]. "
                f"{advice(line)}"
            )


def _check_budget(overrides: Iterable[Override], strategies: Iterable[str]) -> None:
    """A budget decides some settings of a strategy itself. Raises UserError for both in one command."""
    given = [override for override in overrides if not override.is_delete() and override.value() is not None]
    budgets = [str(o.input_line) for o in given if o.key_or_group.startswith("budget.")]
    decided = {f"strategy.{name}" for preset in strategies for name in _decided(preset)} if budgets else set()
    own = [str(o.input_line) for o in given if o.key_or_group in decided]
    if own:
        raise UserError(
            f"{', '.join(own)} can't be given with {', '.join(budgets)}: a budget decides that itself. Leave "
            "one of them out."
        )


def _decided(preset: str) -> tuple[str, ...]:
    """What a budget decides of a strategy of this package; those of the user's own are checked when built."""
    if is_combined(preset):
        first = preset.split(JOIN, maxsplit=1)[0]
        return tuple(f"{first}.{name}" for name in info_of(_registered(first)).solved_fields)
    return info_of(_registered(preset)).decided


def _registered(preset: str) -> str:
    """The name of a file's class."""
    target = str(presets("strategy").get(preset, {}).get("_target_"))
    return registered_name(target) or preset


def _check_group(override: Override) -> list[str]:
    group = override.key_or_group
    if override.is_choice_sweep():
        values = [str(value) for value in override.sweep_iterator()]
    else:
        values = ["" if override.value() is None else str(override.value())]
    for value in values:
        if group == "strategy" and is_combined(value):
            register(value)
        elif not (group in ("experiment", "sweep") and value == ""):
            check_choice(group, value, options(group), _how_to_add(group, value))
    return values


def _how_to_add(group: str, name: str) -> str:
    """How to make an unknown name known, for an error; empty where no file could have it."""
    if not name.isidentifier():
        return ""
    if group != "strategy":
        return f"A new one is a file conf/{group}/{name}.yaml."
    files = f"its class in pdrop_eval/strategies/{name}.py and a file conf/strategy/{name}.yaml"
    return f"A new one is {files}: see the project's CONTRIBUTING.md."


def _check_key(key: str, chosen: Mapping[str, list[str]], entry: str, adds: bool = False) -> None:
    """Raises UserError for a setting that there isn't; `adds`: it is given with + or ++."""
    group = key.split(".", maxsplit=1)[0]
    if adds and f"{key}.".startswith(_OPEN):
        return
    for choice in chosen.get(group, [None]) if group in ENTRIES[entry] else [None]:
        config = _defaults_with(f"{group}={choice}" if choice else None, entry)
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(config, parent) if parent else config
        keys = [str(entry) for entry in node if entry != "_target_"] if OmegaConf.is_dict(node) else []
        if adds and parent:  # what another choice of the group has, and this one leaves out
            usual = OmegaConf.select(_defaults_with(None, entry), parent)
            keys += [str(one) for one in usual if one not in keys] if OmegaConf.is_dict(usual) else []
        if name not in keys and name != "_target_":
            named = f"{group}={choice or _default(group, entry)}" if group in ENTRIES[entry] else parent
            where = f"setting of {named}" if parent else "setting"
            check_choice(where, name, keys, _elsewhere(name, keys, entry))


def _elsewhere(name: str, keys: Sequence[str], entry: str) -> str:
    """Where a setting of this name is, if it is none of those that could be meant here."""
    listed = "pdrop-eval --help lists everything."
    paths: dict[str, str] = {}
    defaults: Any = OmegaConf.to_container(_defaults_with(None, entry))
    # Of several places the one in a group that is chosen: a model's, before that of data of one's own.
    for path in sorted(_paths(defaults), key=lambda path: path.partition(".")[0] not in ENTRIES[entry]):
        paths.setdefault(path.rpartition(".")[2], path)
    near = difflib.get_close_matches(name, paths, n=1, cutoff=0.8)
    if not near or difflib.get_close_matches(name, keys, n=1):
        return listed
    return f"Did you mean {paths[near[0]]}? {listed}"


def _paths(node: Mapping[str, Any], group: str = "") -> Iterator[str]:
    for name, inner in node.items():
        yield f"{group}{name}"
        if isinstance(inner, Mapping):
            yield from _paths(inner, f"{group}{name}.")


@lru_cache
def _defaults_with(choice: str | None, entry: str) -> DictConfig:
    return _compose([choice] if choice else [], entry)


def _default(group: str, entry: str) -> str:
    for default in OmegaConf.load(CONF / f"{entry}.yaml").defaults:
        if OmegaConf.is_dict(default) and group in default:
            return str(default[group])
    return "?"
