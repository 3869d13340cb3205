"""The runs of a comparison: those that are recorded are taken as they are, what is missing is evaluated.

All of it is checked before a model is loaded: configurations, records, devices, and that the strategies fit.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import by_task
from pdrop_eval.records.store import read_record
from pdrop_eval.report.compare.checks import (
    check_alike,
    check_header,
    check_limits_of,
    check_not_same,
    is_tasks,
)
from pdrop_eval.report.compare.settings import Settings
from pdrop_eval.report.compare.side import Side
from pdrop_eval.run.config.compose import compose_config
from pdrop_eval.run.evaluate.plan import Plan, make_plan
from pdrop_eval.utils import log
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.log import say
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.rank import world_size
from pdrop_eval.utils.validation import check_choice

BASELINE, CANDIDATE, DOWNSAMPLED = "baseline", "candidate", "downsampled"


def make_sides(settings: Settings) -> list[Side]:
    """Baseline, candidate and, where it is asked for, the baseline on smaller images.

    Raises UserError for what can't be run or compared; nothing is loaded for that but torch, and that only
    if something is missing.
    """
    if world_size() > 1:
        raise UserError(
            "A comparison is one process. Evaluate with torchrun --no-python pdrop-eval first; "
            "pdrop-eval-compare then takes the records."
        )
    sides = [_side(settings, BASELINE, settings.baseline), _side(settings, CANDIDATE, settings.candidate)]
    if settings.downsample is not None:
        if sides[0].plan is None:
            raise UserError(
                f"downsample={settings.downsample} runs the baseline on smaller images; baseline="
                f"{settings.baseline} is a record. Name a strategy, or leave downsample out."
            )
        smaller = f"downsample={settings.downsample}"
        sides.append(_side(settings, DOWNSAMPLED, settings.baseline, (smaller,)))
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
    there = [task for task in by_task() if task in (sides[0].record or {})["tasks"]]
    given = [override for override in settings.common if is_tasks(override)]
    asked = compose_config(given).tasks if given else None
    names = [asked] if isinstance(asked, str) else asked
    for name in names or ():
        check_choice("task of both records", name, there)
    return there if names is None else [task for task in there if task in names]


def complete(sides: Sequence[Side]) -> None:
    """Evaluates what is missing, one run after the other; each can be interrupted and goes on later."""
    for number, side in enumerate(sides, 1):
        title = f"[{number}/{len(sides)}] {side.role}: {side.name}"
        if side.plan is None or (not side.missing and side.record and side.record["status"] == "completed"):
            say(f"{title}: its record is there")
            continue
        say(title)
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
            return evaluate(plan.config, plan.strategy, advise=False)
    finally:
        sys.argv = ours


def _side(settings: Settings, role: str, asked: str, more: tuple[str, ...] = ()) -> Side:
    of = CANDIDATE if role == CANDIDATE else BASELINE
    own = settings.candidate_overrides if role == CANDIDATE else settings.baseline_overrides
    if asked in options("strategy"):
        arguments = (f"strategy={asked}", *settings.overrides(of), *more)
        config = compose_config(arguments)
        check_choice("log", config.log, log.KINDS)
        log.configure(config.log)
        plan = make_plan(config, asked)
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
        check_choice(
            role, asked, options("strategy"), "Or name the folder of a run, the one with its record.json."
        )
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
            f"wrong. Finish it with the command that made it: {record.get('command', 'pdrop-eval')}."
        )
    return record
