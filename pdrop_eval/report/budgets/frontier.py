"""The front of accuracy and FLOPs: of each benchmark, and of their mean, what no other run beats at its cost.

A row is on the front if no other scores as much or more with fewer FLOPs, or more with as many. Scores are as
measured: neighbours on a front may differ by chance alone, and the field's table says whether they do.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.budgets.board.blocks import Board
from pdrop_eval.report.budgets.board.layout import interval, title, unit_of, venue
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.board.words import asked, reasons
from pdrop_eval.report.formats.grid import Band, Grid, Line, Note, Section, Shown
from pdrop_eval.report.tables.cells import shown_score
from pdrop_eval.report.tables.csv_export import write_csv
from pdrop_eval.report.tables.notes import questions, settings, values
from pdrop_eval.utils.text import numbers

MEAN = "mean"
_DIGITS = 9  # to which FLOPs are the same


@dataclass(frozen=True)
class Point:
    """A row on a front.

    Attributes:
        budget: What it was run at: image tokens a layer, "own setting", or nothing for vanilla.
        score: Of a benchmark, or the mean in percent of vanilla's.
    """

    row: Row
    budget: str
    tflops: float
    score: float


def fronts(board: Board) -> dict[str, list[Point]]:
    """Return the front of each benchmark and of "mean", by FLOPs; empty where no row has both numbers."""
    found = {key: _front(_points(board, key)) for key in [*board.table.benchmarks, MEAN]}
    return {key: points for key, points in found.items() if points}


def frontier_section(board: Board) -> Section:
    """The fronts of a model, a band each."""
    unit, found = unit_of(board), fronts(board)
    shown = names(board.table.benchmarks)
    heads = ["Strategy", "Budget", "Venue", unit, "FLOPs %", "Score", "95% interval"]
    whole = board.vanilla.tflops if board.vanilla else None
    bands = [
        Band(_named(key, shown), [_line(key, point, unit, whole) for point in points])
        for key, points in sorted(found.items(), key=lambda item: item[0] != MEAN)
    ]
    text = [
        f"{board.table.heading}: a row is on the front of a benchmark if no other scores as much with fewer "
        "FLOPs, or more with as many. Scores as measured: neighbours may differ by chance alone. "
        f"Settings: {settings(board.runs)}",
        f"Questions: {asked(board)}, {questions(board.runs)}",
        f"{unit}: {values(board.runs, 'efficiency', 'convention') or 'convention not recorded'}.",
    ]
    rows = [row for row in [board.vanilla, *board.rows] if row and row.run]
    never = [
        row for row in rows if not any(point.row is row for points in found.values() for point in points)
    ]
    notes = [Note(_counted(found, rows))]
    if never:
        notes.append(Note(f"On no front: {'; '.join(sorted(_whole_name(board, row) for row in never))}."))
    notes += [Note(text) for text in reasons(board)]
    return Section(title(board), text, [Grid("Fronts", heads, bands, across=True)], notes)


def frontier_sheet(boards: Iterable[Board]) -> str:
    """All fronts as CSV: a line a point, with every digit."""
    columns = [
        "size", "suite", "model", "benchmark", "strategy", "name", "budget", "tflops", "score", "low", "high",
        "run_id",
    ]  # fmt: skip
    lines: list[dict[str, Any]] = []
    for board in boards:
        for key, points in fronts(board).items():
            for point in points:
                low, high = _ends(key, point.row) or (None, None)
                lines.append(
                    {
                        "size": board.size, "suite": board.suite, "model": board.model, "benchmark": key,
                        "strategy": point.row.info.name, "name": point.row.name, "budget": point.budget,
                        "tflops": point.tflops, "score": point.score, "low": low, "high": high,
                        "run_id": point.row.run.id if point.row.run else None,
                    }
                )  # fmt: skip
    return write_csv(columns, lines)


def _points(board: Board, key: str) -> list[Point]:
    """Every row that has FLOPs and the score."""
    placed = [(board.vanilla, "all tokens")] if board.vanilla else []
    placed += [
        (row, "own setting" if row.own else f"{block.tokens:.6g}")
        for block in board.blocks
        for row in block.rows
    ]
    points = []
    for row, budget in placed:
        if row is None or row.tflops is None:
            continue
        score = row.percent if key == MEAN else row.cells[key].score
        if score is not None:
            points.append(Point(row, budget, row.tflops, score))
    return points


def _front(points: Iterable[Point]) -> list[Point]:
    """Those that no other beats, by FLOPs."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda one: (round(one.tflops, _DIGITS), -one.score)):
        if not kept or point.score > kept[-1].score or _tie(point, kept[-1]):
            kept.append(point)
    return kept


def _tie(one: Point, other: Point) -> bool:
    """Whether two are at one place."""
    return one.score == other.score and round(one.tflops, _DIGITS) == round(other.tflops, _DIGITS)


def _line(key: str, point: Point, unit: str, whole: float | None) -> Line:
    row = point.row
    if key == MEAN:
        score, spread = Shown(numbers.score(row.percent)), interval(row.mean)
    else:
        score, ends = shown_score(row.cells[key]), _ends(key, row)
        spread = f"[{numbers.score(ends[0])}, {numbers.score(ends[1])}]" if ends else numbers.NONE
    share = numbers.score(100 * point.tflops / whole if whole else None)
    texts = [row.name, point.budget, venue(row.info), numbers.flops(point.tflops, unit), share]
    return Line([*map(Shown, texts), score, Shown(spread)])


def _ends(key: str, row: Row) -> tuple[float, float] | None:
    """The interval of a score: its own, or of the mean that of the paired difference from vanilla."""
    if key == MEAN:
        return row.mean.relative_interval if row.mean else None
    return row.cells[key].interval


def _named(key: str, shown: dict[str, str]) -> str:
    return f"Mean of {len(shown)} benchmarks, % of vanilla" if key == MEAN else shown[key]


def _whole_name(board: Board, row: Row) -> str:
    block = next((block for block in board.blocks if row in block.rows), None)
    if block is None or row.own:
        return row.name
    return f"{row.name} at {block.tokens:.6g}"


def _counted(found: dict[str, list[Point]], rows: list[Row]) -> str:
    """How often each strategy is on a front, the most first."""
    counts: dict[str, int] = {}
    for points in found.values():
        for name in {point.row.name for point in points}:
            counts[name] = counts.get(name, 0) + 1
    told = [f"{name} {count}" for name, count in sorted(counts.items(), key=lambda one: (-one[1], one[0]))]
    return f"Fronts on which a strategy is, of {len(found)} ({len(rows)} rows): {', '.join(told)}."
