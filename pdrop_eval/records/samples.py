"""The files of samples: one a task, which the record's entry of the task vouches for by a checksum.

An entry holds `samples_sha256`, of the file's bytes. While a task that is there already gets other samples,
it also holds `next_samples_sha256`: whichever of the two files a kill leaves, it was written whole. Records
of earlier versions have neither; their files are held against the number of questions. What the samples add
up to may stand in the entry, too (`tally`).
"""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pdrop_eval.records.schema import read_sample, read_samples
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import check_regular, read_text, read_whole
from pdrop_eval.utils.validation import parse

_FIELDS = ("samples_sha256", "next_samples_sha256")
_DIGITS = 16  # of a checksum, by which a tally knows its file
# Opening a pipe isn't waited for (what it is, is looked at then); names that other systems lack are 0.
_PLAINLY = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_SMALL = 2**20  # bytes of a file that is in memory at once also where samples are asked for one by one


def checksum(content: bytes) -> str:
    """What an entry says of its file of samples."""
    return hashlib.sha256(content).hexdigest()


def samples_path(folder: Path, task: str) -> Path:
    """Where the samples of a task are."""
    return Path(folder) / "samples" / f"{plain_name(task)}.jsonl"


@lru_cache(maxsize=4096)  # a sweep has few names and many files
def plain_name(name: str) -> str:
    """A name as that of a file or a folder."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def lost_samples(folder: Path, task: str, entry: Mapping[str, Any]) -> str | None:
    """Why a finished task's file of samples isn't the one that was written with its entry; None if it is.

    An entry without a checksum, of an earlier version, doesn't say that there is a file.
    """
    try:
        content = content_of(f"{folder}/samples/{plain_name(task)}.jsonl")
        sha256 = checksum(content)
        if sha256 in _expected(entry):
            return None
        return _fault(sha256, sum(1 for line in content.split(b"\n") if line), entry)
    except OSError as error:
        return (error.strerror or str(error)) if entry.get(_FIELDS[0]) else None


def tally_of(sha256: str, tally: Mapping[str, str]) -> dict[str, str]:
    """What samples add up to, with which file it is of: the one with this checksum."""
    return {**tally, "samples": sha256[:_DIGITS]}


def trusted_tally(folder: str | Path, task: str, entry: Mapping[str, Any]) -> Mapping[str, str] | None:
    """What a finished task's samples add up to; None where they have to be read.

    The file must be there as it was written, and be the one that the tally is of.
    """
    tally, sha256 = entry.get("tally"), entry.get(_FIELDS[0])
    if not tally or not sha256 or entry.get(_FIELDS[1]) or tally["samples"] != sha256[:_DIGITS]:
        return None
    try:
        content = content_of(f"{folder}/samples/{plain_name(task)}.jsonl")
    except OSError:
        return None
    return tally if checksum(content) == sha256 else None


def load_samples(folder: Path, task: str, entry: Mapping[str, Any] | None = None) -> list[dict]:
    """The stored samples of a finished task, in order, which must be all that the run's record vouches for.

    Args:
        folder: The run's.
        task: The task.
        entry: The task's in the run's record; None: it is read.

    Raises:
        UserError: They are missing or damaged, or lines of them were lost.
    """
    vouched = _entry(Path(folder) / "record.json", task) if entry is None else entry
    found = _at_once(samples_path(folder, task), vouched)
    return list(_one_by_one(samples_path(folder, task), vouched)) if found is None else found


def each_sample(folder: Path, task: str, entry: Mapping[str, Any] | None = None) -> Iterator[dict]:
    """As `load_samples`, one after the other; that lines were lost is known at the end only.

    Args:
        folder: The run's.
        task: The task.
        entry: The task's in the run's record; None: it is read.

    Raises:
        UserError: They are missing or damaged, or lines of them were lost.
    """
    path = samples_path(folder, task)
    vouched = _entry(Path(folder) / "record.json", task) if entry is None else entry
    found = _at_once(path, vouched, _SMALL)
    yield from _one_by_one(path, vouched) if found is None else found


def _at_once(path: Path, entry: Mapping[str, Any], most: int | None = None) -> list[dict] | None:
    """The samples of a file that is as it was written, in one go, which takes a third of the time.

    Returns:
        None where each line is to be looked at: the file isn't as it was written, or has over `most` bytes.
    """
    try:
        if most is not None and path.stat().st_size > most:
            return None
        content = content_of(str(path))
        if checksum(content) not in _expected(entry):
            return None
        return read_samples([line for line in content.decode("utf-8").split("\n") if line])
    except (OSError, ValueError):
        return None


def content_of(path: str, most: int | None = None) -> bytes:
    """The bytes of a plain file, in few calls: a sweep has a hundred thousand files.

    Raises:
        OSError: As the system reports it, for what is no plain file, and for one of more than `most` bytes.
    """
    file = os.open(path, _PLAINLY)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            check_regular(Path(path))
        if most is not None and status.st_size > most:
            return read_whole(Path(path), most)
        parts = [os.read(file, status.st_size + 1)]
        if len(parts[0]) == status.st_size:
            return parts[0]
        while parts[-1]:  # one call may give less than all
            parts.append(os.read(file, _SMALL))
        return b"".join(parts)
    finally:
        os.close(file)


def _one_by_one(path: Path, entry: Mapping[str, Any]) -> Iterator[dict]:
    digest, lines = hashlib.sha256(), 0
    try:
        check_regular(path)
        with open(path, "rb") as file:
            for line in file:
                digest.update(line)
                if line != b"\n":
                    lines += 1
                    yield read_sample(line.decode("utf-8").removesuffix("\n"))
        if fault := _fault(digest.hexdigest(), lines, entry):
            raise ValueError(fault)
    except (OSError, ValueError) as error:
        raise UserError(
            f"The samples in {path} can't be read ({error}). Move the run's folder away and run it again."
        ) from error


def _fault(sha256: str, lines: int, entry: Mapping[str, Any]) -> str | None:
    """Why a file with this checksum and so many lines isn't the one that an entry vouches for."""
    expected = _expected(entry)
    if sha256 in expected:
        return None
    n = entry.get("n")
    if type(n) is int and lines < n:
        return f"{lines} lines for {n} questions: some were lost"
    changed = "its checksum is not the one in the record: it was changed after it had been written"
    return changed if expected else None


def _expected(entry: Mapping[str, Any]) -> list[str]:
    """The checksums that an entry vouches for."""
    return [entry[name] for name in _FIELDS if entry.get(name)]


def _entry(record: Path, task: str) -> Mapping[str, Any]:
    """A task's entry in a record that was checked before; empty where there is none."""
    try:
        found = parse(read_text(record))["tasks"][task]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
