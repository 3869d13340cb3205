"""A planned sweep as plain values, for `sweep.json`, and back: a worker needs only the folder of results."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.own.definition import remember_own
from pdrop_eval.run.config.spec import BudgetSpec, RunSpec, StrategySpec
from pdrop_eval.run.config.typed import make_typed
from pdrop_eval.run.sweep.plan.runs import Planned, PlannedRun, command_of
from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.run.sweep.state.queue import Cell
from pdrop_eval.utils.code.hashing import hash_files
from pdrop_eval.utils.paths import CONF, PACKAGE, TASKS
from pdrop_eval.utils.text.redact import redact
from pdrop_eval.utils.validation import to_plain


def define(spec: SweepSpec, planned: Planned, about: str) -> dict[str, Any]:
    """Return what `Board.begin` writes of a sweep.

    Args:
        spec: Its settings.
        planned: Its runs.
        about: Its command.
    """
    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for run in planned.runs:
        groups.setdefault((run.asked.model, run.asked.suite), []).append(run)
    places = {key: place for place, key in enumerate(groups)}
    return {
        "about": redact(about),
        "engine": spec.engine,
        "host": socket.gethostname(),
        "cwd": os.getcwd(),
        "code": code_here(),
        "retries": spec.retries,
        "bases": [_base(group) for group in groups.values()],
        "runs": [
            {
                "id": run.id,
                "base": places[run.asked.model, run.asked.suite],
                "words": run.asked.words,
                "command": redact(command_of(run.asked, spec)),
                "strategy": asdict(run.plan.config.strategy),
                "budget": asdict(run.plan.config.budget or BudgetSpec()),
                "seed": run.plan.config.seed,
                "tasks": list(run.plan.config.tasks or run.plan.tasks),
                "done": [task for task in run.plan.tasks if task in run.done],
            }
            for run in planned.runs
        ],
        "left_out": [{"words": one.asked.words, "reason": redact(one.reason)} for one in planned.left_out],
    }


def _base(group: list[PlannedRun]) -> dict[str, Any]:
    """What the runs on a model and a suite share; its tasks are those of all of them."""
    first = group[0]
    tasks = dict.fromkeys(task for run in group for task in run.plan.tasks)
    spec = replace(first.plan.config, tasks=tuple(tasks))
    return {"model": first.asked.model, "spec": to_plain(asdict(spec)), "identity": first.plan.identity}


def base_spec(base: Mapping[str, Any]) -> RunSpec:
    """Return the spec of a base of a definition; this process then knows its folder of own data."""
    spec = make_typed(RunSpec, base["spec"])
    if spec.suite.own is not None:
        remember_own(spec.suite.name, spec.suite.own.metric)
    return spec


def run_spec(base: RunSpec, run: Mapping[str, Any]) -> RunSpec:
    """Return the spec of a run of a definition, from that of its base."""
    return replace(
        base,
        strategy=make_typed(StrategySpec, run["strategy"], "strategy"),
        budget=make_typed(BudgetSpec, run["budget"], "budget"),
        seed=run["seed"],
        tasks=tuple(run["tasks"]),
    )


def cells_of(definition: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a definition that weren't there when it was made."""
    return [
        Cell(
            f"{run['id']}/{task}", definition["bases"][run["base"]]["model"], task, f"{run['words']}, {task}"
        )
        for run in definition["runs"]
        for task in run["tasks"]
        if task not in run["done"]
    ]


def code_here() -> str:
    """Return a hash of all files of this installation: workers must have the same."""
    files = sorted(PACKAGE.rglob("*.py")) + sorted(CONF.rglob("*.yaml")) + sorted(TASKS.rglob("*.yaml"))
    return hash_files([path for path in files if "__pycache__" not in Path(path).parts])
