"""Files that a user names, read with care; written whole or not at all; a folder that one process holds."""

import errno
import os
import stat
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


LARGEST_TEXT = 1 << 26  # bytes of a file that is read whole: settings, a record, a checkpoint's JSON


def check_regular(path: Path) -> None:
    """Refuse what is no plain file, before it is opened: a pipe would be waited for, a device never ends.

    Raises:
        OSError: as the system reports it, and for what is no plain file.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe, and no plain file", str(path))


def read_whole(path: Path, most: int = LARGEST_TEXT) -> bytes:
    """Return the content of a plain file of no more than `most` bytes.

    Raises:
        OSError: as the system reports it, for what is no plain file, and for one that is larger.
    """
    check_regular(path)
    with open(path, "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(
            errno.EINVAL, f"it has more than {most >> 20} MiB, which none of its kind has", str(path)
        )
    return content


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """Return the text of a plain file in UTF-8; see `read_whole`.

    Raises:
        OSError: see `read_whole`.
        UnicodeDecodeError: it isn't UTF-8.
    """
    return read_whole(path, most).decode("utf-8")


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
