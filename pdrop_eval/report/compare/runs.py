"""The runs of a comparison: those that are recorded are taken as they are, what is missing is evaluated.

All of it is checked before a model is loaded: configurations, records, devices, and that the strategies fit.
"""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import key_of_task, registered_by_task
from pdrop_eval.records.rows.run import Run, to_runs
from pdrop_eval.records.store import read_record
from pdrop_eval.report.compare.settings import Settings
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate.plan import Plan, make_plan
from pdrop_eval.strategies.combinations import check_name, is_strategy
from pdrop_eval.utils.distributed import world_size
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.console import as_run_here
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.validation import check_choice

BASELINE, CANDIDATE, DOWNSAMPLED = "baseline", "candidate", "downsampled"


@dataclass
class Side:
    """One run of a comparison: what was asked for, and its record once it is there.

    Attributes:
        overrides: Its own, beside those of both.
        plan: Of a strategy; None for the folder of a run, whose record is all there is.
        arguments: The command line with which pdrop-eval would make this run.
    """

    role: str
    asked: str
    overrides: tuple[str, ...]
    plan: Plan | None
    record: dict[str, Any] | None
    arguments: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the outputs call it: the strategy with its own settings, or the run's id."""
        if self.plan is None:
            assert self.record is not None
            return str(self.record["run_id"])
        return " ".join([self.asked, *self.overrides])

    @property
    def run(self) -> Run:
        """The run as the statistics read it; to be called once its record is there."""
        assert self.record is not None
        found = to_runs([self.record])
        if not found:
            raise UserError(f"The {self.role}'s run {self.record['run_id']} has no finished benchmark.")
        return found[0]

    @property
    def missing(self) -> list[str]:
        """The tasks that are to be evaluated."""
        return self.plan.missing(self.record) if self.plan else []


def make_sides(settings: Settings) -> list[Side]:
    """Baseline, candidate and, where it is asked for, the baseline on smaller images.

    Raises:
        UserError: Something can't be run or compared. Only torch is loaded to find out, and only if a run is
            missing.
    """
    if world_size() > 1:
        raise UserError(
            "A comparison is one process. Evaluate with torchrun --no-python pdrop-eval first; "
            "pdrop-eval-compare then takes the records."
        )
    sides = [side_of(settings, BASELINE, settings.baseline), side_of(settings, CANDIDATE, settings.candidate)]
    if settings.downsample is not None:
        if sides[0].plan is None:
            raise UserError(
                f"downsample={settings.downsample} runs the baseline on smaller images; baseline="
                f"{settings.baseline} is a record. Name a strategy, or leave downsample out."
            )
        smaller = f"downsample={settings.downsample}"
        sides.append(side_of(settings, DOWNSAMPLED, settings.baseline, (smaller,)))
    check_alike(settings, sides)
    check_not_same(settings, sides)
    check_limits_of(settings, tasks_of(settings, sides))
    for side in sides:
        if side.missing:
            check_header(side)
    return sides


def tasks_of(settings: Settings, sides: Sequence[Side]) -> list[str]:
    """The tasks to compare: those that were asked for, in the registry's order; else all that there are."""
    plans = [side.plan for side in sides if side.plan]
    if plans:
        return list(plans[0].tasks)
    there = _recorded_tasks(sides[0])
    given = [override for override in settings.common if is_tasks(override)]
    asked = compose_config(given).tasks if given else None
    names = [asked] if isinstance(asked, str) else asked
    for name in names or ():
        check_choice("task of both records", name, there)
    return there if names is None else [task for task in there if task in names]


def _recorded_tasks(side: Side) -> list[str]:
    """The tasks of a record: the registry's in its order, then the others."""
    tasks = (side.record or {})["tasks"]
    if any(entry.get("definition") for entry in tasks.values()):
        to_runs([side.record or {}])  # what the others are is known once their record is read
    first = [task for task in registered_by_task() if task in tasks]
    return [*first, *sorted(set(tasks) - {*first})]


