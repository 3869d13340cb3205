"""Which reports there are: each paper table and the overview, in every format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pdrop_eval.records.rows.left_out import LeftOut
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.budgets.board.blocks import Board, boards
from pdrop_eval.report.budgets.published import BENEATH, NONE, ONLY
from pdrop_eval.report.formats.grid import Section
from pdrop_eval.report.formats.html import page
from pdrop_eval.report.formats.latex import latex
from pdrop_eval.report.formats.markdown import markdown
from pdrop_eval.report.readme.blocks import COMPACT, FIRST, NOTHING, STRATEGIES, WHOLE, compact, first
from pdrop_eval.report.tables.csv_export import sheet
from pdrop_eval.report.tables.fill import measured_parts, published_part
from pdrop_eval.report.tables.layout import measured_section, published_section
from pdrop_eval.report.tables.overview import TITLE, overview, overview_sheet
from pdrop_eval.report.tables.spec import TABLES, Table, find_table, shipped
from pdrop_eval.strategies.registry import catalogue
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import presets


@dataclass
class Report:
    """One report: its sections, what makes its CSV, and what a README shows of it, if it may."""

    name: str
    title: str
    sections: list[Section]
    sheet: Callable[[], str]
    first: str = ""

    def files(self) -> dict[str, str]:
        """Name and content of its files."""
        return {
            f"{self.name}.md": markdown(self.sections),
            f"{self.name}.csv": self.sheet(),
            f"{self.name}.tex": latex(self.sections),
            f"{self.name}.html": page(self.title, self.sections),
        }


def make_reports(
    runs: list[Run],
    which: str,
    left: Sequence[LeftOut] = (),
    bench: Path | None = None,
    published: str = BENEATH,
) -> list[Report]:
    """The reports that are asked for: a table's number, overview, or all of them.

    Args:
        runs: What was run.
        which: The reports.
        left: What couldn't be run.
        bench: The folder of pdrop-eval-bench's records.
        published: Where printed numbers stand: "beneath" the measured ones, alone ("only"), or nowhere
            ("none").
    """
    tables = list(shipped().values()) if which == "all" else []
    tables += [] if which in ("all", "overview") else [find_table(which)]
    reports = [report for table in tables if (report := table_report(table, runs, left, bench, published))]
    if tables and not reports and published == ONLY:
        raise UserError(
            f"table={which} has no published numbers; published={BENEATH} shows what was measured."
        )
    if tables and not reports:
        raise UserError(f"No run is a row of table={which}: {_wanted(tables[0])} table=overview has all.")
    if which in ("overview", "all") and published != ONLY:
        reports.append(Report("overview", TITLE, overview(runs), lambda: overview_sheet(runs)))
    return reports


def of_own_records() -> set[str]:
    """The tables whose experiment keeps its records in a folder of its own: a README's have no others."""
    found = presets("experiment").values()
    return {
        experiment["table"] for experiment in found if "table" in experiment and experiment.get("results")
    }


def table_report(
    table: Table,
    runs: list[Run],
    left: Sequence[LeftOut] = (),
    bench: Path | None = None,
    published: str = BENEATH,
) -> Report | None:
    """A table: a section for each measured size and suite, then the published one; None where both lack."""
    title = f"{table.label}: {table.title}"
    if table.in_blocks:
        return _in_blocks(
            table, title, [] if published == ONLY else boards(table, runs, left), bench, published
        )
    measured = [] if published == ONLY else measured_parts(table, runs)
    printed = [published_part(table)] if table.published and published != NONE else []
    if not measured and not printed:
        return None
    sections = [*map(measured_section, measured), *map(published_section, printed)]
    return Report(table.name, title, sections, lambda: sheet([*measured, *printed]))


def _in_blocks(
    table: Table, title: str, found: list[Board], bench: Path | None, published: str
) -> Report | None:
    """A table of strategies at budgets; None with nothing to show."""
    if not found and (published != ONLY or table.layout == "frontier"):
        return None
    from pdrop_eval.report.budgets.report import budgets, published_only  # numpy is imported for nothing else

    blocks = budgets(table, found, bench, published) if found else published_only(table)
    return Report(table.name, title, blocks.sections, lambda: blocks.sheet, blocks.first)


def readme_blocks(runs: list[Run], reports: Sequence[Report] = ()) -> dict[str, str]:
    """What a README may show: Table 5 at a first look and as it is in its file, Tables 1 to 4 in short.

    A table by budgets has a block of its own; where it alone was made, the others stay as they are.

    Args:
        runs: What was run.
        reports: Those that were made of them.
    """
    own = {report.name: report.first for report in reports if report.first}
    if own and len(reports) == len(own):
        return own
    made = {report.name: report for report in reports}
    whole = made.get(TABLES[5].name) or table_report(TABLES[5], runs)
    return {
        FIRST: first(measured_parts(TABLES[5], runs)),
        WHOLE: markdown(whole.sections) if whole else NOTHING,
        COMPACT: short_tables(runs),
        STRATEGIES: catalogue("pdrop_eval/strategies"),
        **own,
    }


def _wanted(table: Table) -> str:
    """What kind of runs a table has rows for."""
    if table.layout == "frontier":
        return "it has those whose FLOPs are recorded, of models trained without dropping."
    if table.in_blocks:
        return "it has those at a budget (budget.tokens=64), as experiment=shelf runs them."
    return "`rows` in its YAML asks for others."


def figures_text(runs: list[Run], figures: Path, folder: Path) -> dict[str, tuple[str, str]]:
    """What a page in `folder` shows of the figures of these runs that are drawn in `figures`.

    By experiment: a heading and the text; of figures with the default settings alone. numpy is imported for
    nothing else.
    """
    from pdrop_eval.report.figures.chart import figure_experiments
    from pdrop_eval.report.figures.registry import all_charts, block, kind_of

    found = {}
    for name in figure_experiments():
        charts = [c for c in all_charts(runs, [name]) if not c.changes]
        drawn = [chart for chart in charts if (figures / f"{chart.name}.svg").is_file()]
        if drawn:
            found[name] = kind_of(name).heading, block(drawn, figures, folder)
    return found


def short_tables(runs: list[Run]) -> str:
    """Tables 1 to 4 with what was measured of them, as Markdown."""
    return compact([part for number in range(1, 5) for part in measured_parts(TABLES[number], runs)])
