"""A table by budgets as a report: its sections, its sheet, and what a README shows of it."""

from dataclasses import dataclass

from pdrop_eval.report.budgets.blocks import Board
from pdrop_eval.report.budgets.csv_export import sheet
from pdrop_eval.report.budgets.first import first_boards
from pdrop_eval.report.budgets.layout import measured_section, published_section
from pdrop_eval.report.budgets.paired import Pairing, compare
from pdrop_eval.report.formats.grid import Section
from pdrop_eval.report.tables.spec import Table


@dataclass(frozen=True)
class Budgets:
    """A table by budgets, filled.

    Attributes:
        boards: One for each model and suite.
        sections: The text, the measured boards first.
        sheet: The CSV.
        first: What a README shows of them.
    """

    boards: list[Board]
    sections: list[Section]
    sheet: str
    first: str


def budgets(table: Table, found: list[Board]) -> Budgets:
    """Return a table of boards, which are compared.

    Args:
        table: Of the layout "budgets".
        found: Its boards, one at least.
    """
    pairing = Pairing(table.benchmarks)
    for board in found:
        compare(board, pairing)
    measured = [measured_section(board, pairing) for board in found]
    published = {board.architecture: published_section(board) for board in found}
    sections = [*measured, *(one for part in published.values() for one in part)]
    return Budgets(found, sections, sheet(table, found), first_boards(found, pairing))
