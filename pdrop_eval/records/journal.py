"""Answers on disk as they come, so that a run that is killed loses at most the batch it was at.

A journal is a file of lines `<checksum> <JSON>`, one an answer, to which each batch is appended in one write.
A line that was cut off, or was damaged since, is as if it weren't there: its question is asked again. What is
written survives the death of the process at once, and a power cut as soon as the system has flushed it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.utils.files import check_regular, writing_to
from pdrop_eval.utils.validation import to_plain

FOLDER = "journal"
_DIGITS = 16  # of the checksum: against damage, not against malice


class Journal:
    """The answers of one task, written by one of the processes that share a run, read from all of them.

    Attributes:
        folder: The run's.
        scope: Everything that decides an answer beside its question.

    Raises:
        UserError: The folder can't be read or written.
    """

    def __init__(self, folder: Path, task: str, rank: int, scope: Mapping[str, Any]):
        said = json.dumps(to_plain(scope), sort_keys=True)
        self._scope = hashlib.sha256(said.encode()).hexdigest()
        self._path = _folder(folder) / f"{task}.{rank}.jsonl"
        self._known: dict[str, dict[str, Any]] = {}
        with writing_to(folder):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            for path in sorted(self._path.parent.glob(f"{task}.*.jsonl")):
                self._known.update(read_answers(path, self._scope))
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - open as long as the task runs
            self._write(b"\n")  # whatever a killed process left unfinished ends here

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._known)

    def key(self, question: Mapping[str, Any]) -> str:
        """What an answer is kept under: the hash of the scope and of what is said of the question."""
        said = json.dumps(to_plain(question), sort_keys=True)
        return hashlib.sha256(f"{self._scope}\n{said}".encode()).hexdigest()

    def answers(self) -> Iterator[dict[str, Any]]:
        """All that was kept, under whatever key."""
        return iter(self._known.values())

    def recall(self, keys: Sequence[str]) -> list[dict[str, Any]] | None:
        """What was kept under all of these keys; None if one of them is missing."""
        found = [self._known[key] for key in keys if key in self._known]
        return found if len(found) == len(keys) else None

    def keep(self, answers: Mapping[str, Mapping[str, Any]]) -> None:
        """Appends answers by key. Raises UserError if that fails; what was written before stays."""
        plain = {key: to_plain(answer) for key, answer in answers.items()}
        lines = b"".join(
            _line({"scope": self._scope, "key": key, "answer": answer}) for key, answer in plain.items()
        )
        with writing_to(self._path.parent):
            self._write(lines)
        self._known.update(plain)

    def _write(self, content: bytes) -> None:
        while content:  # a nearly full disk takes a part, and says so at the next try
            content = content[self._file.write(content) :]


def drop_journal(folder: Path, task: str | None = None) -> None:
    """Removes what was kept of a task, or of all: its answers are in the record now."""
    for path in _folder(folder).glob(f"{task or '*'}.*.jsonl"):
        path.unlink(missing_ok=True)


def _folder(run: Path) -> Path:
    return Path(run) / FOLDER


def _line(entry: dict[str, Any]) -> bytes:
    text = json.dumps(entry, ensure_ascii=True, allow_nan=False).encode()
    return _checksum(text) + b" " + text + b"\n"


def _checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:_DIGITS].encode()


def read_answers(path: Path, scope: str | None = None) -> dict[str, dict[str, Any]]:
    """The whole lines of a journal by key, of one scope or of all; a file that is gone has none."""
    found = {}
    try:
        check_regular(path)
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return {}
    for line in lines:
        checksum, _, text = line.partition(b" ")
        if text and checksum == _checksum(text):
            entry = json.loads(text)
            if scope in (None, entry["scope"]):
                found[entry["key"]] = entry["answer"]
    return found
