"""How a sweep goes: each cell that begins or ends is noted on the board, and told in a line."""

import sys
import time
from collections.abc import Mapping
from typing import Any

from pdrop_eval.run.sweep.state.board import DONE, FAILED, LOST, RETRIED, RUNNING, Board, Lease
from pdrop_eval.run.sweep.state.queue import Cell
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.text.escape import visible

# A cell that kills its worker each time, as by the host's memory, must not hold up the sweep for ever.
_LOSSES = 10


class Progress:
    """The driver's notes of a sweep.

    Attributes:
        failed: The cells that have failed for good, with the reasons.
        done: How many cells are done, by this command.
    """

    def __init__(self, board: Board, total: int, retries: int, quiet: bool = False, writer: str = "driver"):
        self._board = board
        self._events = board.writer(writer)
        self._total, self._retries, self._quiet = total, retries, quiet
        self._began: dict[str, float] = {}
        self.failed: dict[str, tuple[Cell, str]] = {}
        self.done = 0

    def begin(self, cell: Cell, worker: str) -> Lease:
        """Note that a worker gets a cell, and return its lease."""
        lease = self._board.claim(cell.id)
        self._events.note(cell.id, RUNNING, worker=worker)
        self._began[cell.id] = time.monotonic()
        return lease

    def end(self, cell: Cell, outcome: Mapping[str, Any]) -> bool:
        """Note how a cell went; return whether it is to be tried again."""
        seconds = time.monotonic() - self._began.pop(cell.id, time.monotonic())
        if outcome["state"] == DONE:
            self.done += 1
            self._events.note(cell.id, DONE, seconds=seconds, n=outcome.get("n"))
            self._tell(cell, f"{_score(outcome)} ({seconds:.1f} s)")
            return False
        cell.failures += 1
        return self._again(cell, str(outcome.get("reason")), cell.failures <= self._retries, RETRIED)

    def lost(self, cell: Cell, why: str) -> bool:
        """Note that a cell's worker is gone; return whether it is to be tried again."""
        self._began.pop(cell.id, None)
        cell.losses += 1
        return self._again(cell, why, cell.losses < _LOSSES, LOST)

    def _again(self, cell: Cell, reason: str, again: bool, state: str) -> bool:
        if again:
            self._events.note(cell.id, state, reason=reason)
            self._tell(cell, f"is tried again: {reason}")
        else:
            self._events.note(cell.id, FAILED, reason=reason)
            self.failed[cell.id] = (cell, reason)
            self._tell(cell, f"failed: {reason}")
        return again

    def _tell(self, cell: Cell, words: str) -> None:
        ended = self.done + len(self.failed)
        if log.kind() == "json":
            log.event("cell", cell=cell.id, words=words, ended=ended, total=self._total)
        elif not self._quiet:
            print(f"[{ended}/{self._total}] {cell.words}: {visible(words)}", file=sys.stderr, flush=True)


def _score(outcome: Mapping[str, Any]) -> str:
    score = outcome.get("score")
    return "needs a judge" if score is None else f"{score:.2f}"
