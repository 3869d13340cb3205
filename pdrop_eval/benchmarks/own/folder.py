"""Reads the data file of a user's folder: JSON lines, CSV or Parquet. Needs no torch."""

import codecs
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.own.rows import FIELDS, Raw, Row, read_rows
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice, parse, shortened

NAMES = ("data.jsonl", "data.csv", "data.parquet")
SEPARATOR = "|"  # of several values in a cell of CSV
_LISTS = ("image", "answers", "choices")  # the fields that may hold several
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class OwnFile:
    """A folder's data file and its rows. embedded: the pictures are in the file itself."""

    path: Path
    rows: tuple[Row, ...]
    embedded: bool = False


def read_folder(folder: str, ignore: Sequence[str] = ()) -> OwnFile:
    """The rows of the one data file in a folder.

    Args:
        folder: As the user gives it.
        ignore: Fields of the data that are left out.

    Raises:
        UserError: There is no such folder, none or several data files in it, or one that can't be used.
    """
    path = find_file(folder)
    embedded = False
    if path.suffix == ".parquet":
        raws, embedded = _parquet(path)
    else:
        text = _decoded(path)
        raws = list(_json_lines(path, text) if path.suffix == ".jsonl" else _csv(path, text))
    if not raws:
        raise UserError(f"{path} holds no question. Write at least one row.")
    _check_fields(path, raws, ignore)
    return OwnFile(path, tuple(read_rows(path, raws, embedded)), embedded)


def find_file(folder: str) -> Path:
    """The data file of a folder. Raises UserError unless there is just one."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        file = f" That is a file: give the folder, data.folder={root.parent}." if root.is_file() else ""
        raise UserError(f"data.folder={folder} is no folder.{file} Give one that holds {_named(' or ')}.")
    found = [root / name for name in NAMES if (root / name).is_file()]
    if not found:
        there = sorted(path.name for path in root.iterdir() if not path.name.startswith("."))
        holds = (
            f"It holds {', '.join(there[:4])}{', ...' if len(there) > 4 else ''}" if there else "It is empty"
        )
        raise UserError(f"data.folder={folder} has no {_named(' or ')}. {holds}. See docs/own_data.md.")
    if len(found) > 1:
        both = " and ".join(path.name for path in found)
        raise UserError(f"data.folder={folder} has {both}: which one counts? Keep one of them there.")
    return found[0]


def _named(word: str) -> str:
    return f"{', '.join(NAMES[:-1])}{word}{NAMES[-1]}"


def _decoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}. Check its permissions.") from error
    if content.startswith(_UTF16):
        raise UserError(f"{path} is not UTF-8 but UTF-16. Save it as UTF-8.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path} is not UTF-8: line {line} has the byte 0x{content[error.start]:02x}. Save the file as "
            "UTF-8."
        ) from error


def _json_lines(path: Path, text: str) -> Iterator[Raw]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = parse(line)
            json.loads(line, object_pairs_hook=_once)
        except ValueError as error:
            whole = (
                " The file is one JSON list: write one object a line." if line.strip() in ("[", "[{") else ""
            )
            raise UserError(f"{path}, line {number}: no JSON ({error}).{whole} Fix the line.") from error
        if not isinstance(found, dict):
            raise UserError(
                f"{path}, line {number}: {shortened(found)} is no object. Write one object a line, such as "
                '{"image": "images/1.png", "question": "What is it?", "answer": "a cat"}.'
            )
        yield Raw(number, found)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"it has {twice!r} twice")
    return dict(pairs)


def _csv(path: Path, text: str) -> Iterator[Raw]:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        _check_head(path, head)
        line = reader.line_num + 1
        for cells in reader:
            if any(cells):
                if len(cells) != len(head):
                    raise UserError(
                        f"{path}, line {line}: it has {len(cells)} cells, and the first line names "
                        f"{len(head)} "
                        'fields. Put texts with commas in double quotes: "one, two".'
                    )
                yield Raw(line, _fields(path, line, head, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: no CSV ({error}). Fix its quotes.") from error


def _fields(path: Path, line: int, head: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """The cells by name; an empty column without a name, as spreadsheets leave one at the end, is none."""
    unnamed = [cell for name, cell in zip(head, cells, strict=True) if not name and cell.strip()]
    if unnamed:
        raise UserError(
            f"{path}, line {line}: the cell {shortened(unnamed[0])} is in a column without a name. Name "
            "it in the first line, or remove it."
        )
    return {name: _cell(path, line, name, cell) for name, cell in zip(head, cells, strict=True) if name}


def _check_head(path: Path, head: Sequence[str]) -> None:
    for sign, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(head) == 1 and sign in head[0]:
            raise UserError(f"{path} parts its cells by {name}. Save it with commas.")
    twice = next((name for name in head if name and head.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path}, line 1: it names the field {twice!r} twice. Keep one.")


def _cell(path: Path, line: int, name: str, cell: str) -> Any:
    """A cell; of the fields that may hold several values, those that | parts, or a JSON list."""
    text = cell.strip()
    if name not in _LISTS:
        return text
    if text.startswith("[") and text.endswith("]"):
        try:
            found = parse(text)
        except ValueError as error:
            raise UserError(
                f"{path}, line {line}: {name}={shortened(text)} is no JSON list ({error}). Several values "
                f"are parted by {SEPARATOR}, or written as a JSON list."
            ) from error
        return found
    return [part.strip() for part in text.split(SEPARATOR)] if SEPARATOR in text else ([text] if text else [])


def _parquet(path: Path) -> tuple[list[Raw], bool]:
    """The rows without pictures that are in the file itself, and whether there are such."""
    import pyarrow as pa

    from pdrop_eval.benchmarks.data.read import batches, schema_of

    schema = schema_of(path)
    embedded = "image" in schema.names and not _is_text(schema.field("image").type, pa)
    names = [name for name in schema.names if not (embedded and name == "image")]
    rows = (row for batch in batches([path], names) for row in batch.to_pylist())
    held = {"image": None} if embedded else {}
    return [Raw(number, {**row, **held}) for number, row in enumerate(rows, 1)], embedded


def _is_text(kind: Any, pa: Any) -> bool:
    """Whether a column holds paths, one or several a row."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type, pa)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return _is_text(kind.value_type, pa)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) in ("string_view", "null")


def _check_fields(path: Path, raws: Sequence[Raw], ignore: Sequence[str]) -> None:
    """Refuses fields that nothing reads, which may be misspelt, and data without the ones that are needed."""
    seen: dict[str, int] = {}
    for raw in raws:
        for name in raw.fields:
            seen.setdefault(name, raw.line)
    for name in ignore:
        if name in FIELDS:
            raise UserError(f"data.ignore=[{name}] would leave out a field that is read. Name others only.")
        check_choice("field in data.ignore", name, sorted({*seen} - {*FIELDS}))
    for name, line in seen.items():
        if name not in ignore:
            fix = f"Rename it, or leave it out with data.ignore=[{name}]."
            check_choice(f"field in {path}, line {line}", name, FIELDS, fix)
    lacking = [name for name in ("image", "question") if name not in seen]
    lacking += ["answer (or answers)"] if not {"answer", "answers"} & {*seen} else []
    if lacking:
        raise UserError(
            f"{path} has no field {', '.join(lacking)}. It has {', '.join(seen)}. Fields that are read: "
            f"{', '.join(FIELDS)}."
        )
