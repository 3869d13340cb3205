"""The rows of a file: JSON, JSON lines, CSV, TSV or a spreadsheet, each row a dict with its place."""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import check_regular

TABLES = (".csv", ".tsv", ".jsonl", ".json", ".xlsx")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MOST = 1 << 28  # characters of a cell: VLMEvalKit's tables may hold pictures

Placed = tuple[str, dict[str, Any]]


def read_rows(path: Path) -> list[Placed]:
    """Return each row of a file with its place.

    Raises:
        UserError: It can't be read, isn't of its kind, or ends in the middle of a row.
    """
    kind = path.suffix.lower()
    if kind not in TABLES:
        raise UserError(f"{path} is no table: use a file that ends in {', '.join(TABLES)}.")
    try:
        check_regular(path)
        if kind == ".jsonl":
            return list(_json_lines(path))
        if kind == ".json":
            return list(_json(path))
        return list(_spreadsheet(path) if kind == ".xlsx" else _delimited(path, _DELIMITERS[kind]))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}. Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text in UTF-8: {error}. Save it as UTF-8.") from error


def read_json(path: Path) -> Any:
    """Return the value of a JSON file; NaN is None.

    Raises:
        UserError: It is no JSON.
    """
    try:
        check_regular(path)
        return _parsed(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}. Check its permissions.") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}. Was it cut off? Copy it again.") from error


def _parsed(text: str) -> Any:
    """The value of a JSON text, with None for NaN, which lmms-eval and pandas write. Raises ValueError."""
    try:
        found = json.loads(text, parse_constant=lambda _: None)
        if "\\u" in text:  # half of a surrogate pair couldn't be written again
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    return found


def _json_lines(path: Path) -> Iterator[Placed]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            found = _parsed(line)
        except ValueError as error:
            last = not any(rest.strip() for rest in lines[number:])
            cut = " It is the last one: the log was cut off, and is partial." if last else ""
            raise UserError(f"{place} is no JSON ({error}).{cut} Copy the file again.") from error
        if not isinstance(found, dict):
            raise UserError(f"{place} holds no object, but {type(found).__name__}.")
        yield place, found


def _json(path: Path) -> Iterator[Placed]:
    """Records, or columns by name, as pandas writes them."""
    found = read_json(path)
    if isinstance(found, dict) and found and all(isinstance(one, (list, dict)) for one in found.values()):
        columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in found.items()}
        if len({len(column) for column in columns.values()}) == 1:
            found = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UserError(f"{path} holds no list of rows. Use [{{...}}, ...], or JSON lines.")
    for number, row in enumerate(found, 1):
        yield f"{path}, row {number}", row


def _delimited(path: Path, delimiter: str) -> Iterator[Placed]:
    before = csv.field_size_limit(_MOST)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _table(path, csv.reader(file, delimiter=delimiter, strict=True), "line")
    except csv.Error as error:
        raise UserError(f"{path} is no table: {error}. Was it cut off? Save or copy it again.") from error
    finally:
        csv.field_size_limit(before)


def _spreadsheet(path: Path) -> Iterator[Placed]:
    from zipfile import BadZipFile

    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise UserError(f"{path} needs openpyxl: pip install openpyxl, or save it as CSV.") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        sheet = book[book.sheetnames[0]]
        cells = (["" if cell is None else cell for cell in row] for row in sheet.iter_rows(values_only=True))
        heads = next(cells, [])
        filled = (
            [*row, *[""] * (len(heads) - len(row))] for row in cells
        )  # empty ones at the end are left out
        yield from _table(path, chain([heads], filled), "row")
        book.close()
    except (BadZipFile, KeyError, ValueError) as error:
        raise UserError(f"{path} is no spreadsheet: {error}. Was it cut off? Copy it again.") from error


def _table(path: Path, rows: Iterator[list[Any]], word: str) -> Iterator[Placed]:
    heads = [str(head).strip() for head in next(rows, [])]
    if not any(heads):
        raise UserError(f"{path} is empty: it has no row of names at its top.")
    twice = sorted({head for head in heads if head and heads.count(head) > 1})
    if twice:
        raise UserError(f"{path} has two columns {twice[0]!r}. Rename or remove one of them.")
    for number, row in enumerate(rows, 2):
        if not any(str(cell).strip() for cell in row):
            continue
        if len(row) != len(heads):
            raise UserError(
                f"{path}, {word} {number} has {len(row)} cells where the first has {len(heads)}: it was cut "
                "off, or a separator isn't quoted. Save or copy it again."
            )
        yield f"{path}, {word} {number}", dict(zip(heads, row, strict=True))
