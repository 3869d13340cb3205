"""A board as sections: its scores in blocks with their cost, and what is printed of its strategies."""

import re
from string import ascii_uppercase

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.benchmarks.scoring.difference import METHOD
from pdrop_eval.report.budgets.board.blocks import Board
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.board.words import asked, budget, reasons, shows, undropped
from pdrop_eval.report.budgets.published import Printed, sources_of
from pdrop_eval.report.budgets.published import title as model_title
from pdrop_eval.report.formats.grid import (
    LAYERS,
    NOT_COMPARABLE,
    Band,
    Grid,
    Line,
    Note,
    Section,
    Shown,
    plain,
)
from pdrop_eval.report.paired.effect import Mean
from pdrop_eval.report.tables.cells import PUBLISHED, shown_score
from pdrop_eval.report.tables.notes import questions, settings, values
from pdrop_eval.strategies.registry import StrategyInfo, display_name
from pdrop_eval.utils.text import numbers

OWN = "°"  # of a strategy at its own setting
ABOVE, BELOW, OPEN = "above", "below", "~"
TOTAL = f"{NOT_COMPARABLE} MME's total, with its cognition part; the table's own is the perception part."
_MEAN, _INTERVAL, _SHARE = "Mean %", "95% interval", "FLOPs %"


def measured_section(board: Board, pairing: Pairing) -> Section:
    """What was measured, in words, as a table, and with what has to be known of it."""
    table = board.table
    text = [
        f"{table.heading}. Scores on the benchmarks' own scales; {_MEAN} is the mean over the benchmarks of "
        "the score in percent of vanilla's, with the 95% interval of the paired difference. "
        f"{_controls(board)}Settings: {settings(board.runs)}",
        f"Questions: {asked(board)}, {questions(board.runs)}",
        f"{unit_of(board)}: {values(board.runs, 'efficiency', 'convention') or 'convention not recorded'}.",
    ]
    return Section(title(board), text, [scores_grid(board), layers_grid(board)], notes(board, pairing))


def published_section(board: Board) -> list[Section]:
    """What papers print of the strategies at the budgets of the board; nothing where they print none."""
    rows = {block.tokens: board.printed(block) for block in board.blocks}
    if not any(rows.values()):
        return []
    model = model_title(board.published or "")
    heads = ["Strategy", *names(board.table.benchmarks).values(), _MEAN, "Source"]
    sources = sources_of(one for found in rows.values() for one in found)
    letters = dict(zip(sources, ascii_uppercase, strict=False))
    bands = [
        Band(
            found[0].budget,
            [_printed_line(one, board.table.benchmarks, letters[one.source]) for one in found],
        )
        for found in rows.values()
        if found
    ]
    text = (
        f"Printed numbers of {model} at the budgets of {board.table.label}, not measured here. Most are "
        "copies of other papers' numbers, and each method counts its tokens in its own way. "
        f"{_MEAN}: of vanilla's scores in the same source, or where it has none, in another one; empty where "
        "a benchmark lacks."
    )
    said = [Note(f"Sources: {'; '.join(f'{letter}: {source}' for source, letter in letters.items())}.")]
    if any(one.total for found in rows.values() for one in found):
        said.append(Note(TOTAL))
    grid = Grid("Published", heads, bands, left=True, across=True)
    return [Section(f"{board.table.label}, published: {model}", [text], [grid], said)]


def title(board: Board) -> str:
    """The head of a board."""
    return f"{board.table.label}, measured: {board.model}, suite {board.suite}"


def scores_grid(board: Board) -> Grid:
    """Blocks by budget: scores, the mean, the comparisons with the controls, and the cost."""
    table, unit = board.table, unit_of(board)
    heads = ["Strategy", "Venue", *names(table.benchmarks).values(), _MEAN, _INTERVAL]
    heads += [*(f"vs {display_name(name)}" for name in table.controls), unit, _SHARE, "Tokens"]
    bands = []
    if board.vanilla:
        bands.append(Band(undropped(board), [_line(board, board.vanilla, unit)]))
    for block in board.blocks:
        bands.append(Band(budget(block), [_line(board, row, unit) for row in block.rows]))
    return Grid("Scores", heads, bands, across=True)


def layers_grid(board: Board) -> Grid:
    """The image tokens that each layer processed, as they were measured."""
    bands = []
    for block in board.blocks:
        rows = [row for row in block.rows if row.run]
        if rows:
            lines = [plain([row_name(row), numbers.run_lengths(_rounded(row))]) for row in rows]
            bands.append(Band(budget(block), lines))
    named = "The image tokens that the layers processed, measured: the mean over all questions."
    return Grid(named, ["Strategy", LAYERS], bands, left=True, across=True)


