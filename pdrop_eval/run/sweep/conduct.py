"""A sweep from its plan to its last word: the folder is held, the engine gets cells, failures are told."""

import shlex
from pathlib import Path

from pdrop_eval.records.rows.left_out import LeftOut, note_left_out
from pdrop_eval.records.rows.overrides import SCHEDULE
from pdrop_eval.run.sweep.engines.base import Engine
from pdrop_eval.run.sweep.plan.runs import LeftOutRun, Planned
from pdrop_eval.run.sweep.plan.text import numbered
from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.run.sweep.state.board import Board
from pdrop_eval.run.sweep.state.definition import cells_of, define
from pdrop_eval.run.sweep.state.holder import held
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Queue
from pdrop_eval.run.sweep.work.commit import note_failure
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.text.redact import redact


def conduct(spec: SweepSpec, engine: Engine, planned: Planned, about: str) -> str:
    """Run a planned sweep.

    Args:
        spec: Its settings.
        engine: What computes it.
        planned: Its runs.
        about: Its command.

    Returns:
        Which cells failed, with reasons; empty if none has.

    Raises:
        UserError: Another sweep holds the folder, or this one can't go on.
    """
    board = Board(Path(spec.results))
    with held(board, about) as jobs:
        definition = define(spec, planned, about)
        board.begin(definition)
        _note_left_out(spec, planned)
        cells = cells_of(definition)
        progress = Progress(board, len(cells), spec.retries)
        if cells:
            jobs += engine.run(spec, Queue(cells), progress) or []
        for run in planned.runs:
            reasons = [reason for cell, reason in progress.failed.values() if cell.run == run.id]
            if reasons:
                note_failure(run.plan, redact(reasons[0]))
    there = planned.cells - planned.missing
    if jobs:
        print(_sent(spec, jobs, planned, there))
        return ""
    print(_last_word(planned, there, progress))
    return _failures(progress)


def _sent(spec: SweepSpec, jobs: list[str], planned: Planned, there: int) -> str:
    follow = shlex.join([script("pdrop-eval-sweep"), "status=true", f"results={spec.results}"])
    sent = ", ".join(jobs[:8]) + (" ..." if jobs[8:] else "")
    return (
        f"{numbered(len(jobs), 'worker')} for {numbered(planned.missing, 'cell')} ({there} of "
        f"{planned.cells} are there): sent as {sent}.\nHow far they are: {follow}"
    )


def _last_word(planned: Planned, there: int, progress: Progress) -> str:
    before = f", {there} of them were there before" if there else ""
    runs = numbered(len(planned.left_out), "run")
    left_out = f"; {runs} can't be made, plan=true says why" if planned.left_out else ""
    failed = f"; {len(progress.failed)} failed" if progress.failed else ""
    return f"{there + progress.done} of {planned.cells} cells are done{before}{failed}{left_out}."


def _failures(progress: Progress) -> str:
    if not progress.failed:
        return ""
    listed = "\n".join(f"  {cell.words}: {reason}" for cell, reason in progress.failed.values())
    have = "has" if len(progress.failed) == 1 else "have"
    return (
        f"{numbered(len(progress.failed), 'cell')} {have} failed. The same command tries again "
        f"what has failed, and nothing else.\n{listed}"
    )


def _note_left_out(spec: SweepSpec, planned: Planned) -> None:
    """Write down, for tables, which runs can't be made; what isn't known by name has no row."""
    known = [(one, _left_out(one)) for one in planned.left_out]
    found = [entry for _, entry in known if entry is not None]
    tried = {entry.run for entry in found}
    for run in planned.runs:
        config = run.plan.config
        settings = tuple(one for one in config.changes if one.startswith(SCHEDULE))
        tried.add((config.model.name, config.suite.name, config.strategy.name, settings))
    note_left_out(Path(spec.results), found, tried)


def _left_out(one: LeftOutRun) -> LeftOut | None:
    if one.spec is None:
        return None
    settings = tuple(change for change in one.spec.changes if change.startswith(SCHEDULE))
    model, suite = one.spec.model.name, one.spec.suite.name
    return LeftOut(model, suite, one.spec.strategy.name, settings, redact(one.reason))
