"""The command line of `pdrop-eval-show`: its own settings, and those that it passes on to the evaluation.

Needs no torch. What is its own is plain text and lists; everything else is one of `pdrop-eval`'s settings.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.records.rows.overrides import overrides_of_combination
from pdrop_eval.report.compare.place import NAME, unquoted
from pdrop_eval.report.compare.settings import split_overrides
from pdrop_eval.report.show.samples import Ids, read_samples
from pdrop_eval.run.config.compose import own_settings
from pdrop_eval.run.config.own_data import own_name
from pdrop_eval.strategies.combinations import check_name
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, options
from pdrop_eval.utils.validation import check_choice

VIEWS, QUERIES = ("retained", "attention"), ("last", "text")
HELP = "pdrop-eval-show --help lists what is its own, pdrop-eval --help the rest."
_OVERRIDES = "_overrides"
_REFUSED = {
    "tasks": "What is shown is sample=: sample=docvqa:17,gqa:3.",
    "limit": "What is shown is sample=: sample=docvqa:0-9.",
    "subset": "What is shown is sample=: sample=docvqa:0-9.",
    "experiment": "An experiment is a list of runs; name strategies: strategy=pdrop,fastv.",
    "runs": "An experiment is a list of runs; name strategies: strategy=pdrop,fastv.",
    "size": "It picks runs of an experiment. Name a model: model=mini576.",
    "results": "No record is written; the drawings go to out=.",
    "judge": "A judge scores runs; what is shown here is the answer itself.",
}
_SAME_ANSWER = (
    "device", "log", "workers", "feature_cache", "prefix_cache", "prefix_memory", "model", "batch_size",
    "data.root", "data.folder", "data.metric", "data.name", "data.ignore", "include_path",
)  # fmt: skip
_USUAL = "suite=mini"  # what nobody has to say, but `make show` does
_LONGEST = 100


@dataclass(frozen=True)
class Settings:
    """What is shown and where it is written; `common` are overrides of all strategies, `own` those of each.

    Attributes:
        layers: Of view "attention"; None: the default ones, empty: all.
    """

    samples: tuple[Ids, ...]
    strategies: tuple[str, ...]
    view: str = "retained"
    layers: tuple[int, ...] | None = None
    query: str = "last"
    out: Path = Path("results/report/show")
    name: str | None = None
    common: tuple[str, ...] = ()
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def tasks(self) -> list[str]:
        """The tasks that samples are of."""
        return list(dict.fromkeys(ids.task for ids in self.samples))

    def overrides(self, strategy: str) -> list[str]:
        """With which pdrop-eval would run one of the strategies."""
        own = any(one.startswith("data.folder=") for one in self.common)  # a suite of one task
        tasks = [] if own else [f"tasks=[{','.join(self.tasks)}]"]
        return [f"strategy={strategy}", *tasks, *self.common, *self.own.get(strategy, ())]

    def file_name(self, key: str, doc_id: int, model: str) -> str:
        """What the files of a sample begin with: sample, model, view, and whatever changes an answer."""
        if self.name is not None:
            return self.name
        kind = list(self.strategies)
        if self.view == "attention":
            kind = ["attention", *(["text"] if self.query == "text" else [])]
            kind += [] if self.layers is None else ["layers", *map(str, self.layers or ("all",))]
        changes = [o for o in self.common if o.partition("=")[0] not in _SAME_ANSWER and o != _USUAL]
        parts = [key, str(doc_id), model, *kind, *(o.removeprefix("strategy.") for o in changes)]
        parts += [f"{name}.{o.removeprefix('strategy.')}" for name, own in self.own.items() for o in own]
        name = "_".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in parts)
        if len(name) <= _LONGEST:
            return name
        return f"{name[: _LONGEST - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def read_settings(arguments: Sequence[str]) -> Settings:
    """The settings of a command line. Raises UserError with the value, what is allowed and the fix."""
    values: dict[str, Any] = {name: _defaults()[name] for name in own_settings("show")}
    common, own = list[str](), dict[str, tuple[str, ...]]()
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or argument.startswith(("-", "+", "~")):
            raise UserError(f"{argument!r} is no setting: write name=value, as in sample=docvqa:17. {HELP}")
        if name in values:
            values[name] = None if unquoted(value) == "null" else unquoted(value)
        elif name.endswith(_OVERRIDES):
            strategy = name.removesuffix(_OVERRIDES)
            check_name(strategy)
            own[strategy] = tuple(split_overrides(name, value))
        else:
            common.append(_passed_on(argument, name.partition(".")[0]))
    view = str(values["view"])
    check_choice("view", view, VIEWS)
    if values["combine"] is not None:
        values["strategy"], own = _combined(values, own)
    strategies = _strategies(values["strategy"], view)
    _check_own(own, strategies)
    samples = tuple(read_samples(str(values["sample"] or ""), own_name(common)))
    return Settings(
        samples, strategies, view, _layers(values["layers"], view), _query(values["query"], view),
        _folder(values["out"]), _name(values["name"], samples), tuple(common), own,
    )  # fmt: skip


@cache
def _defaults() -> Any:
    return OmegaConf.load(CONF / "show.yaml")


def _passed_on(argument: str, group: str) -> str:
    if group in _REFUSED:
        raise UserError(f"{argument} can't be given here. {_REFUSED[group]}")
    named = [f"{strategy}{_OVERRIDES}" for strategy in options("strategy")]
    theirs = [name for name in own_settings("evaluate") if name not in _REFUSED]
    check_choice("setting", group, [*own_settings("show"), *named, *theirs], HELP)
    return argument


def _combined(
    values: Mapping[str, Any], own: Mapping[str, tuple[str, ...]]
) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The combination of `combine=` as the one strategy, with the settings inside as its own."""
    if values["strategy"] is not None:
        raise UserError(
            f"combine={values['combine']} and strategy={values['strategy']} can't be given together. "
            "Several, combinations among them: strategy=pdrop,visionzip+pdrop."
        )
    name, given = overrides_of_combination(str(values["combine"]), "combine")
    return name, {**own, name: (*given, *own.get(name, ()))}


