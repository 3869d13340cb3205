"""An element of a job array: a worker without a driver that takes cells from the board until none is free."""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.run.sweep.state.board import DONE, FAILED, LOST, REFUSED, RETRIED, RUNNING, Board
from pdrop_eval.run.sweep.state.claims import Claims
from pdrop_eval.run.sweep.state.definition import cells_of
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Cell
from pdrop_eval.run.sweep.work.worker import Worker, check_worker, look
from pdrop_eval.utils.errors import UserError


class Element:
    """What submitit sends: it computes cells, and when its time is out, it is sent again as it is.

    Args:
        results: The folder of results, as the command has named it.
        cwd: The folder that the command was called in.
        probe: The name of a file that the command has written into the results.
        begun: Of the sweep: another one that has begun there since is not this element's.
    """

    def __init__(self, results: str, cwd: str, probe: str, begun: float):
        self._results, self._cwd, self._probe, self._begun = results, cwd, probe, begun

    def __call__(self) -> int:
        """Compute cells until none is free; returns how many are done."""
        os.environ.setdefault("TQDM_DISABLE", "1")
        board = Board(Path(self._results))
        folder = str(board.folder)
        told = look(folder, self._cwd, self._probe)
        if not told["sees"]:
            check_worker(told, folder, told["code"], self._probe)
        definition = board.definition()
        if definition["begun"] != self._begun:
            return 0
        name = f"{socket.gethostname()}-{_job()}"
        try:
            check_worker(told, folder, definition["code"], self._probe)
        except UserError as error:
            board.writer(name).note("", REFUSED, worker=name, reason=str(error))
            raise
        claims = Claims(board, name)
        with claims.living():
            return _compute(board, definition, claims)

    def checkpoint(self) -> Any:
        """What is sent again when the time is out: the same, as answers are in the journals."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _compute(board: Board, definition: Mapping[str, Any], claims: Claims) -> int:
    worker, cells = Worker(board.results), cells_of(definition)
    progress = Progress(board, len(cells), definition["retries"], writer=claims.worker)
    done = 0
    for cell in _free(board, cells, claims):
        while True:
            lease = progress.begin(cell, claims.worker)
            outcome = worker.compute(lease)
            if not progress.end(cell, outcome):
                break
        done += outcome["state"] == DONE
    return done


def _free(board: Board, cells: list[Cell], claims: Claims) -> Iterator[Cell]:
    """Cells that are this worker's, one by one, as long as there are some: of its model and task first."""
    last: Cell | None = None
    left = {cell.id: cell for cell in cells}
    while left:
        states = _states(board)
        for cell in [cell for cell in left.values() if states.get(cell.id) in (DONE, FAILED)]:
            del left[cell.id]
        order = sorted(left.values(), key=lambda cell: _distance(cell, last))
        mine = next((cell for cell in order if claims.take(cell.id)), None)
        if mine is None:
            return  # others are at the rest
        del left[mine.id]
        if states.get(mine.id) == RUNNING:
            board.writer(claims.worker).note(mine.id, LOST, reason="its worker was silent")
        last = mine
        yield mine


def _distance(cell: Cell, last: Cell | None) -> tuple[bool, bool]:
    return (last is None or cell.model != last.model, last is None or cell.task != last.task)


def _states(board: Board) -> dict[str, str]:
    return {event["cell"]: event["state"] for event in board.events() if event["state"] != RETRIED}


def _job() -> str:
    """The job's number in its array; of this process where there is none."""
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_JOB_ID"):
        if os.environ.get(name):
            return "_".join(filter(None, (os.environ[name], os.environ.get("SLURM_ARRAY_TASK_ID"))))
    return str(os.getpid())
