"""The ranks of strategies at each budget: what the site draws of a table by budgets."""

from typing import Any

from pdrop_eval.report.budgets.board.blocks import Board
from pdrop_eval.report.budgets.board.rows import Row


def ranks(board: Board) -> dict[str, Any] | None:
    """Return a series a strategy, a point a budget where it has a mean; None with nothing to rank.

    Ranks count from 1, the best; strategies with equal means share one. What stands at its own setting has
    another cost than its block and no rank.
    """
    series: dict[str, dict[str, Any]] = {}
    for place, block in enumerate(board.blocks):
        rows = [row for row in block.rows if not row.own and row.run and row.percent is not None]
        for row in rows:
            one = series.setdefault(
                row.name, {"name": row.name, "strategy": row.info.name, "order": row.info.order, "points": []}
            )
            one["points"].append({"block": place, **_point(row, rows)})
    if not series:
        return None
    ordered = sorted(series.values(), key=lambda one: (one.pop("order"), one["name"]))
    budgets = [{"tokens": block.tokens, "share": block.share} for block in board.blocks]
    return {"model": board.model, "suite": board.suite, "budgets": budgets, "series": ordered}


def _point(row: Row, rows: list[Row]) -> dict[str, Any]:
    assert row.run is not None
    assert row.percent is not None
    rank = 1 + sum(other.percent > row.percent for other in rows if other.percent is not None)
    low, high = (row.mean and row.mean.relative_interval) or (None, None)
    told = {"percent": row.percent, "low": low, "high": high}
    rounded = {name: None if value is None else round(value, 4) for name, value in told.items()}
    return {"rank": rank, "run": row.run.id, **rounded}
