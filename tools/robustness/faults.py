"""Processes with injected faults: killed, without space on the disk, with damaged files."""

import errno
import mmap
import os
import random
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


class Counter:
    """A number that a forked process counts up and its parent reads, also after the process was killed."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 8)

    def add(self, number: int) -> None:
        """Counts."""
        self._memory[:8] = struct.pack("q", self.value + number)

    @property
    def value(self) -> int:
        """The count."""
        return int(struct.unpack("q", self._memory[:8])[0])


def fork(action: Callable[[], None], log: Path) -> int:
    """Runs an action in a process of its own, its output in a file; returns the process's number."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        with open(log, "ab", buffering=0) as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        action()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(process: int) -> int:
    """The exit status of a process; negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def evaluation(arguments: Sequence[str], results: Path, answered: Counter) -> Callable[[], None]:
    """`pdrop-eval` with these arguments, counting the answers that the model has given."""

    def action() -> None:
        from pdrop_eval.run.evaluate.cli import main

        _count(answered)
        sys.argv = ["pdrop-eval", *arguments, f"results={results}"]
        main()

    return action


def sweep(arguments: Sequence[str], results: Path, answered: Counter) -> Callable[[], None]:
    """`pdrop-eval-sweep` with these arguments, likewise."""

    def action() -> None:
        from pdrop_eval.run.sweep.cli import main

        _count(answered)
        sys.argv = ["pdrop-eval-sweep", *arguments, f"results={results}"]
        main()

    return action


def _count(answered: Counter) -> None:
    """Count from now on what the model of this process answers."""
    from pdrop_eval.run.lmms.model import PdropLlava

    answer = PdropLlava._answer

    def counted(self: Any, batch: Any) -> Any:
        found = answer(self, batch)
        answered.add(len(batch))
        return found

    PdropLlava._answer = counted  # type: ignore[method-assign]


def table_build(root: Path, out: Path) -> Callable[[], None]:
    """`pdrop-eval-tables` on some records."""

    def action() -> None:
        from pdrop_eval.report.readme.cli import main

        sys.argv = ["pdrop-eval-tables", f"root={root}", f"out={out}"]
        main()

    return action


def full_disk(action: Callable[[], None], at: int, writes: Counter) -> Callable[[], None]:
    """The action on a disk that is full from its `at`-th write on (0: never), counting the writes."""

    def on_full_disk() -> None:
        from pdrop_eval.records.journal import Journal

        replace, write = os.replace, Journal._write

        def allowed() -> None:
            writes.add(1)
            if at and writes.value >= at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def guarded_replace(*args: Any, **kwargs: Any) -> None:
            if str(args[0]).endswith(".tmp"):
                allowed()
            replace(*args, **kwargs)

        def guarded_write(self: Any, content: bytes) -> None:
            try:
                allowed()
            except OSError:
                write(self, content[: len(content) // 2])  # a full disk takes what still fits
                raise
            write(self, content)

        os.replace, Journal._write = guarded_replace, guarded_write  # type: ignore[method-assign]
        action()

    return on_full_disk


def kill_at(process: int, moment: float, watch: Callable[[], None]) -> bool:
    """SIGKILL after some seconds, unless the process has ended; watches meanwhile. Whether it was killed."""
    end = time.monotonic() + moment
    while time.monotonic() < end:
        time.sleep(min(0.02, max(0.0, end - time.monotonic())))
        watch()
    os.kill(process, signal.SIGKILL)
    return wait(process) == -signal.SIGKILL


def kill_when(process: int, answered: Counter, number: int, watch: Callable[[], None]) -> bool:
    """SIGKILL when so many answers are given, unless the process ends before; see `kill_at`."""
    while answered.value < number:
        time.sleep(0.01)
        watch()
        if os.waitpid(process, os.WNOHANG) != (0, 0):
            return False
    os.kill(process, signal.SIGKILL)
    return wait(process) == -signal.SIGKILL


def damage_journals(root: Path, chance: random.Random) -> None:
    """Flips a byte of a journal, or cuts its end off, as a failing disk may."""
    for path in root.glob("*/*/journal/*.jsonl"):
        content = bytearray(path.read_bytes())
        if len(content) > 1:
            place = chance.randrange(len(content))
            if chance.random() < 0.5:
                content[place] ^= 1 << chance.randrange(8)
            path.write_bytes(content if chance.random() < 0.5 else content[:place])
