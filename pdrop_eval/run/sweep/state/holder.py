"""Who runs a sweep in a folder: one at a time. What a dead process held is free for the next."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdrop_eval.run.sweep.state.board import Board
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import HeldError, Lock, write_atomically, writing_to

BEAT_SECONDS = 10.0
# A holder on another machine, where the file system may not pass its lock on, is dead after such a silence.
_SILENT_SECONDS = 60.0


@contextmanager
def held(board: Board, about: str) -> Iterator[None]:
    """Hold a folder of results for the sweep of this process.

    Args:
        board: Of the folder.
        about: What the sweep is, for those that are refused.

    Raises:
        UserError: Another sweep runs there, with its host and process.
    """
    with writing_to(board.folder):
        board.folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = Lock(board.folder)
    except HeldError:
        raise _refused(board, holder_of(board)) from None
    try:
        other = holder_of(board)
        if other and other["host"] != socket.gethostname() and other["alive"]:
            raise _refused(board, other)
        path = board.folder / "holder.json"
        name = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), "about": about}
        with writing_to(board.folder):
            write_atomically(path, json.dumps(name))
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            yield
        finally:
            ended.set()
            path.unlink(missing_ok=True)
    finally:
        lock.release()


def holder_of(board: Board) -> dict[str, Any] | None:
    """Return who holds a folder, and whether that process is `alive`; None where nobody does, or did."""
    path = board.folder / "holder.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        silent = time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        return None
    if found["host"] == socket.gethostname():
        alive = _is_alive(int(found["pid"]))
    else:
        alive = silent < _SILENT_SECONDS
    return {**found, "alive": alive}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            continue


def _refused(board: Board, holder: dict[str, Any] | None) -> UserError:
    who = f"process {holder['pid']} on {holder['host']}" if holder else "another process"
    about = f" ({holder['about']})" if holder else ""
    return UserError(
        f"A sweep runs in {board.results} already: {who}{about}. Wait until it has ended, or stop it, and "
        f"run the same command again; status=true results={board.results} says how far it is. Another "
        "sweep needs another folder, results=<folder>."
    )
