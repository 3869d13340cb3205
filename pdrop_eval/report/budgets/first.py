"""What a README shows of boards: a row a strategy, a column a budget, and what they show in words."""

from collections.abc import Sequence

from pdrop_eval.report.budgets.blocks import Board
from pdrop_eval.report.budgets.layout import ABOVE, OWN, interval, row_name, venue, verdict
from pdrop_eval.report.budgets.paired import Pairing
from pdrop_eval.report.budgets.rows import Row
from pdrop_eval.report.budgets.words import asked, budget, shows
from pdrop_eval.report.formats.grid import Band, Grid, Line, Shown
from pdrop_eval.report.formats.markdown import escaped, markdown_grid
from pdrop_eval.report.tables.notes import RENDERED, codes, questions
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.text import numbers

# What the README says in the place of a caption's words.
_PLAIN = "rendered by this project: do not compare these scores with published ones."


def first_boards(boards: Sequence[Board], pairing: Pairing) -> str:
    """Each board as a table of means, and what it shows."""
    return "\n\n".join(_first(board, pairing) for board in boards)


def _first(board: Board, pairing: Pairing) -> str:
    heads = ["Strategy", "Published", *(budget(block) for block in board.blocks)]
    named: dict[str, list[Row | None]] = {}
    for place, block in enumerate(board.blocks):
        for row in block.rows:
            named.setdefault(row_name(row), [None] * len(board.blocks))[place] = row
    ordered = sorted(named.items(), key=lambda item: next(row.info.order for row in item[1] if row))
    lines = [_line(name, rows, board) for name, rows in ordered]
    grid = Grid("", heads, [Band("", lines)], labels=2)
    texts = [_explained(board), *(f"- {escaped(text)}" for text in shows(board, pairing))]
    return "\n\n".join([markdown_grid(grid), texts[0], "\n".join(texts[1:])])


def _line(name: str, rows: Sequence[Row | None], board: Board) -> Line:
    info = next(row.info for row in rows if row)
    return Line([Shown(name), Shown(venue(info)), *(Shown(_cell(row, board)) for row in rows)])


def _cell(row: Row | None, board: Board) -> str:
    """The mean with its interval, and the initials of the controls below it: `97.4 [96.5, 98.3] rp`."""
    if row is None or row.percent is None:
        return numbers.NONE
    marks = "".join(
        _initial(name) for name in board.table.controls if verdict(row.against.get(name)) == ABOVE
    )
    tokens = f" at {numbers.exact(round(row.tokens, 1))}" if row.own and row.tokens is not None else ""
    return " ".join(
        filter(None, [numbers.score(row.percent), interval(row.mean), f"{marks}{tokens}".strip()])
    )


def _explained(board: Board) -> str:
    marks = ", ".join(
        f"{_initial(name)}: above {display_name(name)} at this budget beyond the paired interval"
        for name in board.table.controls
    )
    asked_of = questions(board.runs).replace(RENDERED, _PLAIN)
    own = (
        f" {OWN} takes no budget and stands at its own setting, with its measured tokens."
        if _own(board)
        else ""
    )
    note = board.table.notes.get(board.size, "")
    keys, file = board.table.benchmarks, f"results/tables/{board.table.name}.md"
    return escaped(
        f"{board.model}, suite {board.suite}: the mean over {len(keys)} benchmarks of the score in percent "
        f"of vanilla's, with its paired 95% interval ({marks}). Questions: {asked(board)}, {asked_of} A "
        f"budget is the mean of the image tokens that a layer processes.{own} {note} Whole, with scores and "
        f"costs, and why rows are empty: `{file}`. Measured with pdrop-eval {codes(board.runs)}."
    )


def _own(board: Board) -> bool:
    return any(row.own for row in board.rows)


def _initial(control: str) -> str:
    return display_name(control)[0].lower()
