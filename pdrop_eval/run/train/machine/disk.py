"""A disk that gets full while a training writes to it: said as such, with what is needed. Needs no torch."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pdrop_eval.utils.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT)
# What torch, whose "unexpected pos" says nothing of a disk, and safetensors report of a failed write.
_WORDS = (
    "unexpected pos", "PytorchStreamWriter failed", "No space left", "os error 28", "Disk quota exceeded",
    "os error 122",
)  # fmt: skip


class FullDiskError(UserError):
    """The disk that a training is written to is full."""


@contextmanager
def writing_to_disk(folder: Path, needed: int | None = None, goes_on: bool = True) -> Iterator[None]:
    """Turns the errors of a full disk into a UserError that names it; all others pass.

    Args:
        folder: Where is written.
        needed: The bytes that the next checkpoint, or the model, takes; None: nobody knows.
        goes_on: The same command goes on where it was, from a checkpoint.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, FullDiskError) or not is_full(error):
            raise
        raise FullDiskError(_message(folder, needed, goes_on)) from error


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is one of writing to a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        if not isinstance(error, UserError) and any(words in str(error) for words in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _message(folder: Path, needed: int | None, goes_on: bool) -> str:
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = f"{_gigabytes(shutil.disk_usage(there).free)} GB are free"
    if needed is None:
        need, space = "", "some space"
    else:
        need = f", and a checkpoint takes up to {_gigabytes(needed)} GB beside those that are kept"
        space = f"{_gigabytes(needed)} GB"
    full = f"{folder.absolute()} can't be written: its disk, or the quota on it, is full ({free}{need})."
    if not goes_on:
        return f"{full} Free {space}, remove {folder}, and run the same command again."
    return (
        f"{full} Free {space} (keep= says how many checkpoints of a phase stay) and run the same command "
        "again: it resumes from the last whole checkpoint."
    )


def _gigabytes(value: int) -> str:
    return f"{value / 1e9:,.1f}" if value >= 1e8 else f"{value / 1e9:.2g}"
