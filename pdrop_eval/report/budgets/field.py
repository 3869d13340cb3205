"""The field's table: blocks by budget as papers print them, published rows beneath, and the costs."""

from collections.abc import Sequence

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.benchmarks.scoring.difference import LEVEL, METHOD
from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.layout import (
    ABOVE,
    BELOW,
    OPEN,
    OWN,
    interval,
    row_name,
    title,
    unit_of,
    venue,
)
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.board.words import asked, budget, reasons, shows, undropped
from pdrop_eval.report.budgets.printed_rows import MEAN, letters_of, published_line, source_notes
from pdrop_eval.report.budgets.published import BENEATH, Printed, sources_of, without_dropping
from pdrop_eval.report.budgets.published import title as model_title
from pdrop_eval.report.budgets.speed import Prefills
from pdrop_eval.report.formats.grid import Band, Grid, Line, Note, Section, Shown, plain
from pdrop_eval.report.paired.effect import Mean
from pdrop_eval.report.tables.cells import PUBLISHED, shown_score
from pdrop_eval.report.tables.notes import questions, settings, values
from pdrop_eval.utils.text import numbers

_BEST, _VERSUS = "best", "vs best"
_HOLM = (
    f"{_VERSUS}: {BELOW} or {ABOVE} where the paired difference from the row of the highest {MEAN} at the "
    f"budget, in the mean over the benchmarks in points, is certain at the level of {LEVEL:.0%} for all rows "
    f"of the block together (Holm's procedure on the paired interval); {OPEN}: it isn't."
)


def field_section(board: Board, pairing: Pairing, prefills: Prefills, published: str = BENEATH) -> Section:
    """What was measured of a model, block by block.

    Args:
        board: Compared.
        pairing: What it was compared with.
        prefills: Of pdrop-eval-bench.
        published: Whether printed rows stand beneath the measured ones: "beneath" or "none".
    """
    table, count = board.table, len(board.table.benchmarks)
    text = [
        f"{table.heading}. Scores on the benchmarks' own scales. {MEAN}: the mean over the {count} "
        f"benchmark{'s' * (count > 1)} of the score in percent of vanilla's, with the 95% interval of the "
        f"paired difference. {_HOLM} Settings: {settings(board.runs)}",
        f"Questions: {asked(board)}, {questions(board.runs)}",
    ]
    shown = _Beneath(board) if published == BENEATH else None
    grids = [_scores(board, shown), _costs(board, prefills)]
    return Section(title(board), text, grids, _notes(board, pairing, shown))


def versus(block: Block, row: Row) -> str:
    """How a row stands to the best of its block, in a word; a dash where it wasn't compared."""
    if row is block.best and any(other.verdict is not None for other in block.rows):
        return _BEST
    return numbers.NONE if row.verdict is None else {1: ABOVE, -1: BELOW, 0: OPEN}[row.verdict]


class _Beneath:
    """The published rows of a board: by block, and those without dropping."""

    def __init__(self, board: Board) -> None:
        keys = board.table.benchmarks
        self.model = model_title(board.published) if board.published else ""
        self.blocks = {block.tokens: board.printed(block) for block in board.blocks}
        rows = [row for found in self.blocks.values() for row in found]
        sources = set(sources_of(rows))
        whole = without_dropping(board.published, keys) if board.published else []
        self.whole = [row for row in whole if row.source in sources]
        self.rows = [*self.whole, *rows]
        self.letters = letters_of(self.rows)


def _scores(board: Board, shown: _Beneath | None) -> Grid:
    keys = board.table.benchmarks
    heads = ["Strategy", "Venue", *names(keys).values(), MEAN, "95% interval", _VERSUS]
    bands = []
    if board.vanilla:
        lines = [_measured(board, board.vanilla, "")]
        bands.append(Band(undropped(board), lines))
        if shown:
            lines += _apart(shown.whole, keys, shown.letters)
    for block in board.blocks:
        lines = [_measured(board, row, versus(block, row)) for row in block.rows]
        if shown:
            lines += _apart(shown.blocks[block.tokens], keys, shown.letters)
        bands.append(Band(budget(block), lines))
    return Grid("Scores", heads, bands, across=True)


