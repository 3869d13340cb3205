"""The runs of a sweep, planned: what each is, what of it is there, and what can't be, with the reason.

Models and suites are composed and checked once; strategies, budgets and seeds are put into the result, so
that a run is what `pdrop-eval` would make of the same settings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from pdrop_eval.records.run_identity import registered_name
from pdrop_eval.records.store import read_record, run_folder, run_id
from pdrop_eval.run.config.batch import fixed_batch
from pdrop_eval.run.config.spec import BudgetSpec, RunSpec, StrategySpec, compose_spec
from pdrop_eval.run.evaluate.judge import left_to
from pdrop_eval.run.evaluate.plan import Plan, make_plan, plan_beside, plan_from_seed
from pdrop_eval.run.sweep.plan.cost import Cost, cost_of
from pdrop_eval.run.sweep.plan.matrix import Asked, asked_runs
from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.strategies.combinations import as_parts, is_combined, shown
from pdrop_eval.strategies.make import settings_of
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import command, for_hydra


@dataclass(frozen=True)
class PlannedRun:
    """A run that can be made.

    Attributes:
        asked: What was asked for.
        plan: Its plan, with its own tasks.
        done: The tasks that its record has.
        cost: What a question costs by its schedule.
    """

    asked: Asked
    plan: Plan
    done: frozenset[str]
    cost: Cost

    @cached_property
    def id(self) -> str:
        """Its folder beneath the results: `mini/fastv-0123456789`."""
        config = self.plan.config
        folder = run_folder(Path(), config.model.name, self.plan.strategy, self.plan.identity)
        return folder.as_posix()

    @property
    def missing(self) -> list[str]:
        """The tasks that are left to compute."""
        return [task for task in self.plan.tasks if task not in self.done]


@dataclass(frozen=True)
class LeftOutRun:
    """A run that can't be made, and why; its spec where it got so far."""

    asked: Asked
    reason: str
    spec: RunSpec | None = None


@dataclass(frozen=True)
class Planned:
    """All of a sweep."""

    runs: list[PlannedRun] = field(default_factory=list)
    left_out: list[LeftOutRun] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """How many cells can be computed, those that are there among them."""
        return sum(len(run.plan.tasks) for run in self.runs)

    @property
    def missing(self) -> int:
        """How many cells are left to compute."""
        return sum(len(run.missing) for run in self.runs)


def plan_runs(spec: SweepSpec) -> Planned:
    """Plan all runs of a sweep.

    Raises:
        UserError: Unknown names, a damaged record, or no run that can be made.
    """
    asked = asked_runs(spec)
    bases = _Bases(spec, asked)
    there = records_in(Path(spec.results))
    runs: dict[str, PlannedRun] = {}
    left_out = []
    like: dict[Asked, tuple[Plan, Cost] | LeftOutRun] = {}  # by all but the seed, which decides nothing of it
    for one in asked:
        key = replace(one, seed=0)
        if key not in like:
            like[key] = _planned_like(one, bases, spec)
        found = like[key]
        if isinstance(found, LeftOutRun):
            left_out.append(_with_seed(found, one))
            continue
        plan = found[0] if found[0].config.seed == one.seed else plan_from_seed(found[0], one.seed)
        run = PlannedRun(one, plan, frozenset(_done(plan, there)), found[1])
        runs.setdefault(run.id, run)
    if not runs:
        none = f"None of the {len(asked)} runs of this sweep can be made."
        alone = "The only run of this sweep can't be made."
        raise UserError(f"{alone if len(asked) == 1 else none} {left_out[0].reason}")
    return Planned(list(runs.values()), left_out)


def _planned_like(asked: Asked, bases: "_Bases", spec: SweepSpec) -> tuple[Plan, Cost] | LeftOutRun:
    """A run's plan and cost, or why it can't be made."""
    made: RunSpec | None = None
    try:
        base = bases.of(asked)
        made = _spec_of(asked, base.config, spec)
        plan = replace(plan_beside(base, made), tasks=list(asked.tasks))
        return plan, cost_of(plan)
    except UserError as error:
        return LeftOutRun(asked, str(error), made)


def _with_seed(found: LeftOutRun, asked: Asked) -> LeftOutRun:
    made = None if found.spec is None else replace(found.spec, seed=asked.seed)
    return LeftOutRun(asked, found.reason, made)


