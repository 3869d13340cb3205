"""The rows of the user's own data: what each field may hold. Needs no torch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import shortened

FIELDS = ("image", "question", "answer", "answers", "choices", "group", "id")
MARK = "<image>"  # where a question says that a picture stands
_LISTED = 3  # further rows that a message names


@dataclass(frozen=True)
class Raw:
    """A row as the file has it.

    Attributes:
        line: Of the file, from 1; of Parquet, the row.
        fields: What it holds, by name.
    """

    line: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A question with all that belongs to it.

    Attributes:
        line: As of `Raw`.
        id: The user's name for it; None where the data have none.
        images: Paths in the folder, as they are written; None where the pictures are in the file itself.
        answers: Each of them is right; with `vqa`, one of each person who was asked.
        group: What it is resampled with; None: with the questions about the same pictures.
    """

    line: int
    id: str | None
    images: tuple[str, ...] | None
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...]
    group: str | None


Fault = tuple[int, str | None, str]  # line, id, and what is wrong there


def refuse(file: Path, faults: Sequence[Fault], fix: str) -> None:
    """Raises UserError for the first of some faults, with the lines of the next ones; nothing without one."""
    if not faults:
        return
    line, name, text = faults[0]
    more = [str(line) for line, _, _ in faults[1 : 1 + _LISTED]]
    rest = len(faults) - 1 - len(more)
    also = f" The same holds for {rows_word(file, len(more))} {', '.join(more)}" if more else ""
    others = f"{also}{f' and {rest} more' if rest else ''}{'.' if more else ''}"
    raise UserError(f"{place(file, line, name)}: {text}.{others} {fix}")


def place(file: Path, line: int, name: str | None) -> str:
    """Where a row is, in words: "my/data.jsonl, line 3, id 'q3'"."""
    shown = "" if name is None else f", id {shortened(name)}"
    return f"{file}, {rows_word(file, 1)} {line}{shown}"


def rows_word(file: Path, count: int) -> str:
    """What a row of the file is counted by."""
    return ("row" if file.suffix == ".parquet" else "line") + "s" * (count > 1)


def read_rows(file: Path, raws: Iterable[Raw], embedded: bool) -> list[Row]:
    """The rows, each with what a question needs.

    Args:
        file: For messages.
        raws: As the file has them.
        embedded: The pictures are in the file itself.

    Raises:
        UserError: A value of another kind; a row without picture, question or answer; two with one id.
    """
    found = [_row(file, raw, embedded) for raw in raws]
    _check_answers(file, found)
    _check_pictures(file, found)
    _check_all_or_none(file, found)
    _check_ids(file, found)
    return found


def _row(file: Path, raw: Raw, embedded: bool) -> Row:
    named = raw.fields.get("id")
    name = None if isinstance(named, (list, dict)) or named in (None, "") else str(named)

    def texts(field: str) -> tuple[str, ...]:
        value = raw.fields.get(field)
        listed = value if isinstance(value, (list, tuple)) else [value]
        try:
            return tuple(text for text in map(_text, listed) if text is not None)
        except TypeError as error:
            fix = f"Write {field} as a text{' or a list of texts' if field != 'question' else ''}."
            raise UserError(f"{place(file, raw.line, name)}: {field}={error}. {fix}") from error

    def one(field: str) -> str | None:
        values = texts(field)
        if len(values) > 1 or isinstance(raw.fields.get(field), (list, tuple)):
            where = place(file, raw.line, name)
            raise UserError(
                f"{where}: {field} is a list. Write one text; only image, answers and choices take several."
            )
        return values[0] if values and values[0] else None

    answer, answers = texts("answer"), texts("answers")
    if isinstance(raw.fields.get("answer"), (list, tuple)):
        where = place(file, raw.line, name)
        raise UserError(f"{where}: answer is a list. Name the field answers, or write one text.")
    if any(answer) and any(answers):
        where = place(file, raw.line, name)
        raise UserError(f"{where}: it has both answer and answers. Leave one of them out.")
    question = one("question")
    if question is None:
        raise UserError(f"{place(file, raw.line, name)}: it has no question. Write one, or remove the row.")
    images = None if embedded else texts("image")
    if images is not None and question.count(MARK) > len(images):
        where = place(file, raw.line, name)
        raise UserError(
            f"{where}: the question has {question.count(MARK)} times {MARK!r}, but {len(images)} "
            f"picture{'s' * (len(images) != 1)}. {MARK} stands for a picture: write another "
            "word, or add pictures."
        )
    return Row(
        raw.line,
        one("id"),
        images,
        question,
        answer if any(answer) else answers,
        texts("choices"),
        one("group"),
    )


def _text(value: Any) -> str | None:
    """A value as a text, without space around it; None for none. Raises TypeError, which names the value."""
    if value is None or isinstance(value, str):
        return value if value is None else value.strip()
    if isinstance(value, bool):
        raise TypeError(f"{str(value).lower()}, a truth value")
    if isinstance(value, float) and not math.isfinite(value):
        return None  # as pandas writes what is missing
    if isinstance(value, (int, float)):  # 3.0 is how pandas keeps a 3 in a column with gaps
        return str(int(value)) if value == int(value) else repr(value)
    raise TypeError(f"{shortened(value)}, which is of kind {type(value).__name__}")


def _check_answers(file: Path, rows: Sequence[Row]) -> None:
    lacking = [row for row in rows if not row.answers or not all(row.answers)]
    if len(lacking) == len(rows) and not any(any(row.answers) for row in rows):
        raise UserError(
            f"{file}: none of its {len(rows)} {rows_word(file, len(rows))} has an answer: answer and answers "
            "are empty everywhere, so nothing can be scored. Fill in answer (one text) or answers (several)."
        )
    fix = "Write what is right, or remove the row."
    refuse(file, [(row.line, row.id, "its answer is empty") for row in lacking], fix)


def _check_pictures(file: Path, rows: Sequence[Row]) -> None:
    faults = [
        (row.line, row.id, "it names no picture")
        for row in rows
        if row.images is not None and (not row.images or not all(row.images))
    ]
    refuse(file, faults, "Give image, a path in the folder, or remove the row.")


def _check_all_or_none(file: Path, rows: Sequence[Row]) -> None:
    """An id or a group that only some rows have is one that was forgotten in the others."""
    for field in ("id", "group"):
        lacking = [row for row in rows if getattr(row, field) is None]
        if lacking and len(lacking) < len(rows):
            faults = [(row.line, row.id, f"it has no {field}, and other rows have one") for row in lacking]
            refuse(file, faults, f"Give each row its {field}, or none.")


def _check_ids(file: Path, rows: Sequence[Row]) -> None:
    """Refuses two rows of one id; without ids, a row that is there twice, which would count twice."""
    first: dict[Any, int] = {}
    faults: list[Fault] = []
    for row in rows:
        key = row.id or (row.images, row.question, row.answers, row.choices)
        if row.id is None and row.images is None:
            continue  # pictures in the file itself may differ
        before = first.setdefault(key, row.line)
        if before != row.line:
            same = "it has the id of" if row.id else "it is the same as"
            faults.append((row.line, row.id, f"{same} {rows_word(file, 1)} {before}"))
    with_ids = bool(rows) and rows[0].id is not None
    refuse(
        file, faults, "Give each row an id of its own." if with_ids else "Remove it, or give each row an id."
    )