def _measured(board: Board, row: Row, against: str) -> Line:
    scores = [shown_score(row.cells[name]) for name in board.table.benchmarks]
    state = "" if row.percent is not None else "missing"
    mean = Shown(numbers.score(row.percent), state, row.reason or row.why)
    shown = Shown(against, _BEST if against == _BEST else "", _difference(row.best))
    return Line(
        [Shown(row_name(row)), Shown(venue(row.info)), *scores, mean, Shown(interval(row.mean)), shown]
    )


def _difference(mean: Mean | None) -> str:
    """A difference from the best in words, for formats that can show a hint."""
    if mean is None:
        return ""
    low, high = mean.found.interval
    ends = f"{numbers.difference(low)} to {numbers.difference(high)}"
    return f"{numbers.difference(mean.found.value)} points, uncorrected 95% interval {ends}"


def _apart(rows: Sequence[Printed], keys: Sequence[str], letters: dict[str, str]) -> list[Line]:
    """Published rows beneath measured ones; they have neither intervals nor comparisons."""
    lines = [published_line(row, keys, letters) for row in rows]
    for line in lines:
        line.cells += [Shown("", PUBLISHED), Shown("", PUBLISHED)]
    if lines:
        lines[0].apart = True
    return lines


def _costs(board: Board, prefills: Prefills) -> Grid:
    """FLOPs, the prefill's time, and the cache."""
    unit = unit_of(board)
    whole, cache = board.vanilla and board.vanilla.tflops, _cache(board.vanilla)
    heads = ["Strategy", "Tokens", unit, "FLOPs %", "Prefill ms", "KV cache", "KV %"]
    bands, where = [], set[str]()
    groups = [(undropped(board), [board.vanilla])] if board.vanilla else []
    for name, rows in [*groups, *((budget(block), block.rows) for block in board.blocks)]:
        lines = []
        for row in rows:
            if row is None or row.run is None:
                continue
            prefill, own = prefills.of(row.run), _cache(row)
            where |= {prefill.where} if prefill else set()
            share = 100 * row.tflops / whole if row.tflops is not None and whole else None
            lines.append(
                plain(
                    [
                        row_name(row),
                        numbers.NONE if row.tokens is None else numbers.exact(round(row.tokens, 1)),
                        numbers.flops(row.tflops, unit),
                        numbers.score(share),
                        f"{1e3 * prefill.seconds:.3g}" if prefill else numbers.NONE,
                        numbers.size(own),
                        numbers.score(100 * own / cache if own and cache else None),
                    ]
                )
            )
        if lines:
            bands.append(Band(name, lines))
    times = f"medians of pdrop-eval-bench on {'; '.join(sorted(where))}" if where else (
        "not measured; pdrop-eval-bench with the same model and budget does it"
    )  # fmt: skip
    convention = values(board.runs, "efficiency", "convention") or "convention not recorded"
    named = (
        f"Cost of a question. Tokens: image tokens in the mean over layers, measured. {unit}: {convention}. "
        f"Prefill: {times}. KV cache: of the image tokens, by the schedule."
    )
    return Grid(named, heads, bands, across=True)


def _cache(row: Row | None) -> float | None:
    found = row.run.of("efficiency", "kv_cache_bytes") if row and row.run else None
    return None if found is None else float(found)


def _notes(board: Board, pairing: Pairing, shown: _Beneath | None) -> list[Note]:
    found = [Note(text) for text in shows(board, pairing)]
    found += [Note(board.table.notes[board.size])] if board.size in board.table.notes else []
    if any(row.own for row in board.rows):
        found.append(
            Note(
                f"{OWN} takes no budget: it stands at its own setting, in the block nearest to its measured "
                "tokens, and is not its best; it is compared with others at another cost."
            )
        )
    found += [Note(text) for text in reasons(board)]
    if board.lacking:
        rows = sum(row.run is not None for row in board.rows)
        which = ", ".join(f"{names([key])[key]} ({many})" for key, many in board.lacking.items())
        found.append(Note(f"No column, as vanilla or most of the {rows} rows lack it: {which}."))
    if board.apart:
        found.append(Note(f"Not shown, of another kind than the rows: {', '.join(board.apart)}."))
    if shown and shown.rows:
        found.append(
            Note(
                f"Published rows are of {shown.model}, not measured here and no part of any comparison; most "
                "are copies of other papers' numbers, and each method counts its tokens in its own way. "
                f"Their {MEAN} is of vanilla's scores in the same source, or where it has none, in another."
            )
        )
        found += source_notes(shown.rows, shown.letters)
    return [*found, Note(METHOD)]
