"""Errors that the user can fix, errors of a sample, and of runs that went on without the others."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_LONGEST_WORD, _WORD_HEAD = 600, 200  # characters of what has no space in it, as a path or a value
_LONG_WORD = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")
_LONGEST, _HEAD, _TAIL = 6000, 4000, 1000  # of a message; what is said last is the fix


class UserError(Exception):
    """A wrong input. The message names the value, what is allowed and how to fix it.

    Command-line entry points print it without a traceback and exit with status 2. Anything else that is
    raised is a bug and keeps its traceback. A very long value is cut, so that the message can be read.
    """

    def __init__(self, message: str = "", *more: object):
        super().__init__(brief(message), *more)


def brief(message: str) -> str:
    """Return a message whose very long values are cut; one without them as it is."""
    text = _LONG_WORD.sub(lambda word: f"{word[0][:_WORD_HEAD]}... ({len(word[0]):,} characters)", message)
    if len(text) > _LONGEST:
        left_out = len(text) - _HEAD - _TAIL
        text = f"{text[:_HEAD]} ... ({left_out:,} characters left out) ... {text[-_TAIL:]}"
    return text


class SampleError(RuntimeError):
    """A sample could not be answered; the message names its task and id."""


class RunsFailedError(RuntimeError):
    """Runs of an experiment that failed while the others went on; the message names them, with reasons."""


@contextmanager
def naming(settings: Iterable[str], prefix: str) -> Iterator[None]:
    """Within it, an error's words about `ratio=2` are about `strategy.ratio=2`, as the user gave it.

    Args:
        settings: the names that the words use.
        prefix: what stands in front of them on the command line, `strategy.`.
    """
    try:
        yield
    except UserError as error:
        names = "|".join(map(re.escape, settings))
        text = re.sub(rf"(?<![\w.])(?=(?:{names})=)", prefix, str(error)) if names else str(error)
        raise UserError(text) from error