def complete(sides: Sequence[Side]) -> None:
    """Evaluates what is missing, one run after the other; each can be interrupted and goes on later."""
    for number, side in enumerate(sides, 1):
        title = f"[{number}/{len(sides)}] {side.role}: {side.name}"
        if side.plan is None or (not side.missing and side.record and side.record["status"] == "completed"):
            log_rank_zero(f"{title}: its record is there")
            continue
        log_rank_zero(title)
        side.record = _evaluated(side, side.plan)
        lacking = [task for task in side.plan.tasks if task not in side.record["tasks"]]
        if lacking or side.record["status"] != "completed":
            raise UserError(
                f"The run of the {side.role} has ended, but its record is {side.record['status']} and lacks "
                f"{', '.join(lacking) or 'nothing'}. Run the same command again."
            )


def _evaluated(side: Side, plan: Plan) -> dict[str, Any]:
    """The record of a run that is made now; it names the command that makes it alone."""
    from pdrop_eval.run.evaluate.cli import evaluate

    ours = sys.argv
    sys.argv = ["pdrop-eval", *side.arguments]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is the comparison's
            return evaluate(plan.config, advise=False)
    finally:
        sys.argv = ours


def side_of(settings: Settings, role: str, asked: str, more: tuple[str, ...] = ()) -> Side:
    """Return what a side's name means; nothing is evaluated. Raises UserError for what can't be run."""
    of = CANDIDATE if role == CANDIDATE else BASELINE
    own = settings.candidate_overrides if role == CANDIDATE else settings.baseline_overrides
    if is_strategy(asked):
        arguments = (f"strategy={asked}", *settings.overrides(of), *more)
        config = compose_spec(arguments)
        check_choice("log", config.log, log.KINDS)
        log.configure(config.log)
        plan = make_plan(config)
        return Side(role, asked, (*own, *more), plan, plan.existing_record(), arguments)
    record = _recorded(role, asked)
    if own:
        raise UserError(
            f"{of}_overrides={','.join(own)} can't change {of}={asked}, which is a record. Name a strategy."
        )
    return Side(role, asked, (), None, record)


def _recorded(role: str, asked: str) -> dict[str, Any]:
    """The record of a run that was named by its folder."""
    path = Path(asked).expanduser()
    path = path.parent if path.name == "record.json" else path
    if not path.is_dir() and "/" not in asked:
        check_name(asked, role, fix="Or name the folder of a run, the one with its record.json.")
    if not (path / "record.json").is_file():
        inside = sorted(path.glob("*/record.json")) if path.is_dir() else []
        there = f" It holds runs: {role}={inside[0].parent}." if inside else ""
        raise UserError(
            f"{role}={asked} is neither a strategy ({', '.join(options('strategy'))}) nor the folder of a "
            f"run: there is no record.json in it.{there}"
        )
    record = {**read_record(path / "record.json"), "folder": str(path)}
    if record["status"] != "completed":
        raise UserError(
            f"The run in {path} isn't complete, but {record['status']}: what is missing could be what went "
            f"wrong. Finish it with the command that made it: {_made_by(record)}."
        )
    return record


def _made_by(record: dict[str, Any]) -> str:
    return as_run_here(str(record.get("command") or "pdrop-eval"))


def check_alike(settings: Settings, sides: Sequence[Side]) -> None:
    """What would only be found to be different after all answers are there: tasks and limits."""
    recorded = [side for side in sides if side.plan is None and side.record]
    planned = [side for side in sides if side.plan]
    for other in planned[1:]:
        if _tasks(other) != _tasks(planned[0]):
            raise UserError(
                f"The {planned[0].role} would have the tasks {', '.join(_tasks(planned[0]))}, the "
                f"{other.role} {', '.join(_tasks(other))}. Name the same for both, on their own: tasks=[gqa]."
            )
    for side in recorded:
        for other in planned:
            _check_record(settings, side, other)
    if len(recorded) == 2 and not any(map(is_tasks, settings.common)):
        first, second = map(_tasks, recorded)
        if {*first} != {*second}:
            raise UserError(
                f"Only one of the records has {', '.join(sorted({*first} ^ {*second}))}. Evaluate what is "
                f"missing, or compare what both have: tasks=[{','.join(t for t in first if t in second)}]."
            )


