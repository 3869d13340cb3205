"""The progress bar of a task's questions: it stays where a command has one run, and passes in a sweep."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pdrop_eval.utils.terminal import log

if TYPE_CHECKING:
    from tqdm import tqdm

_passing = ContextVar("passing", default=False)


@contextmanager
def passing_bars() -> Iterator[None]:
    """Within it, a bar goes when its task has ended, and is drawn on a terminal alone."""
    before = _passing.set(True)
    try:
        yield
    finally:
        _passing.reset(before)


def questions_bar(total: int, words: str, first: bool = True) -> "tqdm[Any]":
    """Return a bar on standard error; it isn't drawn with log=text or json.

    Args:
        total: How many questions there are.
        words: What they are of.
        first: Whether this is the first of the processes that share them: the others draw none.
    """
    from tqdm import tqdm

    passing = _passing.get()
    hidden = not first or log.kind() != "quiet" or (passing and not sys.stderr.isatty())
    return tqdm(
        total=total, desc=words, unit="sample", file=sys.stderr, dynamic_ncols=True, smoothing=0.1,
        disable=hidden, leave=not passing,
    )  # fmt: skip