def records_in(results: Path) -> dict[str, list[Path]]:
    """Return the records in a folder by the hash at the end of their folders' names."""
    found: dict[str, list[Path]] = {}
    for path in sorted(results.glob("*/*/record.json")):
        found.setdefault(path.parent.name.rpartition("-")[2], []).append(path)
    return found


def command_of(asked: Asked, spec: SweepSpec) -> str:
    """Return the command of `pdrop-eval` that makes this run alone."""
    words = [f"model={asked.model}"]
    if is_combined(asked.strategy):
        words.append(f"combine={as_parts(asked.strategy, dict(asked.fields))}")
    else:
        words.append(f"strategy={asked.strategy}")
        words += [f"strategy.{name}={shown(value)}" for name, value in asked.fields]
    if asked.budget:
        words.append(f"budget.{asked.budget[0]}={asked.budget[1]}")
    words += [*_suite_word(asked.suite, spec), f"seed={asked.seed}", *_common(spec, asked.tasks)]
    return command("pdrop-eval", [*words, *spec.given, *fixed_batch(spec.given)])


class _Bases:
    """The plan of vanilla on each model and suite, with all tasks that its runs have: made once."""

    def __init__(self, spec: SweepSpec, asked: Sequence[Asked]):
        self._spec = spec
        self._tasks: dict[tuple[str, str], dict[str, None]] = {}
        self._found: dict[tuple[str, str], Plan | UserError] = {}
        self._ready: dict[tuple[str, tuple[str, ...]], Plan] = {}  # by what decides the data
        for one in asked:
            self._tasks.setdefault((one.model, one.suite), {}).update(dict.fromkeys(one.tasks))

    def of(self, asked: Asked) -> Plan:
        """Return the plan, or raise UserError for a model or suite that can't be used, each time anew."""
        key = asked.model, asked.suite
        if key not in self._found:
            try:
                self._found[key] = self._make(*key)
            except UserError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, UserError):
            raise found
        return found

    def _make(self, model: str, suite: str) -> Plan:
        tasks = tuple(self._tasks[model, suite])
        words, given = [f"model={model}", *_suite_word(suite, self._spec)], self._spec.given
        words.append(f"strategy={VANILLA}")
        config = compose_spec([*words, *_common(self._spec, tasks), *given, *fixed_batch(given)])
        made = make_plan(config, self._ready.get((suite, tasks)))
        self._ready.setdefault((suite, tasks), made)
        return made


def _suite_word(suite: str, spec: SweepSpec) -> list[str]:
    """The override that names the suite; none beside a folder of own data, which is a suite by itself."""
    return [] if spec.own is not None else [f"suite={suite}"]


def _common(spec: SweepSpec, tasks: Sequence[str]) -> list[str]:
    """What all runs have in common, as overrides; tasks in the order in which they were named."""
    named = [] if spec.tasks is None else [task for task in spec.tasks if task in tasks]
    listed = [*named, *(task for task in tasks if task not in named)]
    limit = [] if spec.limit is None else [f"limit={spec.limit}"]
    listing = [] if spec.own is not None else [f"tasks=[{','.join(listed)}]"]
    return [*listing, *limit, for_hydra(f"results={spec.results}")]


def _spec_of(asked: Asked, base: RunSpec, spec: SweepSpec) -> RunSpec:
    """The run's spec: that of the model and suite, with its own strategy, budget, seed and tasks."""
    named = [] if spec.tasks is None else [task for task in spec.tasks if task in asked.tasks]
    tasks = (*named, *(task for task in asked.tasks if task not in named))
    budget = BudgetSpec(**{asked.budget[0]: asked.budget[1]}) if asked.budget else BudgetSpec()
    return replace(base, strategy=strategy_of(asked), budget=budget, seed=asked.seed, tasks=tasks)


def strategy_of(asked: Asked) -> StrategySpec:
    """Return the strategy of a run as the command line would make it."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asked.fields}
    settings = settings_of(asked.strategy, fields)
    target = str(settings.pop("_target_"))
    name = registered_name(target) or asked.strategy
    return StrategySpec(name, asked.strategy, target, settings, tuple(fields))


def _done(plan: Plan, there: Mapping[str, Sequence[Path]]) -> Iterator[str]:
    """The tasks of a plan that a record has, as they are now."""
    for path in there.get(run_id(plan.identity), ()):
        record = read_record(path)
        if record.get("identity") == plan.identity:
            missing = {*plan.missing({**record, "folder": str(path.parent)})}
            missing |= {*left_to(plan.judge, record, [one for one in plan.tasks if one not in missing])}
            yield from (task for task in plan.tasks if task not in missing)
            return
