"""The report as plain text for a terminal: a table that is too wide is cut into several, stacked."""

import re
import textwrap

from pdrop_eval.report.formats.grid import Grid, Section
from pdrop_eval.utils.terminal.output import printable
from pdrop_eval.utils.text.escape import visible

MIN_WIDTH = 40
_VARIABLE = re.compile(r" (?=[A-Z_]+=)")  # of make, before which a command may be continued
# Heads in two lines: most tables then fit into 80 columns as they are.
_NARROW = {
    "Train & Infer": ("Train &", "Infer"),
    "GPU hours": ("GPU", "hours"),
    **{f"Training {unit}": ("Train", unit) for unit in ("TFLOPs", "PFLOPs", "EFLOPs", "ZFLOPs")},
    "CPU hours": ("CPU", "hours"),
    "CPU hours or GPU hours": ("CPU/GPU", "hours"),
    "#patches": ("#pat-", "ches"),
    "TFLOPs mean": ("TFLOPs", "mean"),
    "GFLOPs mean": ("GFLOPs", "mean"),
    "Tokens mean": ("Tokens", "mean"),
    "Tokens max": ("Tokens", "max"),
    "SQA-I": ("SQA", "-I"),
    "MMB-CN": ("MMB", "-CN"),
    "SEED-I": ("SEED", "-I"),
    "MMStar": ("MM", "Star"),
    "MM-Vet": ("MM", "-Vet"),
    "TextVQA": ("Text", "VQA"),
    "ChartQA": ("Chart", "QA"),
    "DocVQA": ("Doc", "VQA"),
    "InfoVQA": ("Info", "VQA"),
    "OCRVQA": ("OCR", "VQA"),
    "VQAv2": ("VQA", "v2"),
    "VizWiz": ("Viz", "Wiz"),
    "Average": ("Aver-", "age"),
    "95% interval": ("95%", "interval"),
    "Mean %": ("Mean", "%"),
    "FLOPs %": ("FLOPs", "%"),
}


def terminal(sections: list[Section], width: int) -> str:
    """The whole report; prose is folded at `width`, commands are kept whole so that they can be copied."""
    width = max(width, MIN_WIDTH)
    parts = []
    for section in sections:
        parts += ["=" * min(width, 80), section.title, *(fold(text, width) for text in section.text)]
        for grid in section.grids:
            parts += ["", fold(grid.title, width), _grid(grid, width)]
        parts.append("")
        for note in section.notes:
            parts += [fold(note.text, width, "  "), *(_command(text, width) for text in note.commands)]
        parts.append("")
    return "\n".join(map(visible, "\n".join(parts).rstrip().split("\n"))) + "\n"


def fold(text: str, width: int, indent: str = "") -> str:
    """Prose in lines of at most this width, but for longer words; all but the first are indented."""
    return textwrap.fill(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _grid(grid: Grid, width: int) -> str:
    heads = [_narrow(printable(head)) for head in grid.heads]  # before what is as wide as they are
    rows = [[printable(cell.text) for cell in line.cells] for band in grid.bands for line in band.lines]
    widths = [max(map(len, column)) for column in zip(*zip(*heads, strict=True), *rows, strict=True)]
    pieces = _pieces(widths, grid.labels, width)
    return "\n\n".join(_piece(grid, heads, widths, piece, width) for piece in pieces)


def _pieces(widths: list[int], labels: int, width: int) -> list[list[int]]:
    """The columns of each piece: all if they fit, else as few pieces as possible, each with the labels."""
    columns = list(range(labels, len(widths)))
    for count in range(1, len(columns) + 1):
        size = -(-len(columns) // count)
        pieces = [columns[start : start + size] for start in range(0, len(columns), size)]
        if all(_total([*range(labels), *piece], widths, 1) <= width for piece in pieces):
            return [[*range(labels), *piece] for piece in pieces]
    return [[*range(labels), column] for column in columns]


def _piece(
    grid: Grid, heads: list[tuple[str, str]], widths: list[int], columns: list[int], width: int
) -> str:
    gap = "  " if _total(columns, widths, 2) <= width else " "
    left = {*range(grid.labels), len(widths) - 1 if grid.left else -1}

    def line(texts: list[str]) -> str:
        cells = [texts[c].ljust(widths[c]) if c in left else texts[c].rjust(widths[c]) for c in columns]
        return gap.join(cells).rstrip()

    rule = "-" * _total(columns, widths, len(gap))
    lines = [line([head[row] for head in heads]) for row in range(2)]
    lines = [text for text in lines if text] + [rule]
    for index, band in enumerate(grid.bands):
        if index:
            lines.append(rule)
        if band.name:
            lines.append(band.name)
        for row in band.lines:
            lines += [rule] if row.apart and len(band.lines) > 1 else []
            lines.append(line([printable(cell.text) for cell in row.cells]))
    return "\n".join(lines)


def _total(columns: list[int], widths: list[int], gap: int) -> int:
    return sum(widths[column] for column in columns) + gap * (len(columns) - 1)


def _narrow(head: str) -> tuple[str, str]:
    plain = head.rstrip("†‡")
    versus = ("vs", plain[3:]) if plain.startswith("vs ") else (plain, "")
    first, second = _NARROW.get(plain, versus)
    mark = head[len(plain) :]
    return (first, second + mark) if second else (first + mark, second)


def _command(text: str, width: int) -> str:
    """A command on a line of its own, continued before its variables if it is too long."""
    if len(f"    {text}") <= width:
        return f"    {text}"
    first, *variables = _VARIABLE.split(text)
    lines = [f"    {first}"]
    for variable in variables:
        if len(f"{lines[-1]} {variable} \\") <= width:
            lines[-1] += f" {variable}"
        else:
            lines.append(f"        {variable}")
    return " \\\n".join(lines)
