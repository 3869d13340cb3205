"""Which benchmarks are columns of a board whose table asks for those that were measured."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pdrop_eval.report.budgets.board.blocks import Board


def narrowed(board: "Board") -> "Board":
    """Return the board with the columns that vanilla and half of the rows have, if its table asks for it."""
    if not board.table.measured_columns:
        return board
    rows = [row for row in board.rows if row.run]
    counts = {name: sum(row.cells[name].score is not None for row in rows) for name in board.table.columns}
    whole = board.vanilla.cells if board.vanilla else None
    most = max(counts.values(), default=0)
    kept = [
        name
        for name, count in counts.items()
        if 2 * count >= len(rows) and count and (whole is None or whole[name].score is not None)
    ] or [name for name, count in counts.items() if count == most]
    board.table = board.table.model_copy(update={"columns": tuple(kept)})
    board.lacking = {name: count for name, count in counts.items() if count and name not in kept}
    for row in filter(None, [board.vanilla, *board.rows]):
        row.cells = {name: row.cells[name] for name in kept}
    return board
