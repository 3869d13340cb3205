"""A table as CSV with every digit: a line a row of the table, with the state of every cell."""

import csv
import io
import re
from functools import cache, lru_cache
from typing import Any

from pdrop_eval.records.rows.row_key import RowKey
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.tables.cells import Cell
from pdrop_eval.report.tables.fill import Part, Row
from pdrop_eval.report.tables.missing import can_be_filled, fill_row
from pdrop_eval.utils.text.escape import visible

_KEY = ("architecture", "patches", "train", "train_ratio", "strategy", "ratio")
_RUN = (
    "run_id", "limit", "changes", "device_hours", "device_label", "training_flops",
    "training_flops_all_tokens", "training_steps", "training_samples", "training_seed", "training_start",
    "tflops", "tflops_mean",
)  # fmt: skip
# Of every benchmark and the average: score (under the plain name), state, standard error, 95% interval (none
# where the standard error is 0: a bootstrap can't see what didn't vary), number of questions.
CELL = ("state", "stderr", "low", "high", "n")
PLACES = ".10g"
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
# What a spreadsheet takes for the beginning of a formula, in a cell that is text; the wide forms, too.
_FORMULA = tuple("=+-@＝＋－＠")


def sheet(parts: list[Part]) -> str:
    """All parts of one table; a line of differences has `delta` as its strategy and only scores."""
    keys = parts[0].table.benchmarks
    columns = ["source", "size", "suite", *_KEY, *_RUN, *keys, "avg"]
    columns += [f"{key}_{name}" for key in [*keys, "avg"] for name in CELL] + ["command"]
    return write_csv(columns, [line for part in parts for line in _lines(part)])


def write_csv(columns: list[str], lines: list[dict[str, Any]]) -> str:
    """Lines by column name; what is missing is left empty.

    A text that a spreadsheet would compute as a formula begins with an apostrophe; numbers stay as they are.
    """
    stream, empty = io.StringIO(), dict.fromkeys(columns, "")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for line in lines:
        if not line.keys() <= empty.keys():
            raise ValueError(f"no columns: {', '.join(sorted(line.keys() - empty.keys()))}")
        told = empty | {name: _plain(value) for name, value in line.items() if value is not None}
        writer.writerow([told[name] for name in columns])
    return stream.getvalue()


def run_columns(run: Run | None) -> dict[str, Any]:
    """What a line says of the run behind it."""
    if run is None:
        return {}
    hours, label = run.hours or (None, None)
    return {
        "run_id": run.id,
        "limit": run.limit,
        "changes": " ".join(run.changes),
        "device_hours": hours,
        "device_label": label,
        "training_flops": run.training.flops,
        "training_flops_all_tokens": run.training.all_flops,
        "training_steps": run.training.steps,
        "training_samples": run.training.samples,
        "training_seed": run.training.seed,
        "training_start": run.training.start,
        "tflops": run.of("efficiency", "tflops"),
        "tflops_mean": run.mean("tflops_mean", run.results),
    }


def cell_columns(name: str, cell: Cell | None) -> dict[str, Any]:
    """What a line says of one cell."""
    if cell is None:
        return {f"{name}_state": "missing"}
    state, stderr, low, high, n = _names(name)
    found = {name: cell.score, state: cell.state, n: cell.n, stderr: 0.0 if cell.alike else cell.stderr}
    if cell.interval:
        found[low], found[high] = cell.interval
    return found


@cache
def _names(name: str) -> tuple[str, ...]:
    return tuple(f"{name}_{part}" for part in CELL)


def key_columns(key: RowKey) -> dict[str, Any]:
    """What a line says of its row."""
    return {name: getattr(key, name) for name in _KEY}


def _lines(part: Part) -> list[dict[str, Any]]:
    head = {
        "source": "published" if part.suite is None else "measured",
        "size": part.size,
        "suite": part.suite,
    }
    lines = []
    for group in part.groups:
        lines += [{**head, **_line(part, row)} for row in group.rows]
        if group.delta:
            first = group.rows[0].key
            of_group = {"architecture": first.architecture, "patches": first.patches, "strategy": "delta"}
            lines.append({**head, **of_group, **group.delta})
    return lines


def _line(part: Part, row: Row) -> dict[str, Any]:
    facts: dict[str, Any] = {"tflops": row.tflops}
    if row.hours:
        facts |= {"device_hours": row.hours[0], "device_label": row.hours[1]}
    line = key_columns(row.key) | run_columns(row.run) | facts
    for name in part.table.benchmarks:
        line |= cell_columns(name, row.cells[name])
    line |= cell_columns("avg", row.average)
    if row.missing and part.suite is not None and can_be_filled(part):
        line["command"] = fill_row(part, row).command
    return line


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return format(value, PLACES)
    return _text(value) if isinstance(value, str) else value


@lru_cache(maxsize=2**16)  # a large table has few different texts
def _text(value: str) -> str:
    text = visible(value)  # a line break alone would end the row for some programs
    formula = text.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(text)
    return f"'{text}" if formula else text
