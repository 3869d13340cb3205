"""What a command does when it is asked to end: it cleans up, and then ends by the same signal.

Python itself cleans up after Ctrl-C alone: of TERM, which schedulers and `torchrun` send, and of HUP, which a
closed terminal does, it dies where it stands, and its scratch folders stay.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

_NAMES = ("SIGTERM", "SIGHUP")
# Seconds for cleaning up. In a call that Python can't interrupt, such as waiting for another process of the
# run, nothing is cleaned up; schedulers kill after some 30 s.
_PATIENCE = 10.0
_handled: set[int] = set()


class EndedBySignal(BaseException):
    """The process was asked to end; nothing but cleaning up is left to do."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def ended_by_signals(tell: Callable[[str, int], object]) -> Iterator[None]:
    """Within it, TERM and HUP raise `EndedBySignal`; what leaves it ends the process by the signal.

    A signal that is ignored, as under nohup, or that somebody handles, stays so; forked processes have the
    default again. A second signal ends the process at once.

    Args:
        tell: is given the signal's name and the exit status that a shell will see.
    """
    in_main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)] if in_main else []
    own = {number for number in numbers if signal.getsignal(number) is signal.SIG_DFL}
    if not own:  # an outer one does it
        yield
        return
    with _watchdog(own):
        _handled.update(own)
        for number in own:
            signal.signal(number, _raise)
        try:
            yield
        except EndedBySignal as ended:
            tell(str(ended), 128 + ended.number)
            _end(ended.number)
        finally:
            _reset()


def _raise(number: int, frame: FrameType | None) -> NoReturn:
    for one in _handled:
        signal.signal(one, signal.SIG_DFL)
    raise EndedBySignal(number)


def _end(number: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    sys.exit(128 + number)  # the first process of a container doesn't die of it


def _reset() -> None:
    for number in _handled:
        if signal.getsignal(number) is _raise:
            signal.signal(number, signal.SIG_DFL)
    _handled.clear()


@contextlib.contextmanager
def _watchdog(numbers: set[int]) -> Iterator[None]:
    """Ends the process if it is asked to end and doesn't, since Python's own handlers can't run."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    left = threading.Event()
    threading.Thread(target=_watch, args=(reader, numbers, left), daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def _watch(reader: int, numbers: set[int], left: threading.Event) -> None:
    while (found := os.read(reader, 1)) and found[0] not in numbers:
        pass
    os.close(reader)
    if found and not left.wait(_PATIENCE):
        os._exit(128 + found[0])


def _before_fork() -> None:
    if _handled:  # a signal that reaches a child before it has the defaults would be taken for its parent's
        signal.pthread_sigmask(signal.SIG_BLOCK, _handled)


def _in_parent() -> None:
    if _handled:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _handled)


def _in_child() -> None:
    if _handled:
        numbers = set(_handled)
        signal.set_wakeup_fd(-1)
        _reset()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)
