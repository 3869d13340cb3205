"""The questions of stored data, read without lmms-eval: their texts, and which of them share a picture."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.read import batches, column_names
from pdrop_eval.benchmarks.task_files import TaskInfo

_PICTURES = ("image", "images")
_READ_PICTURES = 300 * 2**20  # bytes; of larger data the pictures aren't compared


@dataclass(frozen=True)
class Stored:
    """The questions of a task, in order.

    Attributes:
        rows: Their columns without pictures.
        pictures: A name of each question's pictures; of data whose pictures aren't compared, its place.
        compared: Whether they were.
    """

    rows: list[dict[str, Any]]
    pictures: list[str]
    compared: bool

    def first(self, number: int) -> "Stored":
        """The first questions."""
        return Stored(self.rows[:number], self.pictures[:number], self.compared)

    def at(self, places: Sequence[int]) -> "Stored":
        """Some of them."""
        return Stored([self.rows[p] for p in places], [self.pictures[p] for p in places], self.compared)


def stored_questions(info: TaskInfo, files: Sequence[Path]) -> Stored:
    """Return the questions in the files of a task, as lmms-eval asks them.

    Raises:
        UserError: A file that can't be read.
    """
    names = column_names(files[0])
    compared = sum(path.stat().st_size for path in files) < _READ_PICTURES
    wanted = [name for name in names if compared or name not in _PICTURES]
    rows, pictures = list[dict[str, Any]](), list[str]()
    for batch in batches(files, wanted):
        for row in batch.to_pylist():
            if row.get("data_type", "image") != "image" and info.task == "seedbench":
                continue  # a question about a video
            shown = [_name_of(row.pop(name, None)) for name in _PICTURES]
            for one in _split(row):
                pictures.append("".join(shown) if compared and any(shown) else f"#{len(rows)}")
                rows.append(one)
    return Stored(rows, pictures, compared)


def _split(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """OCR-VQA's rows on the Hub hold all questions about a cover."""
    if not isinstance(row.get("questions"), list):
        return [dict(row)]
    both = zip(row["questions"], row["answers"], strict=True)
    return [{**row, "question": question, "answer": answer} for question, answer in both]


def _name_of(value: Any) -> str:
    """A hash of a picture's content, or of a list of them."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "".join(map(_name_of, value))
    content = value.get("bytes") or str(value.get("path")) if isinstance(value, dict) else value
    plain = content if isinstance(content, bytes) else json.dumps(content, default=str).encode()
    return hashlib.sha256(plain).hexdigest()
