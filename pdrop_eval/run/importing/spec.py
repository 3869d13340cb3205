"""The settings of an import, checked before a file is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from pdrop_eval.run.config.checks import check_budget
from pdrop_eval.run.config.compose import own_settings
from pdrop_eval.run.config.own_data import own_suite
from pdrop_eval.run.config.quoting import parsed
from pdrop_eval.run.config.spec import DataSpec
from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF, options
from pdrop_eval.utils.terminal.console import unquoted
from pdrop_eval.utils.validation import check_choice, check_whole

KINDS = ("lmms_eval", "vlmevalkit", "table")
_FROM = "from"  # no name for a field in Python
_TEXTS = (
    "kind", "from", "name", "model", "strategy", "suite", "like", "include_path", "results", "data.root",
    "data.folder", "data.metric", "data.name", "data.prompt_ending",
)  # fmt: skip
_LONGEST = 100
_HELP = "pdrop-eval-import --help lists them."


@dataclass(frozen=True)
class Budget:
    """A budget, as the other program was given it."""

    tokens: float | None = None
    share: float | None = None
    tflops: float | None = None


@dataclass(frozen=True)
class ImportSpec:
    """What `pdrop-eval-import` is asked for; `conf/import.yaml` says what each setting is."""

    kind: str | None
    source: str | None
    name: str | None
    model: str | None
    strategy: str | None
    budget: Budget
    tasks: tuple[str, ...] | None
    suite: str | None
    like: str | None
    include_path: str | None
    data: DataSpec
    bootstrap: int
    seed: int
    results: str

    @property
    def said(self) -> dict[str, Any]:
        """What the user says of the run."""
        budget = {name: value for name, value in vars(self.budget).items() if value is not None}
        return {"name": self.name, "model": self.model, "strategy": self.strategy, "budget": budget}


def read_settings(arguments: Sequence[str]) -> ImportSpec:
    """Return the settings of a command line.

    Raises:
        UserError: One that is missing or isn't allowed.
    """
    config: Any = OmegaConf.to_container(OmegaConf.load(CONF / "import.yaml"))
    values = {name: config[name] for name in own_settings("import")}
    groups = {name: value for name, value in values.items() if isinstance(value, dict)}
    known = [name for name in values if name not in groups]
    known += [f"{group}.{name}" for group, inner in groups.items() for name in inner]
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or argument.startswith("-"):
            raise UserError(f"{argument!r} is no setting: write name=value, as in kind=table. {_HELP}")
        check_choice("setting", name, known, _HELP)
        group, _, inner = name.rpartition(".")
        (groups[group] if group else values)[inner] = _value(name, argument, value)
    return make_spec({**values, **groups})


def _value(name: str, argument: str, text: str) -> Any:
    """The value of a setting: a text as it is, anything else as Hydra reads it."""
    if name in _TEXTS:
        return None if text == "null" else unquoted(text)
    override = parsed([argument])[0]
    if override.is_sweep_override():
        raise UserError(f"{argument} has several values. A list is written in brackets: {name}=[gqa,pope].")
    return override.value()


def make_spec(values: Mapping[str, Any]) -> ImportSpec:
    """Return the settings as one object, checked.

    Args:
        values: As in `conf/import.yaml`.

    Raises:
        UserError: One that is missing or isn't allowed.
    """
    plain = {name: value for name, value in values.items() if name != _FROM}
    spec = make_typed(ImportSpec, {**plain, "source": values.get(_FROM)})
    if spec.kind is None:
        raise UserError(f"kind= is missing. Name whose results they are: {', '.join(KINDS)}.")
    check_choice("kind", spec.kind, KINDS)
    if not spec.source:
        raise UserError("from= is missing. Name the folder, or the file, of the results: from=DIR.")
    if not (spec.name or "").strip():
        raise UserError("name= is missing. Say what the row is called in tables: name='VisionZip fork'.")
    if len(str(spec.name)) > _LONGEST:
        raise UserError(
            f"name= has {len(str(spec.name))} characters, and it names a folder: use at most {_LONGEST}."
        )
    if spec.tasks == ():
        raise UserError("tasks=[] is empty. Name some tasks, or use tasks=null for all of the log.")
    if spec.suite and spec.like:
        raise UserError(
            f"suite={spec.suite} and like={spec.like} both say which questions were asked: give one of them."
        )
    if spec.suite:
        check_choice("suite", spec.suite, options("suite"))
    _check_folder(spec)
    if spec.data.root and not spec.suite:
        raise UserError(f"data.root={spec.data.root} is the data of a suite: name it, suite=paper.")
    check_budget(spec.budget)
    check_whole("bootstrap", spec.bootstrap, 0)
    check_whole("seed", spec.seed, 0)
    return spec


def _check_folder(spec: ImportSpec) -> None:
    """Refuse a folder of the user's own questions that can't be used, or that isn't the only word on them."""
    if spec.data.folder is not None and spec.like:
        raise UserError(
            f"data.folder={spec.data.folder} and like={spec.like} both say which questions were asked: give "
            "one of them."
        )
    given = [f"suite={spec.suite}"] if spec.suite else []
    own_suite(spec.data, spec.tasks, given)
