"""Whose exit it is: a signal's, or one that a library asks for, which is a failure."""

import contextlib
import functools
import inspect
import signal
import traceback
from collections.abc import Iterator
from types import CodeType


class LibraryExitError(RuntimeError):
    """A library, or a model's or a benchmark's own code, has asked the program to exit."""

    def __init__(self, code: object):
        status = "" if code is None else f" with status {code}" if isinstance(code, int) else f": {code}"
        super().__init__(f"a library has asked the program to exit{status}")


def exit_of_a_signal(leaving: SystemExit) -> bool:
    """Whether a signal's handler has raised it, as submitit's and Ray's do, and no library's `sys.exit`.

    A handler that raises an Exception, as that of a time limit does, doesn't ask the program to exit: what
    catches it may.
    """
    codes = {code for number in signal.valid_signals() if (code := _code_of(signal.getsignal(number)))}
    error: BaseException | None = leaving
    while error is not None:
        frames = () if isinstance(error, Exception) else traceback.walk_tb(error.__traceback__)
        if any(frame.f_code in codes for frame, _ in frames):
            return True
        error = error.__context__
    return False


@contextlib.contextmanager
def library_exits_failing() -> Iterator[None]:
    """Within it, a library that asks the program to exit has failed; that of a signal's handler goes on.

    Raises:
        LibraryExitError: In place of the library's SystemExit.
    """
    try:
        yield
    except SystemExit as leaving:
        if exit_of_a_signal(leaving):
            raise
        raise LibraryExitError(leaving.code) from leaving


def _code_of(handler: object) -> CodeType | None:
    """The code of a handler in Python, be it a function, a method, a partial or an object with a call."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not callable(handler) or isinstance(handler, type):
        return None  # SIG_DFL and SIG_IGN are members of an enum, whose metaclass has a call in Python
    called = handler if inspect.isroutine(handler) else type(handler).__call__
    found = getattr(called, "__code__", None)
    return found if isinstance(found, CodeType) else None
