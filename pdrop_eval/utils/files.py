"""Files that are written whole or not at all, and a folder that one process holds."""

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from pdrop_eval.utils.errors import UserError

try:
    import fcntl
except ImportError:  # not a POSIX system: runs are then not guarded against a second process
    fcntl = None  # type: ignore[assignment]


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new one, never a part.

    Makes the parent folder if needed. Raises OSError as the system reports it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def remove_unfinished(folder: Path) -> None:
    """Removes what processes that died have left of files beneath a folder that no other one writes to."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def unwritable(folder: Path, error: OSError) -> UserError:
    """The error to show when results can't be written to `folder`: why, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        why, fix = "the disk or the quota is full", "free some space"
    else:
        why, fix = error.strerror or str(error), "choose a results folder that you can write to"
    return UserError(
        f"Results can't be written to {folder}: {why}. Please {fix} and run the same command again; "
        "tasks that were finished before are kept."
    )


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turns what the system says of a failed write into the error to show."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error


class HeldError(UserError):
    """Another process holds the folder."""


class Lock:
    """Holds a folder for this process, until `release`, its last reference, or the end of the process."""

    def __init__(self, folder: Path):
        path = folder / ".lock"
        with writing_to(folder):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self.release = weakref.finalize(self, os.close, descriptor)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            since = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
            os.write(descriptor, f"process {os.getpid()} since {since}".encode())
        except BlockingIOError:
            holder = path.read_text(encoding="utf-8", errors="replace") or "another process"
            raise HeldError(
                f"The run in {folder} is being written by {holder}. Wait until it has ended, or stop it, "
                "and run the same command again; tasks that it has finished are not computed twice."
            ) from None
        except OSError as error:
            raise unwritable(folder, error) from error


def _sync_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # some systems don't open folders; the file itself is safe already
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
