"""Published rows as lines: a letter for each source, and a table of them alone."""

from collections.abc import Sequence
from string import ascii_uppercase

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.budgets.board.layout import TOTAL, venue
from pdrop_eval.report.budgets.published import (
    Printed,
    blocks,
    models,
    sources_of,
    title,
    without_dropping,
)
from pdrop_eval.report.formats.grid import NOT_COMPARABLE, Band, Grid, Line, Note, Section, Shown
from pdrop_eval.report.tables.cells import PUBLISHED
from pdrop_eval.report.tables.spec import Table
from pdrop_eval.strategies.registry import StrategyInfo, info_of
from pdrop_eval.utils.text import numbers

MEAN = "Mean %"


def published_sections(table: Table) -> list[Section]:
    """Return all that is printed, a section a model, without a measured row."""
    return [section for model in models() if (section := _section(table, model))]


def letters_of(rows: Sequence[Printed]) -> dict[str, str]:
    """Return a letter for each source: A to Z, then AA, AB ..."""
    every = [*ascii_uppercase, *(one + two for one in ascii_uppercase for two in ascii_uppercase)]
    return dict(zip(sources_of(rows), every, strict=False))


def published_line(row: Printed, keys: Sequence[str], letters: dict[str, str]) -> Line:
    """Return a printed row: name, venue, scores, mean; what isn't printed is empty."""
    marks = {"mme": NOT_COMPARABLE} if row.total else {}
    scores = [
        Shown(
            f"{row.scores[key]:.1f}{marks.get(key, '')}" if key in row.scores else "", PUBLISHED, row.source
        )
        for key in keys
    ]
    name = f"{row.info.display_name} (published {letters[row.source]})"
    percent = "" if row.percent is None else numbers.score(row.percent)
    return Line([Shown(name), Shown(venue(_known(row.info))), *scores, Shown(percent, PUBLISHED, row.source)])


def source_notes(rows: Sequence[Printed], letters: dict[str, str]) -> list[Note]:
    """Return what the letters stand for, and what the marks mean."""
    said = [Note(f"Sources: {'; '.join(f'{letter}: {source}' for source, letter in letters.items())}.")]
    return said + ([Note(TOTAL)] if any(row.total for row in rows) else [])


def _section(table: Table, model: str) -> Section | None:
    """All that is printed of a model; None where it is nothing of the table's benchmarks."""
    keys = [key for key in table.benchmarks if any(key in row.scores for row in _every(model, table.columns))]
    if not keys:
        return None
    every = _every(model, keys)
    letters = letters_of(every)
    whole = without_dropping(model, keys)
    bands = [Band("All image tokens", [published_line(row, keys, letters) for row in whole])] if whole else []
    for _, rows in blocks(model, keys):
        bands.append(Band(rows[0].budget, [published_line(row, keys, letters) for row in rows]))
    heads, mean = ["Strategy", "Venue", *names(keys).values()], ""
    if any(row.percent is not None for row in every):
        heads.append(MEAN)
        mean = (
            f" {MEAN}: of vanilla's scores in the same source, or where it has none, in another one; empty "
            "where a benchmark lacks."
        )
    else:  # no source prints all benchmarks
        for line in (line for band in bands for line in band.lines):
            line.cells.pop()
    text = (
        f"Printed numbers of {title(model)}; nothing here is measured. Most are copies of other papers' "
        "numbers, and each method counts its tokens in its own way. A number that no source prints stays "
        f"empty.{mean}"
    )
    grid = Grid("Published", heads, bands, across=True)
    return Section(f"{table.label}, published: {title(model)}", [text], [grid], source_notes(every, letters))


def _every(model: str, keys: Sequence[str]) -> list[Printed]:
    return [*without_dropping(model, keys), *(row for _, rows in blocks(model, keys) for row in rows)]


def _known(info: StrategyInfo) -> StrategyInfo:
    """What is known of where a strategy is published: FastV's paper also for FastV at another setting."""
    return info if info.paper else info_of(info.name.partition("_k")[0])
