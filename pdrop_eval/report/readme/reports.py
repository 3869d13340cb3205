"""Which reports there are: each paper table and the overview, in every format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pdrop_eval.records.run import Run
from pdrop_eval.report.formats.grid import Section
from pdrop_eval.report.formats.html import page
from pdrop_eval.report.formats.latex import latex
from pdrop_eval.report.formats.markdown import markdown
from pdrop_eval.report.readme.blocks import COMPACT, FIRST, STRATEGIES, WHOLE, compact, first
from pdrop_eval.report.tables.csv_export import sheet
from pdrop_eval.report.tables.fill import measured_parts, published_part
from pdrop_eval.report.tables.layout import measured_section, published_section
from pdrop_eval.report.tables.overview import TITLE, overview, overview_sheet
from pdrop_eval.report.tables.spec import TABLES, Table, find_table, shipped
from pdrop_eval.strategies.registry import catalogue
from pdrop_eval.utils.errors import UserError


@dataclass
class Report:
    """One report: its sections, and what makes its CSV."""

    name: str
    title: str
    sections: list[Section]
    sheet: Callable[[], str]

    def files(self) -> dict[str, str]:
        """Name and content of its files."""
        return {
            f"{self.name}.md": markdown(self.sections),
            f"{self.name}.csv": self.sheet(),
            f"{self.name}.tex": latex(self.sections),
            f"{self.name}.html": page(self.title, self.sections),
        }


def make_reports(runs: list[Run], which: str) -> list[Report]:
    """The reports that are asked for: a table's number, overview, or all of them."""
    tables = list(shipped().values()) if which == "all" else []
    tables += [] if which in ("all", "overview") else [find_table(which)]
    filled = [table for table in tables if table.published or measured_parts(table, runs)]
    if tables and not filled:
        raise UserError(
            f"No run is a row of table={which}: `rows` in its YAML asks for others. table=overview has all."
        )
    reports = [table_report(table, runs) for table in filled]
    if which in ("overview", "all"):
        reports.append(Report("overview", TITLE, overview(runs), lambda: overview_sheet(runs)))
    return reports


def table_report(table: Table, runs: list[Run]) -> Report:
    """A table: a section for each measured size and suite, then the published one."""
    measured = measured_parts(table, runs)
    published = [published_part(table)] if table.published else []
    sections = [*map(measured_section, measured), *map(published_section, published)]
    title = f"{table.label}: {table.title}"
    return Report(table.name, title, sections, lambda: sheet([*measured, *published]))


def readme_blocks(runs: list[Run]) -> dict[str, str]:
    """What a README may show: Table 5 at a first look and as it is in its file, Tables 1 to 4 in short."""
    return {
        FIRST: first(measured_parts(TABLES[5], runs)),
        WHOLE: markdown(table_report(TABLES[5], runs).sections),
        COMPACT: short_tables(runs),
        STRATEGIES: catalogue("pdrop_eval/strategies"),
    }


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
