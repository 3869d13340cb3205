"""An exit that a library asks for is a failure; one of a signal's handler goes on."""

import enum
import functools
import signal
import sys

import pytest

from pdrop_eval.utils.exits import LibraryExitError, library_exits_failing


class _Handlers:
    """What a program may have made of a signal: it leaves by SystemExit."""

    def method(self, number, frame):
        self.leave()

    def __call__(self, number, frame):
        self.leave()

    def leave(self):
        sys.exit(7)


@pytest.mark.parametrize("handler", [
    _Handlers().method, _Handlers(), functools.partial(_Handlers.method, _Handlers())
], ids=["method", "object", "partial"])  # fmt: skip
def test_an_exit_of_a_signals_handler_is_no_failure(handler):
    before = signal.signal(signal.SIGUSR2, handler)
    try:
        with pytest.raises(SystemExit) as left, library_exits_failing():
            signal.raise_signal(signal.SIGUSR2)
        assert left.value.code == 7
        # The handler is there, and this exit isn't its.
        with (
            pytest.raises(LibraryExitError, match="exit: no GPU is left"),
            library_exits_failing(),
        ):
            sys.exit("no GPU is left")
    finally:
        signal.signal(signal.SIGUSR2, before)


class _Mode(enum.Enum):
    FAST = "fast"


class _OnlyMode(enum.Enum):
    FAST = "fast"

    @classmethod
    def _missing_(cls, value):
        sys.exit("too bad")


def _late(number, frame):
    raise TimeoutError


def _looking_up():
    try:
        _Mode("x")
    except ValueError:
        sys.exit("too bad")


def _waiting():
    try:
        signal.raise_signal(signal.SIGUSR2)
    except TimeoutError:
        sys.exit("too bad")


@pytest.mark.parametrize(("handler", "library"), [
    (signal.SIG_DFL, _looking_up),  # itself a member of an enum, whose class is called in Python
    (signal.SIG_DFL, lambda: _OnlyMode("x")),
    (_OnlyMode, lambda: _OnlyMode("x")),
    (_late, _waiting),  # a time limit: it doesn't ask the program to exit
])  # fmt: skip
def test_an_exit_of_a_library_is_a_failure_whatever_signals_do(handler, library):
    before = signal.signal(signal.SIGUSR2, handler)
    try:
        with pytest.raises(LibraryExitError, match="exit: too bad"), library_exits_failing():
            library()
    finally:
        signal.signal(signal.SIGUSR2, before)
