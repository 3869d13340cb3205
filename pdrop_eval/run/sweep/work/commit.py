"""A computed cell becomes part of its run's record, under the run's lock and only by who holds its lease."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pdrop_eval.records.store import Run
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.run.sweep.state.board import Board, Lease
from pdrop_eval.utils.files import HeldError

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.task import Computed

T = TypeVar("T")
_PATIENCE = 120.0  # others hold a run's lock as long as it takes to write one task


def commit(
    board: Board, lease: Lease, plan: Plan, header: dict[str, Any], done: "Computed"
) -> dict[str, Any]:
    """Write a task into its run's record, and complete the run if it was the last one.

    The tasks stand in the record in the order of the suite, whoever finishes first.

    Returns:
        The record, with its folder.

    Raises:
        FencedError: The cell has been handed to another worker.
        UserError: It can't be written, or another process keeps the run's lock.
    """
    task = lease.cell.rpartition("/")[2]
    with _opened(plan, header) as run:
        board.check(lease)
        order = list(plan.config.suite.tasks)
        run.add_task(task, done.result, done.samples, done.predictions, order, done.tally)
        record = {**run.record, "folder": str(run.folder)}
        if {*plan.tasks} <= record["tasks"].keys() and not plan.missing(record):
            run.complete()
        return {**run.record, "folder": str(run.folder)}


def note_failure(plan: Plan, reason: str, header: dict[str, Any] | None = None) -> None:
    """Mark a run as failed, with the reason; without a header only if it has a record already."""
    if header is None and plan.existing_record() is None:
        return
    with _opened(plan, header or {}) as run:
        if not run.completed:
            run.fail(reason)


def _opened(plan: Plan, header: dict[str, Any]) -> Run:
    """The run's record, as soon as nobody else writes it. Raises HeldError after a while."""
    root, model = Path(plan.config.results), plan.config.model.name
    return patiently(lambda: Run.open(root, model, plan.strategy, plan.identity, header, shared=True))


def patiently(action: Callable[[], T]) -> T:
    """Do what needs a run's lock, as soon as nobody else has it. Raises HeldError after a while."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            return action()
        except HeldError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
