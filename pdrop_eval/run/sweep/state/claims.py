"""Which cells workers without a driver have: a file a cell, and one that each worker touches while it lives.

    claims/<cell>.<n>   the n-th worker that had it; the last one has it now
    workers/<name>      touched every few seconds by a worker that lives

A cell of a worker that has been silent for a minute is free again. Should it live after all, its lease is an
earlier one than its successor's, and it can't commit.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pdrop_eval.run.sweep.state.board import Board
from pdrop_eval.run.sweep.state.holder import BEAT_SECONDS, ENDED, is_fresh
from pdrop_eval.utils.exits import exit_of_a_signal
from pdrop_eval.utils.files import writing_to


class Claims:
    """The claims of one worker on the cells of a sweep.

    Attributes:
        worker: Its name; a worker that is started anew under its name takes up its own cells.
    """

    def __init__(self, board: Board, worker: str):
        self._claims, self._workers = board.folder / "claims", board.folder / "workers"
        self.worker = worker
        with writing_to(board.folder):
            self._claims.mkdir(parents=True, exist_ok=True)
            self._workers.mkdir(exist_ok=True)

    def take(self, cell: str) -> bool:
        """Return whether the cell is this worker's from now on: nobody had it, or somebody silent."""
        epoch = 1
        with writing_to(self._claims):
            while self._path(cell, epoch).exists():
                epoch += 1
            if epoch > 1:
                last = self._path(cell, epoch - 1)
                owner = last.read_text(encoding="utf-8")
                if owner == self.worker:
                    return True
                # One without a name is being written.
                if is_fresh(self._workers / owner if owner else last):
                    return False
            return self._created(self._path(cell, epoch))

    @contextmanager
    def living(self) -> Iterator[None]:
        """Touch the worker's file until the end, then leave another one that says so.

        A worker whose time is out leaves with the SystemExit of a signal's handler and is sent again: it is
        silent, and not at its end.
        """
        path = self._workers / self.worker
        ended = threading.Event()
        with writing_to(self._workers):
            path.touch()
            path.with_name(f"{self.worker}{ENDED}").unlink(missing_ok=True)
        threading.Thread(target=self._beat, args=(path, ended), daemon=True).start()
        sent_again = False
        try:
            yield
        except SystemExit as leaving:
            sent_again = exit_of_a_signal(leaving)
            raise
        finally:
            ended.set()
            if not sent_again:
                path.replace(path.with_name(f"{self.worker}{ENDED}"))

    def _created(self, path: Path) -> bool:
        try:
            with open(path, "x", encoding="utf-8") as file:
                file.write(self.worker)
        except FileExistsError:
            return False
        return True

    def _path(self, cell: str, epoch: int) -> Path:
        return self._claims / f"{hashlib.sha256(cell.encode()).hexdigest()[:24]}.{epoch}"

    def _beat(self, path: Path, ended: threading.Event) -> None:
        while not ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # the next one may succeed
                os.utime(path)
