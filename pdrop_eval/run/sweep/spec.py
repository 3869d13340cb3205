"""A sweep's settings as one frozen, typed object; those that hold for each of its runs are kept as given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.run.config.compose import check_overrides, compose_config, own_settings
from pdrop_eval.run.config.own_data import own_name
from pdrop_eval.run.config.quoting import parsed
from pdrop_eval.run.config.typed import typed_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, check_whole

ENTRY = "sweep"
# What pdrop-eval calls what a sweep has a list of, with the way to write it here.
_AXES = {
    "model": "models=[mini576]",
    "strategy": "strategies=[fastv,{pdrop:{ratio:0.4}}]",
    "combine": "strategies=[{combine:[visionzip,pdrop]}]",
    "budget": "budgets=[64,{share:0.2}]",
    "suite": "suites=[mini]",
    "seed": "seeds=[1,2]",
}
_SINGLE = ("experiment", "runs", "size", "keep_going")  # of an experiment's list, which a sweep is not


@dataclass(frozen=True)
class SlurmSpec:
    """What `engine=slurm` asks of Slurm for each worker; `conf/sweep.yaml` says what each setting is."""

    cluster: str
    minutes: int
    partition: str | None = None
    account: str | None = None
    memory_gb: int | None = None
    setup: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepSpec:
    """What `pdrop-eval-sweep` is asked to run; `conf/sweep.yaml` says what each setting is.

    Attributes:
        given: Settings of `pdrop-eval` that hold for all runs, as overrides.
        own: The only suite and task, where these give a folder of own data; else None.
    """

    models: tuple[str, ...]
    strategies: Any
    budgets: Any
    seeds: Any
    include: Any
    exclude: Any
    results: str
    engine: str
    retries: int
    cpus: int
    slurm: SlurmSpec
    plan: bool
    status: bool
    watch: bool
    overrides: tuple[str, ...] = ()
    suites: tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    limit: int | None = None
    actors: int | None = None
    gpus: int | None = None
    address: str | None = None
    given: tuple[str, ...] = ()
    own: str | None = None

    def value_of(self, name: str, usual: str = "") -> str:
        """Return what the settings of all runs say of a setting of `pdrop-eval`, as text."""
        found = [one.partition("=")[2] for one in self.given if one.partition("=")[0].lstrip("+") == name]
        return found[-1] if found else usual


def gpus_of(spec: SweepSpec) -> int:
    """Return the GPUs of a worker: as many as its model is spread over, none where it computes on the CPU."""
    if spec.gpus is not None:
        return spec.gpus
    if not spec.value_of("device", "cpu").startswith("cuda"):
        return 0
    spread = spec.value_of("model.devices", "1")
    return int(spread) if spread.isdigit() else 1


def read_sweep(arguments: Sequence[str]) -> SweepSpec:
    """Return the settings of a command line.

    Raises:
        UserError: A setting that there isn't, or that is of another kind.
    """
    own, others = _split(arguments)
    config = compose_config(own, ENTRY)
    spec = typed_config(SweepSpec, config)
    given = (*spec.overrides, *others)
    _check_given(given)
    spec = SweepSpec(**{**vars(spec), "given": given, "own": own_name(given)})
    _check(spec)
    return spec


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The sweep's own settings, and those of all its runs."""
    known, runs = own_settings(ENTRY), own_settings("evaluate")
    own, others = [], []
    for argument in arguments:
        if argument.startswith("-") or "=" not in argument:
            raise UserError(
                f"Can't read {argument!r}: write name=value, such as engine=ray. pdrop-eval-sweep --help "
                "lists the settings."
            )
        name = parsed([argument])[0].key_or_group
        first = name.partition(".")[0]
        if name in known or name.partition(".")[0] == "slurm":
            own.append(argument)
        elif first in ("strategy", "budget") or name in _AXES or name in _SINGLE:
            check_axis(name)
        else:
            if "." not in name:
                others_of_runs = [one for one in runs if one not in (*known, *_AXES, *_SINGLE)]
                check_choice("setting", name, [*known, *others_of_runs], "pdrop-eval-sweep --help lists all.")
            others.append(argument)
    return own, others


def check_axis(name: str) -> None:
    """Refuse a setting of one run in the place of a sweep's list.

    Raises:
        UserError: With the list to write.
    """
    first = name.partition(".")[0]
    if first in ("strategy", "budget") or name in _AXES:
        raise UserError(
            f"Unknown setting: {name!r}, which is for a single run. In a sweep write {_AXES[first]}."
        )
    if name in _SINGLE:
        raise UserError(
            f"Unknown setting: {name!r}, which is for pdrop-eval. A sweep has lists of its own: models, "
            "strategies, budgets."
        )


def _check_given(given: Sequence[str]) -> None:
    known = own_settings(ENTRY)
    for override in parsed(given):
        check_axis(override.key_or_group)
        if override.key_or_group in known:
            raise UserError(f"overrides has {override.input_line}: that is a setting of the sweep itself.")
    check_overrides(given, "evaluate")


def _check(spec: SweepSpec) -> None:
    check_whole("retries", spec.retries, 0)
    check_whole("cpus", spec.cpus, 1)
    if spec.limit is not None:
        check_whole("limit", spec.limit, 1, "Use limit=null for all questions.")
    if spec.actors is not None:
        check_whole("actors", spec.actors, 1, "Use null for as many as there is room for.")
    if spec.gpus is not None:
        check_whole("gpus", spec.gpus, 0)
    for name in ("include", "exclude"):
        blocks = getattr(spec, name)
        if not isinstance(blocks, list) or not all(isinstance(one, Mapping) and one for one in blocks):
            raise UserError(f"{name}={blocks} is no list of blocks: write {name}=[{{{_EXAMPLES[name]}}}].")


_EXAMPLES = {
    "include": "models:[mini576],strategies:[fastv],budgets:[96]",
    "exclude": "strategy:fastv,budget:32",
}
