"""What a README may show: Table 5 in a few columns or as it is, Tables 1 to 4 by their scores, figures."""

from dataclasses import replace
from pathlib import Path

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.formats.grid import CHANGED, Band, Grid, Line, Note, Section, Shown
from pdrop_eval.report.formats.markdown import escaped, markdown, markdown_grid
from pdrop_eval.report.tables.cells import Cell, shown_score
from pdrop_eval.report.tables.fill import Part, Row
from pdrop_eval.report.tables.layout import scores_grid
from pdrop_eval.report.tables.notes import (
    RENDERED,
    codes,
    deviation_notes,
    kind_notes,
    question_notes,
    questions,
)
from pdrop_eval.report.tables.training_part import unfair_notes
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text import numbers

FIRST, WHOLE, COMPACT = "first", "table5", "tables1-4"
STRATEGIES = "strategies"
FIGURES = ("figure1", "figure3", "figure4")
NOTHING = "Nothing measured yet."
# The benchmarks of a first look: two that need little detail of a picture, and two that need its small print.
LOOK = ("gqa", "pope", "textvqa", "docvqa")


def marks(name: str) -> tuple[str, str]:
    """The comments between which a block stands."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def first(parts: list[Part]) -> str:
    """Table 5 for a first look: a line a model and strategy, some scores, the average with its interval."""
    filled = [part for part in map(_measured, parts) if part.groups]
    return "\n\n".join(map(_first, filled)) or NOTHING


def compact(parts: list[Part]) -> str:
    """Several tables in short: scores, and how much of each is missing."""
    return markdown([_short(part) for part in parts])


def has_place(path: Path, name: str) -> bool:
    """Whether a file has a mark of this block."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return any(mark in text for mark in marks(name))


def with_blocks(path: Path, blocks: dict[str, str]) -> str:
    """A Markdown file's text with each block between its marks, where it has them.

    Raises:
        UserError: The file can't be read, has no place for any of them, or half of one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. Name a Markdown file: readme=README.md"
        ) from error
    wanted = [name for name in blocks if has_place(path, name)]
    for name in wanted or list(blocks)[:1]:
        start, end = marks(name)
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            others = "" if wanted else "".join(f" or {other}" for other in list(blocks)[1:])
            raise UserError(
                f"{path} has no place for {name}{others}. Put a line {start} and a line {end} where "
                f"{'it' if wanted else 'the first of them'} shall be."
            )
        text = f"{before}{start}\n{blocks[name].strip()}\n{end}{after}"
    return text


def _measured(part: Part) -> Part:
    """The rows that were measured."""
    filled = [replace(group, rows=[row for row in group.rows if row.run]) for group in part.groups]
    return replace(part, groups=[group for group in filled if group.rows])


# What the README says in the place of a caption's words.
_PLAIN = (
    "rendered by this project in the format of the benchmarks. They are not the questions of the benchmarks, "
    "so do not compare these scores with published ones."
)


def _first(part: Part) -> str:
    """One part: its table, and in a line what it is of."""
    table, runs = part.table, part.runs
    unit = numbers.flops_unit([row.tflops for row in part.rows])
    shown = [name for name in LOOK if name in table.benchmarks]
    heads = ["Strategy", unit, *names(shown).values(), f"{table.average} ± 95%"]
    bands = [Band(group.name, [_first_line(row, unit, shown) for row in group.rows]) for group in part.groups]
    asked = sorted({cell.n for row in part.rows for cell in row.cells.values() if cell.n is not None})
    count = " to ".join(str(number) for number in dict.fromkeys([asked[0], asked[-1]])) if asked else "no"
    asked_of = questions(runs).replace(RENDERED, _PLAIN)
    text = (
        f"{table.label} of the paper ({table.title}), as measured (size {part.size}, suite "
        f"{part.suite}): {count} questions a benchmark, {asked_of} {table.average} is the mean of "
        f"the table's {len(table.benchmarks)} benchmarks (MME / 20), with the half-width of its 95% interval."
        f" {unit} count the image tokens in the prefill. Measured with pdrop-eval {codes(runs)}."
    )
    notes = [*deviation_notes(part), *question_notes(part), *kind_notes(part)]
    said = "\n".join(f"- {escaped(note.text)}" for note in notes)
    return "\n\n".join(filter(None, [markdown_grid(Grid("", heads, bands)), escaped(text), said]))


def _first_line(row: Row, unit: str, shown: list[str]) -> Line:
    changed = CHANGED if row.run and row.run.deviations else ""
    label, cost = Shown(row.key.inferred + changed), Shown(numbers.flops(row.tflops, unit))
    return Line([label, cost, *(shown_score(row.cells[name]) for name in shown), _with_interval(row.average)])


def _with_interval(cell: Cell | None) -> Shown:
    shown = shown_score(cell)
    if cell is None or cell.half_width is None:
        return shown
    return replace(shown, text=f"{shown.text} ± {numbers.score(cell.half_width)}")


def _short(part: Part) -> Section:
    """The rows that were measured, and the names of the others."""
    shown = _measured(part)
    grids = [scores_grid(shown, whole=False)] if shown.groups else []
    missing: dict[str, list[str]] = {}
    for row in part.rows:
        if row.run is None and not row.apart:
            missing.setdefault(row.key.model, []).append(row.key.inferred)
    listed = "; ".join(f"{model}: {', '.join(found)}" for model, found in missing.items())
    notes = [*deviation_notes(part), *unfair_notes(part), *question_notes(part), *kind_notes(part)]
    notes += [Note(f"Not measured yet: {listed}.")] if missing else []
    more = "The commands for it, intervals" if missing else "Intervals"
    notes.append(Note(f"{more}, costs and the published numbers: `results/tables/{part.table.name}.md`."))
    title = f"{part.table.label}, measured: size {part.size}, suite {part.suite}"
    return Section(title, [f"{part.table.heading}."], grids, notes)
