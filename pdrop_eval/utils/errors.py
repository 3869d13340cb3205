"""Errors that the user can fix, errors of a sample, and of runs that went on without the others."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A wrong input. The message names the value, what is allowed and how to fix it.

    Command-line entry points print it without a traceback and exit with status 2. Anything else that is
    raised is a bug and keeps its traceback.
    """


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
