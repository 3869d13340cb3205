"""VLMEvalKit's TSV: a row a question, the picture in base64 or as the index of the row that has it.

A table has the columns that a task needs under the task's names; numbers and lists are read only where a task
needs them, because an answer of digits is text. Raises UserError. Needs pyarrow, and no torch.
"""

import ast
import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import check_regular

_ROWS = 64  # of a batch, pictures and all
_SHORT = 64  # characters: a picture that is no longer names the row that has it, as VLMEvalKit has it
_LISTS = ("answers", "choices", "questions")
_NUMBERED = re.compile(r"index|.*_index")
_OTHER_NAMES = {
    "image": "image_path",
    "choice_a": "A",
    "choice_b": "B",
    "choice_c": "C",
    "choice_d": "D",
    "answers": "answer",
}


def tsv_schema(path: Path, needed: Sequence[str], question_ids: Sequence[str]) -> Any:
    """The columns of the table, with their types."""
    import pyarrow as pa

    names = _names(path, needed, question_ids)
    return pa.schema([pa.field(name, _type(name, needed)) for name in names])


def tsv_tables(path: Path, needed: Sequence[str], question_ids: Sequence[str]) -> Iterator[Any]:
    """The rows, in small batches."""
    import pyarrow as pa

    schema, names = tsv_schema(path, needed, question_ids), _names(path, needed, question_ids)
    shared = _shared_pictures(path)
    waiting: list[dict[str, Any]] = []
    for line, row in _rows(path):
        if "image" in row:
            row["image"] = _picture(path, line, row, shared)
        waiting.append({name: _cell(path, line, name, row[names[name]], needed) for name in names})
        if len(waiting) == _ROWS:
            yield pa.RecordBatch.from_pylist(waiting, schema)
            waiting = []
    if waiting:
        yield pa.RecordBatch.from_pylist(waiting, schema)


def _names(path: Path, needed: Sequence[str], question_ids: Sequence[str]) -> dict[str, str]:
    """The file's column for each column of the table."""
    there = next((list(row) for _, row in _rows(path)), [])
    found = {name: name for name in there}
    alike = {_folded(name): name for name in there}
    for name in needed:
        others = question_ids if name == "question_id" else (_OTHER_NAMES.get(name, name),)
        own = next((other for other in others if other in there), None)
        own = alike.get(_folded(name), own)
        if name not in found and own is not None:
            found[name] = own
    return found


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _type(name: str, needed: Sequence[str]) -> Any:
    import pyarrow as pa

    if name in _LISTS and name in needed:
        return pa.list_(pa.string())
    return pa.int64() if _is_number(name, needed) else pa.string()


def _is_number(name: str, needed: Sequence[str]) -> bool:
    """Whether a column counts: rows, or, beside a list of choices, the right one of them."""
    return bool(_NUMBERED.fullmatch(name)) or (name == "answer" and "choices" in needed)


def _cell(path: Path, line: int, name: str, text: str, needed: Sequence[str]) -> Any:
    if not text:
        return None
    try:
        if name in _LISTS and name in needed:
            listed = ast.literal_eval(text)
            if not isinstance(listed, (list, tuple)):
                raise ValueError
            return [str(one) for one in listed]
        return int(float(text)) if _is_number(name, needed) else text
    except (ValueError, SyntaxError, TypeError, OverflowError, MemoryError, RecursionError) as error:
        kind = "a list such as ['a', 'b']" if name in _LISTS else "a whole number"
        shown = repr(text if len(text) <= 40 else f"{text[:37]}...")
        raise UserError(f"{path}, line {line}: {name} is {shown}, not {kind}. Mend the file.") from error


def _shared_pictures(path: Path) -> dict[str, str]:
    """The pictures that other rows name, by the index of their row."""
    wanted = {row["image"] for _, row in _rows(path) if 0 < len(row.get("image") or "") <= _SHORT}
    if not wanted:
        return {}
    return {
        row["index"]: row["image"]
        for _, row in _rows(path)
        if row.get("index") in wanted and len(row["image"]) > _SHORT
    }


def _picture(path: Path, line: int, row: dict[str, str], shared: dict[str, str]) -> str:
    """The row's own picture, or that of the row that it names; a short one that names none is a path."""
    text = row["image"]
    if text.isdigit() and text not in shared:
        raise UserError(
            f"{path}, line {line}: image is {text}, and no row of this index has a picture. Mend the file."
        )
    return shared.get(text, text) if len(text) <= _SHORT else text


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The line on which each row ends, and its cells by column."""
    csv.field_size_limit(2**31 - 1)
    try:
        check_regular(path)
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(
                        f"{path}, line {reader.line_num}: the row hasn't as many cells as there are columns. "
                        "Is it tab-separated, and whole?"
                    )
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"The data file {path} can't be read ({error}). Write it as tab-separated text in UTF-8."
        ) from error
