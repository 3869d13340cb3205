"""The report as an HTML page that needs nothing else; each cell shows on a hover where its number is from."""

from html import escape

from pdrop_eval.report.formats.grid import Band, Grid, Section, Shown

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
figure { margin: 1rem 0; } figcaption { padding-bottom: .4rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .2rem .6rem; text-align: right; font-weight: normal; }
th.label, td.text { text-align: left; }
thead th { border-top: 2px solid; border-bottom: 1px solid; font-weight: 600; vertical-align: bottom; }
tbody { border-bottom: 1px solid; } tbody:last-child { border-bottom: 2px solid; }
tr.apart > * { border-top: 1px dotted; }
th.band { text-align: left; font-weight: 600; }
td[title] { cursor: help; }
td.missing { opacity: .5; } td.partial { font-style: italic; }
td.needs-judge { font-style: italic; opacity: .7; }
pre { margin: .3rem 0; padding: .5rem .8rem; overflow-x: auto; background: #8881; border-radius: 4px; }
"""


def page(title: str, sections: list[Section]) -> str:
    """The whole document. All text is escaped; styles are inside, and nothing is fetched."""
    body = "\n".join(_section(section) for section in sections)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    parts = ["<section>", f"<h2>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(text)}</p>" for text in section.text]
    parts += [_grid(grid) for grid in section.grids]
    if section.notes:
        notes = []
        for note in section.notes:
            commands = escape("\n".join(note.commands))
            block = f"<pre>{commands}</pre>" if commands else ""
            notes.append(f"<li>{escape(note.text)}{block}</li>")
        parts.append("<ul>\n" + "\n".join(notes) + "\n</ul>")
    return "\n".join([*parts, "</section>"])


def _grid(grid: Grid) -> str:
    heads = [
        f'<th scope="col"{_label(index < grid.labels or (grid.left and index == len(grid.heads) - 1))}>'
        f"{escape(head)}</th>"
        for index, head in enumerate(grid.heads)
    ]
    bodies = "\n".join(_band(grid, band) for band in grid.bands)
    return (
        f'<figure>\n<figcaption>{escape(grid.title)}</figcaption>\n<div class="scroll"><table>\n'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n{bodies}\n</table></div>\n</figure>"
    )


def _band(grid: Grid, band: Band) -> str:
    rows = []
    if band.name:
        rows.append(
            f'<tr><th class="band" scope="rowgroup" colspan="{len(grid.heads)}">{escape(band.name)}</th></tr>'
        )
    for line in band.lines:
        labels = "".join(
            f'<th scope="row" class="label">{escape(c.text)}</th>' for c in line.cells[: grid.labels]
        )
        cells = [
            _cell(cell, text=grid.left and index == len(grid.heads) - 1)
            for index, cell in enumerate(line.cells)
            if index >= grid.labels
        ]
        apart = ' class="apart"' if line.apart else ""
        rows.append(f"<tr{apart}>{labels}{''.join(cells)}</tr>")
    return "<tbody>\n" + "\n".join(rows) + "\n</tbody>"


def _cell(cell: Shown, text: bool) -> str:
    kinds = " ".join(kind for kind in (cell.state.replace(" ", "-"), "text" if text else "") if kind)
    of_class = f' class="{kinds}"' if kinds else ""
    title = f' title="{escape(cell.hint)}"' if cell.hint else ""
    return f"<td{of_class}{title}>{escape(cell.text)}</td>"


def _label(label: bool) -> str:
    return ' class="label"' if label else ""