def check_not_same(settings: Settings, sides: Sequence[Side]) -> None:
    """Raises UserError for a run against itself: it would pass whatever the candidate is worth."""
    if settings.allow_same or not same(sides):
        return
    baseline, candidate = sides[:2]
    raise UserError(
        f"baseline={baseline.asked} and candidate={candidate.asked} are the same run "
        f"({_of_run(baseline)}), which would always pass. Name another one, or what differs: "
        "candidate_overrides=[strategy.ratio=0.6]. To compare it anyway: allow_same=true."
    )


def same(sides: Sequence[Side]) -> list[str]:
    """That baseline and candidate are one run, as the words of a warning; nothing if they are two."""
    first, second = sides[:2]
    together = bool(first.plan and second.plan and first.plan.identity == second.plan.identity)
    if first.record and second.record:
        for known in (_place, _origin):
            one, other = known(first.record), known(second.record)
            together |= one is not None and one == other
    return ["baseline and candidate are the same run"] if together else []


def check_limits_of(settings: Settings, tasks: Sequence[str]) -> None:
    """Raises UserError for a limit of a benchmark that isn't among what is compared."""
    keys = [key_of_task(task) for task in tasks]
    absent = [key for key in settings.max_drop_of if key not in keys]
    if absent:
        raise UserError(
            f"max_drop_of has {', '.join(absent)}, which isn't compared. What is: {', '.join(keys)}. Leave "
            "it out, or add its task to tasks=."
        )


def check_header(side: Side) -> None:
    """That the device is there and the strategy fits the model: not found out after the other run's hours."""
    from pdrop_eval.models.loading.checkpoint import check_device
    from pdrop_eval.run.evaluate.header import make_header

    assert side.plan is not None
    check_device(side.plan.config.device)
    make_header(side.plan, "")


def is_tasks(override: str) -> bool:
    """Whether it names the tasks."""
    return override.startswith("tasks=")


def _check_record(settings: Settings, side: Side, other: Side) -> None:
    """A record against what a strategy would be asked."""
    assert side.record is not None
    assert other.plan is not None
    there, wanted = _tasks(side), _tasks(other)
    lacking = [task for task in wanted if task not in there]
    if lacking:
        raise UserError(
            f"The {side.role}'s record has no {', '.join(lacking)}. Compare what it has: "
            f"tasks=[{','.join(task for task in wanted if task in there)}]."
        )
    recorded, asked = side.record.get("limit"), other.plan.config.limit
    if recorded != asked and settings.unpaired == "refuse":
        raise UserError(
            f"The {side.role}'s record was made with limit={_shown(recorded)}, the other run has "
            f"limit={_shown(asked)}: they would answer different questions. Add limit={_shown(recorded)}, or "
            "compare what they have in common: unpaired=leave_out."
        )
    own, subset = side.record.get("subset"), other.plan.config.subset
    if own != subset and settings.unpaired == "refuse":
        raise UserError(
            f"The {side.role}'s record was made with subset={_shown(own)}, the other run has "
            f"subset={_shown(subset)}: they would answer different questions. Add subset={_shown(own)}, or "
            "compare what they have in common: unpaired=leave_out."
        )


def _tasks(side: Side) -> list[str]:
    return list(side.plan.tasks) if side.plan else list((side.record or {})["tasks"])


def _place(record: dict[str, Any]) -> Path | None:
    return Path(record["folder"]).resolve() if record.get("folder") else None


def _origin(record: dict[str, Any]) -> tuple[Any, Any] | None:
    """What two copies of one record share; None where it doesn't say when it was made."""
    return (record["run_id"], record["created"]) if record.get("created") else None


def _of_run(side: Side) -> str:
    return str(side.record["run_id"]) if side.record else side.name


def _shown(value: Any) -> str:
    return "null" if value is None else str(value)
