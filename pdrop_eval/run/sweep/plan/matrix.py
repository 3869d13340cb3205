"""A sweep's lists multiplied out: which runs are asked for, with which tasks. Composes nothing, no torch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

from pdrop_eval.benchmarks.installed.index import is_installed
from pdrop_eval.benchmarks.registry import by_task, check_benchmark
from pdrop_eval.efficiency.budget import KINDS, check_value
from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.run.config.endpoint import check_runs_here
from pdrop_eval.run.config.variants import check_entry, label_of, read_entry
from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.strategies.combinations import check_name, shown
from pdrop_eval.strategies.registry import StrategyInfo, info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.presets import model_configs, presets, suite_of
from pdrop_eval.utils.validation import check_choice, check_whole

ALL = "all"
Budget = tuple[str, float]  # ("tokens", 64)
_BLOCK = ("models", "strategies", "budgets", "suites", "tasks", "seeds")
_CONDITION = ("model", "strategy", "budget", "suite", "task", "seed")


@dataclass(frozen=True)
class Asked:
    """A run that a sweep asks for.

    Attributes:
        model: A name of `conf/model`.
        strategy: A name of `conf/strategy`, or a combination.
        fields: Its settings that are given.
        budget: What it may spend; None: as it is set.
        suite: A name of `conf/suite`.
        seed: Of the run.
        tasks: Of the suite.
    """

    model: str
    strategy: str
    fields: tuple[tuple[str, Any], ...]
    budget: Budget | None
    suite: str
    seed: int
    tasks: tuple[str, ...]

    @property
    def label(self) -> str:
        """The strategy with its settings, in words."""
        return label_of(self.strategy, dict(self.fields))

    @property
    def words(self) -> str:
        """The run in words: `fastv k=3, tokens=64, mini`, with its suite where the model has another one."""
        budget = [f"{self.budget[0]}={self.budget[1]:g}"] if self.budget else []
        return ", ".join([self.seeded, *budget, " ".join([self.model, *self.aside])])

    @property
    def seeded(self) -> str:
        """The strategy with its settings, and its seed where that isn't the default: `random seed=2`."""
        return self.label if self.seed == 1 else f"{self.label} seed={self.seed}"

    @property
    def aside(self) -> list[str]:
        """The suite, where it isn't the one that the model is asked by default: `suite=paper`."""
        return [] if self.suite == _usual_suite(self.model) else [f"suite={self.suite}"]


def asked_runs(spec: SweepSpec) -> list[Asked]:
    """Return the runs that a sweep asks for, in the order of its lists, each once.

    Raises:
        UserError: An unknown name, a wrong budget, or nothing left.
    """
    found: dict[Asked, set[str]] = {}
    for block in _blocks(spec):
        for run in _of_block(block, spec):
            key = replace(run, tasks=())
            found[key] = found.get(key, set()) | {*run.tasks}
    conditions = [_condition(one) for one in spec.exclude]
    runs = []
    for run, tasks in found.items():
        kept = [
            task
            for task in _suite_tasks(run.suite, spec)
            if task in tasks and not any(_holds(one, run, task) for one in conditions)
        ]
        if kept:
            runs.append(replace(run, tasks=tuple(kept)))
    if not runs:
        raise UserError("The sweep is empty: exclude leaves nothing of it, or a list is empty.")
    return runs


def without_effect(spec: SweepSpec) -> list[str]:
    """Return the blocks of `exclude` that hold for nothing that is asked for, such as a budget that isn't."""
    if not spec.exclude:
        return []
    runs = asked_runs(replace(spec, exclude=[]))
    return [
        shown(one)
        for one in spec.exclude
        if not any(_holds(_condition(one), run, task) for run in runs for task in run.tasks)
    ]


def takes_budget(strategy: str, fields: Mapping[str, Any]) -> bool:
    """Tell whether a budget can decide a strategy's settings: it solves some, and none of them is given."""
    info = _info(strategy)
    return bool(info.solved_fields) and not {*fields} & {*info.decided}


def _blocks(spec: SweepSpec) -> Iterator[dict[str, Any]]:
    own = {name: getattr(spec, name) for name in _BLOCK}
    yield own
    for block in spec.include:
        for name in block:
            check_choice("setting of include", str(name), _BLOCK)
        yield own | dict(block)


def _of_block(block: Mapping[str, Any], spec: SweepSpec) -> Iterator[Asked]:
    strategies, budgets = _strategies(block["strategies"]), _budgets(block["budgets"])
    seeds = _listed(block["seeds"])
    for seed in seeds:
        check_whole("seeds", seed, 0)
    for model in _names("models", block["models"]):
        check_runs_here([model], "sweep")
        check_choice("model", model, model_configs())
        for suite in _suites(block, model, spec):
            tasks = _tasks(block["tasks"], suite, spec)
            for seed, (name, fields) in product(seeds, strategies):
                fitted = budgets if takes_budget(name, fields) else (None,)
                for budget in fitted:
                    yield Asked(model, name, tuple(fields.items()), budget, suite, seed, tasks)
    _check_tasks_known(block, spec)