def _strategies(value: Any, view: str) -> tuple[str, ...]:
    """The strategies that are named; the attention is that of the model before anything is dropped."""
    names = tuple(dict.fromkeys(split_overrides("strategy", str(value or ""))))
    if not names:
        names = ("vanilla",) if view == "attention" else ("pdrop",)
    for name in names:
        check_name(name, fix="Several: strategy=pdrop,fastv.")
    if view == "attention" and names != ("vanilla",):
        raise UserError(
            f"view=attention shows the model without dropping, so strategy={','.join(names)} has no meaning "
            "there. Leave it out, or use view=retained."
        )
    return names


def _check_own(own: dict[str, tuple[str, ...]], strategies: Sequence[str]) -> None:
    for strategy, overrides in own.items():
        setting = f"{strategy}{_OVERRIDES}"
        check_choice("strategy of this command", strategy, strategies, f"{setting} is given.")
        for override in overrides:
            key, equals, _ = override.partition("=")
            if not equals or key.partition(".")[0] not in ("strategy", "budget") or "." not in key:
                raise UserError(
                    f"{setting}: {override!r} is no setting of a strategy. Write "
                    f"{setting}=[strategy.<name>=<value>]; what holds for all is written on its own."
                )


def _layers(value: Any, view: str) -> tuple[int, ...] | None:
    if value is None:
        return None
    if view != "attention":
        raise UserError(f"layers={value} is of view=attention; view={view} shows the stages of a strategy.")
    if value == "all":
        return ()
    parts = split_overrides("layers", str(value))
    if not parts or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise UserError(
            f"layers={value} is not allowed: write layers=[1,2,4], counted from 0, or layers=all."
        )
    return tuple(sorted({int(part) for part in parts}))


def _query(value: Any, view: str) -> str:
    check_choice("query", value, QUERIES)
    if view != "attention" and value != QUERIES[0]:
        raise UserError(f"query={value} is of view=attention; view={view} shows what a strategy retains.")
    return str(value)


def _folder(value: Any) -> Path:
    if not str(value or "").strip():
        raise UserError("out= names no folder. Use out=results/report/show.")
    return Path(str(value)).expanduser()


def _name(value: Any, samples: Sequence[Ids]) -> str | None:
    if value is None:
        return None
    if len(samples) > 1 or samples[0].first != samples[0].last:
        raise UserError(f"name={value} names the files of one sample, but there are several. Leave it out.")
    if not NAME.fullmatch(str(value)):
        raise UserError(
            f"name={value} can't name files: use letters, digits, dots, hyphens and underscores, at most "
            f"{_LONGEST}, and out= for the folder."
        )
    return str(value)
