"""What a README shows of boards: a row a strategy, a column a budget, and what they show in words."""

from collections.abc import Sequence

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.layout import ABOVE, OWN, interval, row_name, venue, verdict
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.board.words import asked, budget, shows
from pdrop_eval.report.formats.grid import Band, Grid, Line, Shown, plain
from pdrop_eval.report.formats.markdown import escaped, markdown_grid
from pdrop_eval.report.tables.notes import RENDERED, codes, questions
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.text import numbers

# What the README says in the place of a caption's words.
_BEST = "•"
_OWN_SETTING = f" {OWN} takes no budget and stands at its own setting, with its measured tokens."
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
    return " ".join(
        filter(None, [numbers.score(row.percent), interval(row.mean), f"{marks}{_at(row)}".strip()])
    )


def _at(row: Row) -> str:
    """The tokens of a row that stands at its own setting: ` at 125.9`."""
    return f" at {numbers.exact(round(row.tokens, 1))}" if row.own and row.tokens is not None else ""


def _explained(board: Board) -> str:
    marks = ", ".join(
        f"{_initial(name)}: above {display_name(name)} at this budget beyond the paired interval"
        for name in board.table.controls
    )
    asked_of = questions(board.runs).replace(RENDERED, _PLAIN)
    own = _OWN_SETTING if _own(board) else ""
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


def first_field(boards: Sequence[Board]) -> str:
    """The boards of all models as one table: a row a strategy, a column a budget as a share of all tokens."""
    known = [board for board in boards if board.vanilla]
    heads = dict.fromkeys(_share(block) for board in known for block in board.blocks)
    ordered = sorted(heads, key=lambda share: -share)
    if not ordered:
        return ""
    bands = [Band(_title(board, known), _field_lines(board, ordered)) for board in known]
    columns = [f"{100 * share:.3g}% of tokens" for share in ordered]
    grid = Grid("", ["Strategy", *columns], bands)
    return "\n\n".join([markdown_grid(grid), _explained_field(known, ordered)])


def _share(block: Block) -> float:
    """The share of a block, to the tenth of a percent; of one whose share isn't known, none."""
    return round(block.share or 0.0, 3)


def _title(board: Board, boards: Sequence[Board]) -> str:
    """The model, with the suite where there are several."""
    return board.model + (f", {board.suite}" if len({one.suite for one in boards}) > 1 else "")


def _field_lines(board: Board, shares: Sequence[float]) -> list[Line]:
    named: dict[str, list[str]] = {}
    orders = {}
    for block in board.blocks:
        for row in block.rows:
            name = row_name(row)
            orders[name] = row.info.order
            cells = named.setdefault(name, [numbers.NONE] * len(shares))
            cells[shares.index(_share(block))] = _field_cell(block, row)
    return [plain([name, *named[name]]) for name in sorted(named, key=lambda name: orders[name])]


def _field_cell(block: Block, row: Row) -> str:
    """The mean with its interval, marked where none is better for certain: `98.4 [88.8, 107.1] •`."""
    if row.percent is None:
        return numbers.NONE
    mark = _BEST if row is block.best or row.verdict == 0 else ""
    return " ".join(
        filter(None, [numbers.score(row.percent), interval(row.mean), f"{mark}{_at(row)}".strip()])
    )


def _explained_field(boards: Sequence[Board], shares: Sequence[float]) -> str:
    table, runs = boards[0].table, [run for board in boards for run in board.runs]
    keys = list(dict.fromkeys(key for board in boards for key in board.table.benchmarks))
    known = dict.fromkeys(board.table.notes.get(board.size, "") for board in boards)
    note = " ".join(filter(None, known))
    counts = " / ".join(dict.fromkeys(asked(board) for board in boards))
    costs = ", ".join(filter(None, (_flops(boards, share) for share in shares)))
    own = _OWN_SETTING if any(map(_own, boards)) else ""
    return escaped(
        f"The mean of {', '.join(names(keys).values())} in percent of the same model's without dropping, "
        f"on the same questions, with its paired 95% interval. {_BEST}: the highest mean at the budget, and "
        "those that don't differ from it for certain (Holm's procedure on the intervals, 95% for a model and "
        "budget). A budget is the image tokens that a layer processes in the mean, as a share of all; the "
        f"prefill's FLOPs of these tokens are then {costs} of those without dropping.{own} Questions: "
        f"{counts}, {questions(runs).replace(RENDERED, _PLAIN)} {note} Raw scores, costs and what papers "
        f"print: `results/tables/{table.name}.md`. Measured with pdrop-eval {codes(runs)}."
    )


def _flops(boards: Sequence[Board], share: float) -> str:
    """What rows at a budget cost of vanilla's FLOPs: `46 to 48%`; empty where that isn't known."""
    found = [
        100 * row.tflops / board.vanilla.tflops
        for board in boards
        if board.vanilla and board.vanilla.tflops
        for block in board.blocks
        if _share(block) == share
        for row in block.rows
        if row.tflops is not None and not row.own
    ]
    ends = dict.fromkeys(f"{number:.0f}" for number in (min(found), max(found))) if found else {}
    return f"{' to '.join(ends)}%" if ends else ""
