"""The report as GitHub's Markdown, with headings of the third level so that it can stand in a README."""

import re
from functools import lru_cache

from pdrop_eval.report.formats.grid import Grid, Section
from pdrop_eval.report.formats.pipes import pipes
from pdrop_eval.utils.text.escape import visible

MODEL = "Model"


def markdown(sections: list[Section]) -> str:
    """All sections; the commands of a note stand in code blocks."""
    parts = []
    for section in sections:
        parts += [f"### {escaped(section.title)}", *map(escaped, section.text)]
        for grid in section.grids:
            title = escaped(grid.title)
            parts += [f"**{title}**" if len(title) < 40 else title, markdown_grid(grid)]
        if section.notes:
            parts.append("\n".join(_note(note.text, note.commands) for note in section.notes))
    return "\n\n".join(parts) + "\n"


def markdown_grid(grid: Grid) -> str:
    """One table; the names of several bands become a first column."""
    named = any(band.name for band in grid.bands) and not grid.across
    heads = ([MODEL] if named else []) + grid.heads
    rows = []
    for band in grid.bands:
        if grid.across and band.name:
            rows.append([f"**{escaped(band.name)}**", *[""] * (len(heads) - 1)])
        for index, line in enumerate(band.lines):
            name = [band.name if index == 0 else ""] if named else []
            rows.append([escaped(text) for text in [*name, *(cell.text for cell in line.cells)]])
    labels = grid.labels + named
    right = set(range(labels, len(heads) - grid.left))
    return pipes([escaped(head) for head in heads], rows, right)


@lru_cache(maxsize=2**16)  # a large table has few different cells
def escaped(text: str) -> str:
    """Text whose special characters are shown as they are."""
    plain = text if text.isprintable() else visible(text)
    return re.sub(r"[\\*_|<>]|\](?=[(\[:])|&(?=#?\w+;)", lambda match: "\\" + match[0], plain)


def _note(text: str, commands: list[str]) -> str:
    lines = [f"- {escaped(text)}"]
    if commands:
        lines += ["", "  ```sh", *(f"  {command}" for command in commands), "  ```", ""]
    return "\n".join(lines)
