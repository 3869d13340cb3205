"""The console script `pdrop-eval-tables`: records to tables on the screen and on disk."""

import gc
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.run.config.compose import check_settings
from pdrop_eval.run.config.typed import typed_config
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import cli
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.records.rows.run import Run
    from pdrop_eval.report.readme.reports import Report

ALL, OVERVIEW = "all", "overview"


@console_script
def main() -> None:
    """Prints tables and writes them."""
    cli.run(_job, "tables", _check_arguments)


@dataclass(frozen=True)
class Settings:
    """What `pdrop-eval-tables` is asked for; `conf/tables.yaml` says what each setting is."""

    table: str
    root: str
    out: str
    readme: str | None
    page: str | None
    published: str
    bench: str | None


def _job(composed: Any) -> None:
    config = typed_config(Settings, composed)
    _check_table(config.table)
    _check_published(config)
    readme, page, bench = (
        Path(name) if name else None for name in (config.readme, config.page, config.bench)
    )
    gc.disable()  # it would walk thousands of records again and again, and find nothing
    try:
        text = make_tables(
            Path(config.root), Path(config.out), config.table, readme, page, config.published, bench
        )
    finally:
        gc.enable()
    print(text, end="")


def make_tables(
    root: Path,
    out: Path,
    which: str = ALL,
    readme: Path | None = None,
    page: Path | None = None,
    published: str = "beneath",
    bench: Path | None = None,
) -> str:
    """Writes the tables of the records beneath `root` to `out`, and returns a text for the terminal.

    Args:
        root: the folder of the records.
        out: the folder of the tables' files.
        which: a table's number, name, or YAML, or `overview`, whose text is the whole table; or `all`, for
            a summary.
        readme: a file that gets the tables between its marks; of all, those of `of_own_records` are not
            in it, nor written: each is made by its name. Where it has marks for figures, these are drawn
            into the folder `figures` beside `out`.
        page: a file that gets all results, with training/findings.md beside it.
        published: where printed numbers stand: "beneath" the measured ones, alone ("only"; then no record is
            read), or nowhere ("none").
        bench: the folder of pdrop-eval-bench's records, for prefill times; None: `bench` beside `root`.

    Raises:
        UserError: there is nothing to show, a record can't be read, two records contradict each other, or
            the files can't be written.
    """
    from pdrop_eval.records.rows.left_out import read_left_out
    from pdrop_eval.records.rows.run import to_runs
    from pdrop_eval.records.store import load_records
    from pdrop_eval.report.readme.blocks import COMPACT, FIGURES, has_place, with_blocks
    from pdrop_eval.report.readme.reports import make_reports, of_own_records, readme_blocks, short_tables
    from pdrop_eval.report.tables.commands import command
    from pdrop_eval.utils.files import write_atomically, writing_to
    from pdrop_eval.utils.presets import DEFAULT_MODEL

    alone = published == "only"
    runs = [] if alone else to_runs(load_records(root))
    if not runs and not alone:
        raise UserError(
            f"No benchmark is finished in {root}. Run first: {command('pdrop', DEFAULT_MODEL, 'mini')} "
            "(or name the folder of your records: root=DIR)."
        )
    bench = bench or Path(os.path.abspath(root)).parent / "bench"
    reports = make_reports(runs, which, [] if alone else read_left_out(root), bench, published)
    if readme is not None and which == ALL:
        apart = of_own_records()
        reports = [report for report in reports if report.name not in apart]
    files = {out / name: text for report in reports for name, text in report.files().items()}
    if which == ALL and not alone:
        files[out / f"{COMPACT}.md"] = short_tables(runs)
    if readme is not None:
        blocks = readme_blocks(runs, reports)
        if any(has_place(readme, name) for name in FIGURES):
            blocks |= _figures(runs, root, out.parent / "figures", readme.parent)
        files[readme] = with_blocks(readme, blocks)
    if page is not None:
        files |= _pages(runs, page, out, {report.name for report in reports})
    for path, text in files.items():
        with writing_to(path.parent):
            write_atomically(path, text)
    named = [path for path in files if which != ALL or path.parent != out]
    return f"{_shown(reports, runs, out, which)}{_written(named)}"


def _figures(runs: list["Run"], root: Path, figures: Path, folder: Path) -> dict[str, str]:
    """Draws the figures; returns the blocks that show them."""
    from pdrop_eval.report.figures.cli import NothingToDrawError, make_figures
    from pdrop_eval.report.readme.blocks import FIGURES, NOTHING
    from pdrop_eval.report.readme.reports import figures_text

    with suppress(NothingToDrawError):
        make_figures(root, figures)
    drawn = figures_text(runs, figures, folder)
    return {name: drawn.get(name, ("", NOTHING))[1] for name in FIGURES}


def _pages(runs: list["Run"], page: Path, out: Path, written: set[str]) -> dict[Path, str]:
    """The page of results and the findings that it links to. Their numpy is imported for nothing else."""
    from pdrop_eval.report.findings.page import findings_page
    from pdrop_eval.report.findings.questions import find
    from pdrop_eval.report.readme.results import results_page

    found = find(runs)
    findings = page.parent / "training" / "findings.md"
    return {findings: findings_page(found), page: results_page(runs, found, page.parent, out, written)}


def _shown(reports: list["Report"], runs: list["Run"], out: Path, which: str) -> str:
    """What the terminal gets: a summary of all tables, or the one that `which` names, whole."""
    from pdrop_eval.report.formats.terminal import terminal
    from pdrop_eval.report.tables.summary import summary

    width = shutil.get_terminal_size().columns
    if which == ALL and runs:
        return summary(runs, out, width)
    return "\n".join(terminal(report.sections, width) for report in reports)


def _written(paths: list[Path]) -> str:
    """The names of files, those that differ only in their suffix on one line."""
    if not paths:
        return ""
    names: dict[Path, list[str]] = {}
    for path in paths:
        names.setdefault(path.with_suffix(""), []).append(path.suffix.lstrip("."))
    lines = [
        f"  {stem}.{{{','.join(kinds)}}}" if len(kinds) > 1 else f"  {stem}.{kinds[0]}"
        for stem, kinds in names.items()
    ]
    return "\n".join(["", "Written:", *lines]) + "\n"


def _check_arguments(arguments: Sequence[str], entry: str) -> list[str]:
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "table":
            _check_table(value)
    return check_settings(arguments, entry)


def _check_published(config: Settings) -> None:
    from pdrop_eval.report.budgets.published import ONLY, PLACES

    check_choice("published", config.published, PLACES)
    if config.published == ONLY and (config.readme or config.page):
        raise UserError(
            "published=only shows no record, so it writes neither readme= nor page=. Leave them out."
        )


def _check_table(which: str) -> None:
    from pdrop_eval.report.tables.spec import find_table

    if which not in (ALL, OVERVIEW):
        find_table(which)


if __name__ == "__main__":
    main()
