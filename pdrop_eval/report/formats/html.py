"""The report as an HTML page that needs nothing else; each cell shows on a hover where its number is from."""

from collections.abc import Iterator
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.report.formats.grid import Band, Grid, Line, Section, Shown
from pdrop_eval.utils.text.escape import fill

if TYPE_CHECKING:
    from markupsafe import Markup

TEMPLATE = Path(__file__).with_name("report.html.jinja")


def page(title: str, sections: list[Section]) -> str:
    """The whole document. All text is escaped; styles are inside, and nothing is fetched."""
    return fill(TEMPLATE, title=title, sections=sections, body=body)


def body(grid: Grid) -> "Markup":
    """The rows of a table; a template would take ten times as long for a large one."""
    from markupsafe import Markup

    return Markup("".join(text for band in grid.bands for text in _band(grid, band)))


def _band(grid: Grid, band: Band) -> Iterator[str]:
    yield "<tbody>\n"
    if band.name:
        span = len(grid.heads)
        yield f'<tr><th class="band" scope="rowgroup" colspan="{span}">{escape(band.name)}</th></tr>\n'
    for line in band.lines:
        yield from _line(grid, line)
    yield "</tbody>\n"


def _line(grid: Grid, line: Line) -> Iterator[str]:
    yield '<tr class="apart">' if line.apart else "<tr>"
    last = len(grid.heads) - 1 if grid.left else -1
    for place, shown in enumerate(line.cells):
        if place < grid.labels:
            yield f'<th scope="row" class="label">{_escaped(shown.text)}</th>'
        else:
            yield _cell(shown, place == last)
    yield "</tr>\n"


@lru_cache(maxsize=2**16)  # a large table has few different cells
def _cell(shown: Shown, is_text: bool) -> str:
    kinds = [*([shown.kind] if shown.state else []), *(["text"] if is_text else [])]
    kind = f' class="{escape(" ".join(kinds))}"' if kinds else ""
    hint = f' title="{escape(shown.hint)}"' if shown.hint else ""
    return f"<td{kind}{hint}>{escape(shown.text)}</td>"


_escaped = lru_cache(maxsize=2**16)(escape)
