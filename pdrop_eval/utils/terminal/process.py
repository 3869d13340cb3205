"""The process of a console script: it starts and ends without work that nobody sees.

Importing torch and transformers makes a million objects. While they are made, Python looks for garbage among
them again and again; when it ends, it takes each of them apart: more than a third of a short command's time.
A program of someone else's that calls a script's function, such as a test, keeps Python's own exit.
"""

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path

from pdrop_eval.utils.terminal.collecting import collecting_seldom
from pdrop_eval.utils.terminal.deferred import defer


def console_script(main: Callable[[], None]) -> Callable[[], None]:
    """Make a function a console script's: in a process of its own, it leaves with its status at once."""

    @wraps(main)
    def run() -> None:
        with collecting_seldom():
            if is_own():
                defer()
            try:
                main()
            except SystemExit as leaving:
                if leaving.code is None or isinstance(leaving.code, int):
                    leave(leaving.code or 0)
                raise
            leave(0)

    return run


def leave(status: int) -> None:
    """End the process if it is a console script's own; else return.

    What others have asked for at the exit is done first: threads are waited for, `atexit`'s functions run
    (those that remove temporary files and stop workers among them), and all output is written.

    Args:
        status: The exit status. 120 in its place where output can't be written, as Python has it.
    """
    if not is_own():
        return
    with suppress(KeyboardInterrupt):  # as Python's own exit does
        threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(status if _written() else 120)


def is_own() -> bool:
    """Whether the process runs nothing but a console script of this package."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = spec.name if spec else Path(getattr(main, "__file__", None) or "").name
    ours = name.startswith("pdrop_eval.") if spec else name.startswith("pdrop-eval") and "." not in name
    watched = sys.gettrace() or sys.getprofile() or sys.flags.interactive or sys.flags.inspect
    return ours and not watched and hasattr(threading, "_shutdown") and hasattr(atexit, "_run_exitfuncs")


def _written() -> bool:
    """Write what waits in the outputs; whether all of it could be."""
    written = True
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            written = False
    if "ctypes" in sys.modules:  # a library in C may have printed, too
        with suppress(Exception):
            sys.modules["ctypes"].CDLL(None).fflush(None)
    return written
