"""What a README shows: Table 5 as it is, Tables 1 to 4 with their scores and footnotes only, and Figure 4."""

from dataclasses import replace
from pathlib import Path

from pdrop_eval.errors import UserError
from pdrop_eval.report.commands import Note
from pdrop_eval.report.grid import Section
from pdrop_eval.report.layout import scores_grid
from pdrop_eval.report.markdown import markdown
from pdrop_eval.report.notes import deviation_notes, question_notes
from pdrop_eval.report.tables import Part
from pdrop_eval.report.training_part import unfair_notes

WHOLE, COMPACT, FIGURE = "table5", "tables1-4", "figure4"
NOTHING = "Nothing measured yet."


def marks(name: str) -> tuple[str, str]:
    """The comments between which a block stands."""
    return f"<!-- {name} -->", f"<!-- /{name} -->"


def compact(parts: list[Part]) -> str:
    """Several tables in short: scores, and how much of each is missing."""
    return markdown([_short(part) for part in parts])


def has_place(path: Path, name: str) -> bool:
    """Whether a file has the marks of a block that it may do without."""
    return path.is_file() and marks(name)[0] in path.read_text(encoding="utf-8")


def with_blocks(path: Path, blocks: dict[str, str]) -> str:
    """A Markdown file's text with each block between its marks. Raises UserError if they are not there."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror}. Name a Markdown file: readme=README.md"
        ) from error
    for name, block in blocks.items():
        start, end = marks(name)
        before, found, rest = text.partition(start)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise UserError(
                f"{path} has no place for {name}. Put a line {start} and a line {end} where they shall be."
            )
        text = f"{before}{start}\n{block.strip()}\n{end}{after}"
    return text


def _short(part: Part) -> Section:
    """The rows that were measured, and the names of the others."""
    filled = [replace(group, rows=[row for row in group.rows if row.run]) for group in part.groups]
    shown = replace(part, groups=[group for group in filled if group.rows])
    grids = [scores_grid(shown, whole=False)] if shown.groups else []
    missing: dict[str, list[str]] = {}
    for row in part.rows:
        if row.run is None:
            missing.setdefault(row.key.model, []).append(row.key.inferred)
    listed = "; ".join(f"{model}: {', '.join(found)}" for model, found in missing.items())
    notes = [*deviation_notes(part), *unfair_notes(part), *question_notes(part)]
    notes += [Note(f"Not measured yet: {listed}.")] if missing else []
    more = "The commands for it, intervals" if missing else "Intervals"
    notes.append(Note(f"{more}, costs and the published numbers: `results/tables/{part.table.name}.md`."))
    title = f"Table {part.table.number}, measured: size {part.size}, suite {part.suite}"
    return Section(title, [f"{part.table.heading}."], grids, notes)
