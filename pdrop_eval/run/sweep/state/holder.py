"""Who runs a sweep in a folder: one at a time. What a dead process held is free for the next."""

import json
import os
import shutil
import socket
import subprocess
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
ENDED = ".ended"  # of the file that a worker without a driver leaves
# A worker of a job, and a holder on another machine, where the file system may not pass its lock on, is dead
# after such a silence.
SILENT_SECONDS = 60.0


@contextmanager
def held(board: Board, about: str) -> Iterator[list[str]]:
    """Hold a folder of results for the sweep of this process, and then for the jobs that it has sent.

    Yields a list for the names of these jobs.

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
        if other and (other["host"] != socket.gethostname() or other.get("jobs")) and other["alive"]:
            raise _refused(board, other)
        path = board.folder / "holder.json"
        name = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), "about": about}
        with writing_to(board.folder):
            write_atomically(path, json.dumps(name))
        ended = threading.Event()
        threading.Thread(target=_beat, args=(path, ended), daemon=True).start()
        try:
            jobs: list[str] = []
            yield jobs
        finally:
            ended.set()
            if jobs:
                with writing_to(board.folder):
                    write_atomically(path, json.dumps({**name, "jobs": jobs}))
            else:
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
    if found.get("jobs"):
        alive = bool(living(board)) or _are_to_come(board, found["jobs"], silent)
    elif found["host"] == socket.gethostname():
        alive = _is_alive(int(found["pid"]))
    else:
        alive = silent < SILENT_SECONDS
    return {**found, "alive": alive}


def is_fresh(path: Path) -> bool:
    """Return whether a worker has touched its file lately."""
    try:
        return time.time() - path.stat().st_mtime < SILENT_SECONDS
    except OSError:
        return False


def living(board: Board) -> list[str]:
    """Return the names of the workers that take cells from a board by themselves and are alive."""
    found = (board.folder / "workers").glob("*")
    return sorted(path.name for path in found if path.suffix != ENDED and is_fresh(path))


def _are_to_come(board: Board, jobs: list[str], silent: float) -> bool:
    """Whether some of the jobs have yet to begin."""
    ended = len(list((board.folder / "workers").glob(f"*{ENDED}")))
    return ended < len(jobs) and (silent < SILENT_SECONDS or _are_queued(jobs))


def _are_queued(jobs: list[str]) -> bool:
    """Whether Slurm, where it can be asked, still has one of the jobs, be it in a queue."""
    squeue = shutil.which("squeue")
    if squeue is None:
        return False
    command = [squeue, "--noheader", "--format=%i", f"--jobs={','.join(jobs)}"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(told.stdout.strip())


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
    who = "another process"
    if holder and holder.get("jobs"):
        who = f"jobs {holder['jobs'][0]} to {holder['jobs'][-1]}"
    elif holder:
        who = f"process {holder['pid']} on {holder['host']}"
    about = f" ({holder['about']})" if holder else ""
    return UserError(
        f"A sweep runs in {board.results} already: {who}{about}. Wait until it has ended, or stop it, and "
        f"run the same command again; status=true results={board.results} says how far it is. Another "
        "sweep needs another folder, results=<folder>."
    )
