"""The paper's tables for the page: those of `report.tables`, with the paper's own numbers beside them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.left_out import LeftOut
from pdrop_eval.records.rows.row_key import RowKey, family_name
from pdrop_eval.report.budgets.board.blocks import boards
from pdrop_eval.report.budgets.report import budgets
from pdrop_eval.report.formats.grid import Note, Section
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.names import public
from pdrop_eval.report.tables.cells import Cell
from pdrop_eval.report.tables.csv_export import sheet
from pdrop_eval.report.tables.fill import Group, Part, Row, measured_parts, published_part
from pdrop_eval.report.tables.layout import comparison_notes
from pdrop_eval.report.tables.missing import can_be_filled, fill_row
from pdrop_eval.report.tables.notes import part_notes, questions
from pdrop_eval.report.tables.spec import Table, shipped

KeyOf = Callable[[Any], str | None]
FOLDER = "downloads/tables"
MOST_ROWS = 200  # of a table that the page reads before it is looked at
_DIGITS = ".10g"  # as in the sheets of the tables


def tables(
    recorded: Sequence[Recorded], left: Sequence[LeftOut] = (), bench: Path | None = None
) -> tuple[list[dict[str, Any]], dict[str, str], dict[str, Any]]:
    """All tables, their sheets by file name, and by name what is read when a table is looked at.

    That is one by budgets, or a long one.

    Args:
        recorded: The runs.
        left: What couldn't be run.
        bench: The folder of pdrop-eval-bench's records.
    """
    later: dict[str, Any] = {}
    keys = {id(one.run): one.key for one in recorded}
    runs = [one.run for one in recorded if one.run.results]
    found, sheets = [], {}
    for table in shipped().values():
        if table.in_blocks:
            stored = [one.on_disk for one in recorded if one.run.results]
            if filled := boards(table, stored, left):
                blocks = budgets(table, filled, bench)
                found.append({**_head(table), "load": table.name})
                sections = [_section(one) for one in blocks.sections]
                later[table.name] = {"sections": sections, "ranks": _with_keys(blocks.ranks, recorded)}
                sheets[f"{FOLDER}/{table.name}.csv"] = public(blocks.sheet)
            continue
        parts = measured_parts(table, runs)
        if not parts and not table.published:
            continue
        printed = [published_part(table)] if table.published else []
        shown = [_part(part, lambda run: keys.get(id(run))) for part in [*parts, *printed]]
        held: dict[str, Any] = {"parts": shown}
        if sum(len(group["rows"]) for part in shown for group in part["groups"]) > MOST_ROWS:
            held, later[table.name] = {"load": table.name}, held
        found.append(
            {
                **_head(table),
                "benchmarks": list(table.benchmarks),
                "labels": ["Model", *table.labels],
                "facts": list(table.facts),
                "average": table.average,
                **held,
            }
        )
        sheets[f"{FOLDER}/{table.name}.csv"] = public(sheet([*parts, *printed]))
    return found, sheets, later


def _with_keys(ranks: list[dict[str, Any]], recorded: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Ranks whose points lead to the records of their runs."""
    keys = {one.run.id: one.key for one in recorded}
    for board in ranks:
        for series in board["series"]:
            for point in series["points"]:
                point["run"] = keys.get(point["run"])
    return ranks


def _head(table: Table) -> dict[str, Any]:
    return {
        "number": table.number or table.name,
        "title": table.label,
        "heading": table.heading,
        "files": [{"title": "CSV, with every digit", "file": f"{FOLDER}/{table.name}.csv"}],
    }


def _section(section: Section) -> dict[str, Any]:
    """A section of text as it is: the page shows it as the other formats do."""
    return {
        "title": section.title,
        "text": section.text,
        "grids": [
            {
                "title": grid.title,
                "heads": grid.heads,
                "labels": grid.labels,
                "left": grid.left,
                "bands": [
                    {"name": band.name, "lines": [[vars(cell) for cell in line.cells] for line in band.lines]}
                    for band in grid.bands
                ],
            }
            for grid in section.grids
        ],
        "notes": [{"text": note.text, "commands": note.commands} for note in section.notes],
    }


def rounded(value: float | None) -> float | None:
    """A number with ten digits; what is beyond them is noise that only takes room."""
    return None if value is None else float(format(value, _DIGITS))


def cell_values(cell: Cell | None) -> dict[str, Any] | None:
    """What the page shows of a cell; low and high are the ends of its 95% interval."""
    if cell is None:
        return None
    low, high = cell.interval or (None, None)
    return {
        "state": cell.state,
        "score": rounded(cell.score),
        "low": rounded(low),
        "high": rounded(high),
        "n": cell.n,
        "why": cell.why,
    }


def _part(part: Part, key_of: KeyOf) -> dict[str, Any]:
    measured = part.suite is not None
    notes = part_notes(part) if measured else comparison_notes(part.table.benchmarks)
    source = Note(f"Questions: {questions(part.runs)}" if part.runs else f"Printed in {part.table.source}.")
    return {
        "source": "measured" if measured else "published",
        "size": part.size,
        "suite": part.suite,
        "comparable": not measured or {run.of("suite", "source") for run in part.runs} == {"hub"},
        "notes": [
            {"text": note.text, "commands": note.commands}
            for note in ([source] if part.runs or not measured else []) + notes
        ],
        "groups": [_group(part, group, key_of) for group in part.groups],
    }


def _group(part: Part, group: Group, key_of: KeyOf) -> dict[str, Any]:
    return {
        "name": group.name,
        "beyond": group.beyond,
        "rows": [_row(part, group, row, key_of) for row in group.rows],
        "delta": _delta(part.table, group),
    }


def _row(part: Part, group: Group, row: Row, key_of: KeyOf) -> dict[str, Any]:
    labels = [str(getattr(row.key, name)) for name in part.table.labels.values()]
    hours, unit = row.hours or (None, None)
    return {
        "labels": [_model(group, row), *labels],
        "run": key_of(row.run),
        "changes": row.run.deviations if row.run else [],
        "tflops": rounded(row.tflops),
        "hours": rounded(hours),
        "hours_unit": unit,
        "patches": row.key.patches,
        "cells": {name: cell_values(cell) for name, cell in row.cells.items()},
        "average": cell_values(row.average),
        "fill": _fill(part, row),
        "published": None if part.suite is None else _printed(part.table, row.key),
    }


def _fill(part: Part, row: Row) -> dict[str, str] | None:
    """The command that measures what the row lacks, and what it needs that isn't there."""
    if part.suite is None or not row.missing or not can_be_filled(part):
        return None
    found = fill_row(part, row)
    return {"command": found.command, "needs": found.needs}


def _model(group: Group, row: Row) -> str:
    return f"{group.name} p{row.key.patches}" if row.key.patches > 1 else group.name


def _printed(table: Table, key: RowKey) -> dict[str, Any] | None:
    """The paper's row of the same key, as printed."""
    row = next((one for one in table.published if one.key == key), None)
    if row is None:
        return None
    return {
        "name": family_name(key.architecture, table.size),
        "cells": dict(row.scores),
        "average": row.average,
        "tflops": row.tflops,
        "hours": row.hours,
        "hours_unit": "GPU hours",
    }


def _delta(table: Table, group: Group) -> dict[str, Any] | None:
    if table.delta is None or not group.delta:
        return None
    cells = {name: rounded(value) for name, value in group.delta.items() if name != "avg"}
    return {"words": table.delta.words, "cells": cells, "average": rounded(group.delta.get("avg"))}
