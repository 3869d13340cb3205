"""The command line of `pdrop-eval-compare`: its own settings, and those that it passes on to the runs.

Needs no torch. Hydra's grammar has no list of overrides, so the settings that hold one, and those that hold a
path, are read here; everything else is composed by Hydra like any other configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.benchmarks.installed.index import is_installed
from pdrop_eval.benchmarks.registry import check_benchmark, is_known, of_task, registered, registered_by_task
from pdrop_eval.records.rows.overrides import overrides_of_combination
from pdrop_eval.report.compare.place import NAME, unquoted
from pdrop_eval.run.config.compose import compose_config, own_settings
from pdrop_eval.run.config.own_data import own_name
from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_truth, check_whole, is_finite_number

HELP = "pdrop-eval-compare --help lists what is its own, pdrop-eval --help the rest."
GATES = ("shown", "estimate", "possible")
UNPAIRED = ("refuse", "leave_out")
_TEXTS = ("baseline", "candidate", "out", "name")
_SIDES = ("baseline", "candidate")
_LISTS = ("baseline_overrides", "candidate_overrides")
_REFUSED = {
    "strategy": "The strategies are baseline= and candidate=; their settings go into baseline_overrides and "
    "candidate_overrides: candidate_overrides=[strategy.ratio=0.6].",
    "combine": "A combination is named as any strategy: candidate=[visionzip,{pdrop:{ratio:0.4}}].",
    "experiment": "An experiment is a list of runs of its own: a comparison has two.",
    "runs": "An experiment is a list of runs of its own: a comparison has two.",
    "size": "It picks runs of an experiment. Name a model: model=mini576.",
}
# What both runs have in common by necessity: one side's own would narrow the comparison without a word.
_OF_BOTH = ("tasks", "suite", "results", "log")


@dataclass(frozen=True)
class Settings:
    """What is compared, how it is judged and where it is written; `common` are overrides of both runs.

    Drops are in points of 0 to 100 (MME / 20); `max_drop_of` is by benchmark key. max_changed: percent of the
    answers. min_paired: the share of the questions of the smaller side that must have a partner.
    """

    baseline: str
    candidate: str
    common: tuple[str, ...] = ()
    baseline_overrides: tuple[str, ...] = ()
    candidate_overrides: tuple[str, ...] = ()
    downsample: int | None = None
    unpaired: str = "refuse"
    min_paired: float = 0.5
    allow_same: bool = False
    max_drop: float | None = None
    max_drop_of: dict[str, float] = field(default_factory=dict)
    max_drop_overall: float | None = 1.0
    max_changed: float | None = None
    gate: str = "shown"
    power: bool = False
    agreement: float | None = None
    difference: float | None = None
    examples: int = 3
    out: Path = Path("results/compare")
    name: str | None = None

    def overrides(self, role: str) -> tuple[str, ...]:
        """What "baseline" or "candidate" is run with: what both have, and its own in place of it."""
        own = self.baseline_overrides if role == "baseline" else self.candidate_overrides
        names = {_key_of(override) for override in own}
        return (*(override for override in self.common if _key_of(override) not in names), *own)


def read_settings(arguments: Sequence[str]) -> Settings:
    """The settings of a command line. Raises UserError with the value, what is allowed and the fix."""
    given: dict[str, Any] = {}
    composed, common, combined = list[str](), list[str](), dict[str, tuple[str, ...]]()
    own = own_settings("compare")
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or argument.startswith("-"):
            raise UserError(
                f"{argument!r} is no setting: write name=value, as in candidate=fastv or limit=64. {HELP}"
            )
        if argument.startswith(("+", "~")):
            raise UserError(
                f"{argument} can't be given: a comparison takes no +, ++ or ~. Write {argument.lstrip('+~')}."
            )
        group = _key_of(argument).partition(".")[0]
        if name in _SIDES and unquoted(value).startswith("["):
            given[name], combined[f"{name}_overrides"] = overrides_of_combination(unquoted(value), name)
        elif name in _TEXTS:
            given[name] = unquoted(value)
        elif name in _LISTS:
            given[name] = split_overrides(name, value)
        elif group in own:
            composed.append(f"++{argument}" if group == "max_drop_of" else argument)
        else:
            common.append(_passed_on(argument, group, own))
    own_name(common)  # lets max_drop_of name the user's own data
    config: Any = OmegaConf.to_container(compose_config(composed, "compare"))
    values = {name: given.get(name, config[name]) for name in own}
    for name in _LISTS:
        values[name] = (*combined.get(name, ()), *values[name])
        for override in values[name]:
            _check_own(name, override)
    return make_typed(Settings, {**values, **checked(values), "common": tuple(common)})


def split_overrides(name: str, text: str) -> list[str]:
    """`[strategy.ratio=0.4, 'strategy.layers=[2,4]']` as its parts; one without brackets is a list of one.

    Commas inside of quotes, brackets and braces separate nothing.
    """
    inside = text.strip()
    if inside.startswith("[") and inside.endswith("]"):
        inside = inside[1:-1]
    parts, depth, quote = [""], 0, ""
    for letter in inside:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    if quote or depth:
        raise UserError(f"{name}={text} has an unbalanced quote or bracket. Write {name}=[a=1,b=2].")
    return [unquoted(part) for part in parts if part.strip()]


def _passed_on(argument: str, group: str, own: Sequence[str]) -> str:
    if group in _REFUSED:
        raise UserError(f"{argument} can't be given to a comparison. {_REFUSED[group]}")
    theirs = [name for name in own_settings("evaluate") if name not in _REFUSED and name not in own]
    check_choice("setting", group, [*own, *theirs], HELP)
    return argument


def _check_own(name: str, override: str) -> None:
    if "=" not in override:
        raise UserError(f"{name}: {override!r} is no override. Write {name}=[strategy.ratio=0.4].")
    key = _key_of(override)
    if override.startswith(("+", "~")):
        raise UserError(
            f"{name}: {override} can't be given: a comparison takes no +, ++ or ~. Write {name}="
            f"[{override.lstrip('+~')}]."
        )
    if key in _REFUSED:
        side = name.partition("_")[0]
        raise UserError(f"{name}: {override} can't be given. Name the strategy or the run's folder: {side}=.")
    if key.partition(".")[0] in _OF_BOTH:
        raise UserError(
            f"{name}: {override} can't be given: it is the same for both runs. Write {override} on its own."
        )


def _key_of(override: str) -> str:
    """The setting that an override is of."""
    return override.partition("=")[0]


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
            "No check is set, so every comparison would pass. Set max_drop, max_drop_of, max_drop_overall or "
            "max_changed."
        )
    return {
        "max_drop": _points("max_drop", values["max_drop"]),
        "max_drop_overall": _points("max_drop_overall", values["max_drop_overall"]),
        "max_drop_of": _limits_of(limits),
        "max_changed": _changed(values["max_changed"]),
        "min_paired": _share("min_paired", values["min_paired"]),
        **_of_power(values),
        "out": Path(str(values["out"])).expanduser(),
        "name": None if values["name"] in (None, "null") else _file_name(str(values["name"])),
    }


def _key(name: Any) -> str:
    """The benchmark of a key or of a task."""
    if name in registered_by_task():
        return of_task(name).key
    if not is_known(str(name)) and not is_installed(str(name)):
        check_benchmark("benchmark in max_drop_of", name, registered())
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
    if not is_finite_number(value) or not 0 <= value <= 100:
        raise UserError(
            f"{name}={value} is not allowed: it is the drop in points that may pass, a number from 0 to 100. "
            "Use null to leave it out."
        )
    return float(value)


def _changed(value: Any) -> float | None:
    if value is not None and (not is_finite_number(value) or not 0 <= value < 100):
        raise UserError(
            f"max_changed={value} is not allowed: it is the percentage of the answers that may differ, a "
            "number from 0 (not one) to less than 100. Use null to leave it out."
        )
    return None if value is None else float(value)


def _share(name: str, value: Any) -> float:
    if not is_finite_number(value) or not 0 <= value <= 1:
        raise UserError(f"{name}={value} is not allowed: it is a share from 0 to 1, as in {name}=0.5.")
    return float(value)


def _of_power(values: dict[str, Any]) -> dict[str, Any]:
    check_truth("power", values["power"])
    agreement, difference = values["agreement"], values["difference"]
    if not values["power"] and (agreement, difference) != (None, None):
        name = "agreement" if agreement is not None else "difference"
        raise UserError(
            f"{name}={values[name]} is for power=true, which compares nothing. Add it, or leave out."
        )
    if agreement is not None and (not is_finite_number(agreement) or not 0 <= agreement < 1):
        raise UserError(
            f"agreement={agreement} is not allowed: it is the share of questions on which both runs are "
            "equally right, from 0 to less than 1, as in agreement=.9."
        )
    if difference is not None and (not is_finite_number(difference) or not 0 < difference <= 100):
        raise UserError(
            f"difference={difference} is not allowed: it is a number of points, above 0 and at most 100."
        )
    return {
        name: None if values[name] is None else float(values[name]) for name in ("agreement", "difference")
    }


def _file_name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise UserError(
            f"name={name} can't name files: use letters, digits, dots, hyphens and underscores, at most 100, "
            "and out= for the folder."
        )
    return name