def _strategies(asked: Any) -> list[tuple[str, dict[str, Any]]]:
    if asked == ALL:
        names = sorted(options("strategy"), key=lambda name: _info(name).order)
        return [(name, {}) for name in names]
    found = []
    for entry in _listed(asked):
        if entry in ("plain", "keep_all"):
            raise UserError(
                f"strategies has {entry}, of pdrop-eval-bench: its answers are vanilla's. Use vanilla."
            )
        name, fields = read_entry(entry, more=[ALL])
        if name == ALL:
            raise UserError("strategies=all is all of them: write it alone.")
        check_entry(name, fields)
        found.append((name, _plain(fields)))
    if not found:
        raise UserError("strategies=[] is empty. Name some, strategies=[vanilla,pdrop], or all.")
    return found


def _plain(value: Any) -> Any:
    """Settings that can be compared: lists become tuples."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value


def _budgets(asked: Any) -> tuple[Budget | None, ...]:
    """The budgets as kinds and values; None is a strategy as it is set."""
    entries = [None] if asked is None else _listed(asked)
    found = dict.fromkeys(read_budget(entry) for entry in entries)
    return tuple(found) or (None,)


def read_budget(entry: Any) -> Budget | None:
    """Read one of `budgets`: `64`, `{share: 0.2}`, `{tflops: 0.1}`, or null.

    Raises:
        UserError: No budget.
    """
    if entry is None:
        return None
    if isinstance(entry, bool) or not isinstance(entry, (int, float, Mapping)):
        raise UserError(f"budgets has {entry!r}: write image tokens a layer, 64, or {{share: 0.2}}.")
    given = dict(entry) if isinstance(entry, Mapping) else {"tokens": entry}
    if len(given) != 1:
        raise UserError(f"budgets has {shown(entry)}: one budget is one kind, {{share: 0.2}}.")
    ((kind, value),) = given.items()
    check_choice("budget", str(kind), KINDS)
    check_value(f"budgets: {kind}", value)
    return str(kind), value


def _suites(block: Mapping[str, Any], model: str, spec: SweepSpec) -> list[str]:
    asked = block["suites"]
    if spec.own is not None:
        for name in ("suites", "tasks"):
            if block[name] is not None:
                raise UserError(
                    f"{name}= can't be given with data.folder={spec.value_of('data.folder')}: the folder is "
                    "the only suite, with one task. Leave one of them out."
                )
        return [spec.own]
    if asked is None:
        return [_usual_suite(model)]
    found = _names("suites", asked)
    for suite in found:
        check_choice("suite", suite, options("suite"))
    return found


@cache
def _usual_suite(model: str) -> str:
    return suite_of(str(model_configs()[model].get("size")))


def _suite_tasks(suite: str, spec: SweepSpec) -> list[str]:
    from pdrop_eval.run.config.quoting import parsed

    if spec.own is not None:
        return [spec.own]
    given = [one for one in spec.given if one.lstrip("+").startswith("suite.tasks=")]
    if given:
        listed: Any = parsed(given[-1:])[0].value()
        return [str(task) for task in (listed if isinstance(listed, list) else [listed])]
    return list(presets("suite")[suite]["tasks"])


def _tasks(asked: Any, suite: str, spec: SweepSpec) -> tuple[str, ...]:
    listed = _suite_tasks(suite, spec)
    return tuple(listed) if asked is None else tuple(task for task in listed if task in _listed(asked))


def _check_tasks_known(block: Mapping[str, Any], spec: SweepSpec) -> None:
    """Raises UserError for a task that no suite of a block has."""
    if block["tasks"] is None:
        return
    if not _listed(block["tasks"]):
        raise UserError("tasks=[] is empty. Name some tasks, or use tasks=null for all.")
    suites = {suite for model in _names("models", block["models"]) for suite in _suites(block, model, spec)}
    listed = dict.fromkeys(task for suite in sorted(suites) for task in _suite_tasks(suite, spec))
    for task in _listed(block["tasks"]):
        other = task not in listed and is_installed(str(task))
        fix = f"lmms-eval has it: suite.tasks=[{task}] is a list of one's own." if other else ""
        check_benchmark(f"task of suites=[{','.join(sorted(suites))}]", str(task), list(listed), fix)


def _condition(given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A block of `exclude`: what each of its names may be."""
    found = {}
    for name, value in given.items():
        check_choice("setting of exclude", str(name), _CONDITION, "It names one of each: {model: mini576}.")
        values = _listed(value)
        for one in values:
            _check_condition(str(name), one)
        found[str(name)] = [read_budget(one) for one in values] if name == "budget" else values
    return found


def _check_condition(name: str, value: Any) -> None:
    """Raises UserError for a name that there isn't: the condition would never hold."""
    if name in ("model", "suite"):
        check_choice(f"{name} in exclude", value, options(name))
    elif name == "task":
        check_benchmark("task in exclude", str(value), list(by_task()))
    elif name == "strategy":
        check_name(str(value).partition(" ")[0], "strategy in exclude")


def _holds(condition: Mapping[str, Sequence[Any]], run: Asked, task: str) -> bool:
    of_run = {
        "model": (run.model,),
        "strategy": (run.strategy, run.label),
        "budget": (run.budget,),
        "suite": (run.suite,),
        "task": (task,),
        "seed": (run.seed,),
    }
    return all(any(value in of_run[name] for value in values) for name, values in condition.items())


def _info(strategy: str) -> StrategyInfo:
    target = presets("strategy").get(strategy, {}).get("_target_")
    return info_of((registered_name(str(target)) if target else None) or strategy)


def _names(setting: str, value: Any) -> list[str]:
    found = [str(one) for one in _listed(value)]
    if not found:
        raise UserError(f"{setting}=[] is empty. Name at least one.")
    return found


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
