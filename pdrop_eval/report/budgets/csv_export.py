"""Boards as CSV with every digit: a line a row, with its comparisons, then what is printed."""

from collections.abc import Sequence
from typing import Any

from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.layout import venue, verdict
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.published import blocks, models, title, without_dropping
from pdrop_eval.report.paired.effect import Mean
from pdrop_eval.report.tables.cells import MISSING
from pdrop_eval.report.tables.csv_export import CELL, cell_columns, write_csv
from pdrop_eval.report.tables.spec import Table

_HEAD = (
    "source", "size", "suite", "model", "budget_tokens", "budget_share", "strategy", "name", "venue",
    "own_setting", "reason", "run_id", "limit", "tokens", "tokens_per_layer", "tflops", "tflops_share",
)  # fmt: skip
_MEAN = ("percent", "percent_low", "percent_high")
_AGAINST = ("", "_points", "_low", "_high")
_VERSUS = [f"vs_best{part}" for part in _AGAINST]


def sheet(table: Table, boards: Sequence[Board], published: bool = True) -> str:
    """All boards of a table.

    Args:
        table: The table.
        boards: Its boards.
        published: Whether printed rows are lines, too.
    """
    columns = [*_HEAD, *table.benchmarks, *_MEAN]
    columns += _VERSUS if table.form == "field" else []
    columns += [f"vs_{name}{part}" for name in table.controls for part in _AGAINST]
    columns += [f"{key}_{part}" for key in table.benchmarks for part in CELL]
    lines = [
        line for board in boards for line in [*_measured(board), *(_printed(board) if published else [])]
    ]
    return write_csv(columns, lines)


def published_sheet(table: Table) -> str:
    """All that is printed of strategies at budgets: a line a row of a source."""
    keys = table.benchmarks
    columns = ["source", "model", "budget_tokens", "budget_share", "strategy", "name", "venue", *keys]
    lines = []
    for model in models():
        found = [*without_dropping(model, keys), *(row for _, rows in blocks(model, keys) for row in rows)]
        for row in found:
            told: dict[str, Any] = {"source": row.source, "model": title(model), "strategy": row.strategy}
            told |= {"name": row.info.display_name, "venue": venue(row.info) if row.info.paper else None}
            lines.append({**told, "budget_tokens": row.tokens, "budget_share": row.share, **row.scores})
    return write_csv(columns, lines)


def _measured(board: Board) -> list[dict[str, Any]]:
    vanilla = [_line(board, None, board.vanilla)] if board.vanilla else []
    return [*vanilla, *(_line(board, block, row) for block in board.blocks for row in block.rows)]


def _line(board: Board, block: Block | None, row: Row) -> dict[str, Any]:
    whole = board.vanilla.tflops if board.vanilla else None
    line: dict[str, Any] = {
        **_place(board, "measured" if row.run else MISSING, block),
        "strategy": row.info.name,
        "name": row.name,
        "venue": venue(row.info) if row.info.paper else None,
        "own_setting": row.own,
        "reason": row.reason or row.why,
        "run_id": row.run.id if row.run else None,
        "limit": row.run.limit if row.run else None,
        "tokens": row.tokens,
        "tokens_per_layer": " ".join(f"{number:.6g}" for number in row.layers or []),
        "tflops": row.tflops,
        "tflops_share": row.tflops / whole if row.tflops is not None and whole else None,
        "percent": row.percent,
    }
    if row.mean and row.mean.relative_interval:
        line |= dict(zip(_MEAN[1:], row.mean.relative_interval, strict=True))
    if board.table.form == "field" and block is not None and row.run:
        line |= _best(block, row)
    for name in board.table.benchmarks:
        line |= cell_columns(name, row.cells[name])
    for name, mean in row.against.items():
        line |= _against(name, mean)
    return line


def _best(block: Block, row: Row) -> dict[str, Any]:
    """A row against the best of its block: the verdict after Holm's correction, the interval without it."""
    if row.best is None:
        return {"vs_best": "best"} if row is block.best else {}
    verdict_of = {None: None, 1: "above", -1: "below", 0: "~"}[row.verdict]
    return dict(zip(_VERSUS, (verdict_of, row.best.found.value, *row.best.found.interval), strict=True))


def _against(name: str, mean: Mean | None) -> dict[str, Any]:
    if mean is None:
        return {}
    values = (verdict(mean), mean.found.value, *mean.found.interval)
    return dict(zip([f"vs_{name}{part}" for part in _AGAINST], values, strict=True))


def _printed(board: Board) -> list[dict[str, Any]]:
    lines = []
    for block in board.blocks:
        for row in board.printed(block):
            told = {
                "strategy": row.strategy,
                "tokens": row.tokens,
                "percent": row.percent,
                "reason": row.source,
            }
            if board.table.form == "field":
                told |= {"name": row.info.display_name, "budget_share": row.share}
            lines.append({**_place(board, "published", block), **told, **row.scores})
    return lines


def _place(board: Board, source: str, block: Block | None) -> dict[str, Any]:
    return {
        "source": source,
        "size": board.size,
        "suite": board.suite,
        "model": board.model,
        "budget_tokens": block.tokens if block else None,
        "budget_share": block.share if block else None,
    }
