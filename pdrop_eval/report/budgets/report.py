"""A table by budgets as a report: its sections, its sheet, and what a README shows of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdrop_eval.report.budgets.board.blocks import Board
from pdrop_eval.report.budgets.board.layout import measured_section, published_section
from pdrop_eval.report.budgets.board.paired import Pairing, compare
from pdrop_eval.report.budgets.csv_export import published_sheet, sheet
from pdrop_eval.report.budgets.field import field_section
from pdrop_eval.report.budgets.first import first_boards, first_field
from pdrop_eval.report.budgets.frontier import frontier_section, frontier_sheet
from pdrop_eval.report.budgets.printed_rows import published_sections
from pdrop_eval.report.budgets.published import BENEATH, NONE
from pdrop_eval.report.budgets.ranks import ranks
from pdrop_eval.report.budgets.speed import Prefills
from pdrop_eval.report.formats.grid import Section
from pdrop_eval.report.paired.known import Known
from pdrop_eval.report.paired.many import Questions
from pdrop_eval.report.tables.spec import Table


@dataclass(frozen=True)
class Budgets:
    """A table by budgets, filled.

    Attributes:
        boards: One for each model and suite.
        sections: The text, the measured boards first.
        sheet: The CSV.
        first: What a README shows of them.
        ranks: Of each board whose strategies can be ranked.
    """

    boards: list[Board]
    sections: list[Section]
    sheet: str
    first: str
    ranks: list[dict[str, Any]] = field(default_factory=list)


def budgets(table: Table, found: list[Board], bench: Path | None = None, published: str = BENEATH) -> Budgets:
    """Return a table of boards, which are compared.

    Args:
        table: Of the layout "budgets" or "frontier".
        found: Its boards, one at least.
        bench: The folder of pdrop-eval-bench's records, for prefill times.
        published: Whether printed rows are shown: "beneath" or "none".
    """
    known = Known(_root(found))
    asked: Questions = {}
    pairings = [Pairing(board.table.benchmarks, known, asked) for board in found]
    for board, pairing in zip(found, pairings, strict=True):
        compare(board, pairing)
        known.save()
        if len(found) > 1:  # the memory is another board's now
            pairing.forget()
    if table.layout == "frontier":
        return Budgets(found, [frontier_section(board) for board in found], frontier_sheet(found), "")
    both = list(zip(found, pairings, strict=True))
    if table.form == "field":
        prefills = Prefills(bench)
        sections = [field_section(board, pairing, prefills, published) for board, pairing in both]
        first = first_field(found)
    else:
        sections = [measured_section(board, pairing) for board, pairing in both]
        first = "\n\n".join(first_boards([board], pairing) for board, pairing in both)
        if published != NONE:
            printed = {board.published: published_section(board) for board in found}
            sections += [one for part in printed.values() for one in part]
    known.save()  # with what the words compared
    ranked = [one for board in found if (one := ranks(board))]
    return Budgets(found, sections, sheet(table, found, published != NONE), first, ranked)


def _root(found: list[Board]) -> Path | None:
    """The folder of the records, `<root>/<model>/<run>`; None of runs that aren't on disk."""
    folders = [Path(run.folder) for board in found for run in board.runs[:1]]
    return folders[0].parent.parent if folders and folders[0].is_dir() else None


def published_only(table: Table) -> Budgets:
    """Return all that is printed of strategies at budgets, of every model, without a record."""
    return Budgets([], published_sections(table), published_sheet(table), "")