def notes(board: Board, pairing: Pairing) -> list[Note]:
    """What the table shows, and what has to be known beside it."""
    found = [Note(text) for text in shows(board, pairing)]
    found += [Note(board.table.notes[board.size])] if board.size in board.table.notes else []
    if any(row.own for row in board.rows):
        found.append(
            Note(
                f"{OWN} takes no budget: it stands at its own setting, in the block nearest to its measured "
                "tokens; it is compared with others at another cost."
            )
        )
    found += [Note(text) for text in reasons(board)]
    if board.apart:
        found.append(Note(f"Not shown, of another kind than the rows: {', '.join(board.apart)}."))
    return [*found, Note(METHOD)]


def unit_of(board: Board) -> str:
    """The unit of FLOPs."""
    rows = [board.vanilla, *board.rows] if board.vanilla else board.rows
    return numbers.flops_unit([row.tflops for row in rows])


def interval(mean: Mean | None) -> str:
    """The interval of a mean relative to the baseline: `[93.4, 98.1]`."""
    if mean is None or mean.relative_interval is None:
        return numbers.NONE
    low, high = mean.relative_interval
    return f"[{numbers.score(low)}, {numbers.score(high)}]"


def venue(info: StrategyInfo) -> str:
    """Where a strategy is published: `CVPR 2025`, or `arXiv 2024`; a dash for none."""
    parts = [part.strip() for part in info.paper.split(",")]
    named = [part for part in parts[1:] if not part.startswith("arXiv")]
    if not named:
        return numbers.NONE
    return f"arXiv {named[0]}" if re.fullmatch(r"\d{4}", named[0]) else ", ".join(named)


def verdict(mean: Mean | None) -> str:
    """How a strategy stands to a control: above or below it beyond the interval, or neither."""
    if mean is None:
        return numbers.NONE
    return {1: ABOVE, -1: BELOW, 0: OPEN}[mean.found.sign]


def row_name(row: Row) -> str:
    """The strategy, marked where it stands at its own setting."""
    return f"{row.name}{OWN if row.own else ''}"


def _line(board: Board, row: Row, unit: str) -> Line:
    scores = [shown_score(row.cells[name]) for name in board.table.benchmarks]
    mean = Shown(
        numbers.score(row.percent), "" if row.percent is not None else "missing", row.reason or row.why
    )
    against = [_against(row, name) for name in board.table.controls]
    whole = board.vanilla.tflops if board.vanilla else None
    share = 100 * row.tflops / whole if row.tflops is not None and whole else None
    cost = [
        numbers.flops(row.tflops, unit),
        numbers.score(share),
        numbers.NONE if row.tokens is None else numbers.exact(round(row.tokens, 1)),
    ]
    return Line(
        [
            Shown(row_name(row)), Shown(venue(row.info)), *scores, mean, Shown(interval(row.mean)), *against,
            *map(Shown, cost),
        ]
    )  # fmt: skip


def _against(row: Row, control: str) -> Shown:
    mean = row.against.get(control)
    if mean is None:
        return Shown(numbers.NONE)
    low, high = mean.found.interval
    ends = f"{numbers.difference(low)} to {numbers.difference(high)}"
    return Shown(verdict(mean), "", f"{numbers.difference(mean.found.value)} points, 95% interval {ends}")


def _printed_line(row: Printed, keys: tuple[str, ...], source: str) -> Line:
    scores = [
        Shown(
            f"{numbers.score(row.scores.get(key))}{NOT_COMPARABLE if key == 'mme' and row.total else ''}",
            PUBLISHED,
        )
        for key in keys
    ]
    return Line(
        [
            Shown(row.info.display_name),
            *scores,
            Shown(numbers.score(row.percent), PUBLISHED),
            Shown(source),
        ]
    )


def _controls(board: Board) -> str:
    named = [display_name(name) for name in board.table.controls]
    if not named:
        return ""
    return (
        f"vs {' and vs '.join(named)}: whether a strategy's mean over the benchmarks is {ABOVE} or {BELOW} "
        f"that of the control at the same budget beyond the paired 95% interval ({OPEN}: neither). "
    )


def _rounded(row: Row) -> list[float]:
    return [round(number, 1) for number in row.layers or []]
