"""The summary that `pdrop-eval-tables` prints: what is measured of each table, in 80 columns."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.records.rows.alike import nearest, told
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.formats.grid import CHANGED, Band, Grid, Line, Note, Section, Shown
from pdrop_eval.report.formats.terminal import terminal
from pdrop_eval.report.tables.cells import shown_score
from pdrop_eval.report.tables.fill import Part, Row, measured_parts
from pdrop_eval.report.tables.missing import experiment_of
from pdrop_eval.report.tables.notes import LISTED
from pdrop_eval.report.tables.others import is_other, others
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.text import numbers

HEADS = ["Model", "Row", "FLOPs", "Avg", "± 95%", "Benchmarks"]
STAR = f"{CHANGED} Not the default settings; the table's file names what differs."


def summary(runs: Sequence[Run], out: Path, width: int) -> str:
    """Returns the averages of all measured rows, what is missing, and where the whole tables are.

    Args:
        runs: all runs.
        out: the folder of the tables' files.
        width: columns of the terminal.
    """
    of_paper = [run for run in runs if not is_other(run)]
    if not of_paper and runs:
        return terminal(_ended(others(runs), [_whole(out)]), width)
    parts = [part for table in TABLES.values() for part in measured_parts(table, of_paper)]
    bands = [_band(part) for part in parts]
    starred = any(row.run and row.run.deviations for part in parts for row in part.rows)
    notes = [Note(STAR)] if starred else []
    notes += _set_apart(parts, out)
    commands = list(filter(None, map(experiment_of, parts)))
    notes += [Note("These commands measure what is missing:", commands)] if commands else []
    notes.append(Note(_overview(runs)))
    title = "Summary of the PyramidDrop paper's tables, as measured"
    first = Section(title, [], [Grid("", HEADS, bands, labels=2)], notes)
    last = Note(
        f"The whole tables, with every score, interval and cost and the paper's numbers, are in {out}. "
        "Print one of them:",
        [f"{script('pdrop-eval-tables')} table=5    (or: make tables ARGS=table=5)"],
    )
    return terminal(_ended([first, *others(runs)], [last]), width)


def _ended(sections: list[Section], notes: list[Note]) -> list[Section]:
    """The sections, the last of them with notes at its end."""
    return [*sections[:-1], replace(sections[-1], notes=[*sections[-1].notes, *notes])]


def _set_apart(parts: Sequence[Part], out: Path) -> list[Note]:
    """Names the runs that were asked more than what is shown: a trial of more rows is in their place."""
    found = {
        run.id: told(run, row.run or nearest(row.key.architecture, part.runs))
        for part in parts
        for row in [*part.rows, *part.left_out]
        for run in row.apart
        if part.runs and _asked(run, part) > _asked(row.run, part)
    }
    if not found:
        return []
    named = ", ".join(f"{name} ({words})" for name, words in [*found.items()][:LISTED])
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return [
        Note(
            f"Not shown, though asked more, as the rows beside were asked or set otherwise: {named}{more}. "
            f"Every run is in {out / 'overview.md'}."
        )
    ]


def _asked(run: Run | None, part: Part) -> int:
    """How many questions of the table's benchmarks a run has answered."""
    results = run.results if run else {}
    return sum(results[name].get("n") or 0 for name in part.table.benchmarks if name in results)


def _whole(out: Path) -> Note:
    return Note(f"With all that was measured beside them: {out / 'overview.md'}, .csv, .tex and .html.")


def _band(part: Part) -> Band:
    """The measured rows of a part, beneath its title and how many of its rows these are."""
    measured = sum(row.run is not None for row in part.rows)
    count = f"{measured} of {len(part.rows)} rows measured" if measured else "nothing measured yet"
    name = f"{part.table.label}: {part.table.title}\n{count} (size {part.size}, suite {part.suite})"
    lines = [
        _line(part, group.name, row, first=index == 0)
        for group in part.groups
        for index, row in enumerate(row for row in group.rows if row.run)
    ]
    return Band(name, lines)


def _line(part: Part, model: str, row: Row, first: bool) -> Line:
    labels = " / ".join(str(getattr(row.key, name)) for name in part.table.labels.values())
    patches = f" p{row.key.patches}" if row.key.patches > 1 else ""
    changed = CHANGED if row.run and row.run.deviations else ""
    unit = numbers.flops_unit([row.tflops])
    scored = sum(cell.score is not None for cell in row.cells.values())
    half = numbers.score(row.average.half_width if row.average else None)
    texts = [
        model if first else "",
        labels + patches + changed,
        f"{numbers.flops(row.tflops, unit)} {unit[0]}",
    ]
    cells = [*map(Shown, texts), shown_score(row.average), Shown(half)]
    return Line([*cells, Shown(f"{scored} of {len(row.cells)}")])


def _overview(runs: Sequence[Run]) -> str:
    whole = sum(run.results.keys() >= benchmarks().keys() for run in runs)
    suites = ", ".join(sorted({run.suite for run in runs}))
    count = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    return f"Overview: {count} on suite {suites}, {whole} with all {len(benchmarks())} benchmarks."
