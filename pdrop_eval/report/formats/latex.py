"""The report as LaTeX floats with booktabs; what is no caption is left as comments."""

import re
from functools import lru_cache

from pdrop_eval.report.formats.grid import Band, Grid, Section
from pdrop_eval.report.formats.markdown import MODEL
from pdrop_eval.utils.text.escape import visible

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "$": r"\$",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "Δ": r"$\Delta$",
    "λ": r"$\lambda$",
    "±": r"$\pm$",
    "*": r"$^*$",
    "×": r"$\times$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "°": r"$^\circ$",
}
_PATTERN = re.compile("[" + re.escape("".join(_SPECIAL)) + "]")


def latex(sections: list[Section]) -> str:
    """One float for each grid of each section."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for section in sections:
        parts.append(f"% {visible(section.title)}")
        for note in section.notes:
            parts += [f"% {visible(line)}" for line in [note.text, *note.commands]]
        for index, grid in enumerate(section.grids):
            said = " ".join(section.text) if index == 0 else ""
            parts.append(_float(grid, escaped(f"{section.title}. {grid.title.rstrip('.')}. {said}".strip())))
    return "\n".join(parts) + "\n"


@lru_cache(maxsize=2**16)  # a large table has few different cells
def escaped(text: str) -> str:
    """Text whose special characters are shown as they are."""
    return _PATTERN.sub(lambda match: _SPECIAL[match[0]], visible(text))


def _float(grid: Grid, caption: str) -> str:
    named = any(band.name for band in grid.bands) and not grid.across
    heads = ([MODEL] if named else []) + grid.heads
    style = "l" * (grid.labels + named) + "r" * (len(grid.heads) - grid.labels)
    style = style[:-1] + "l" if grid.left else style
    size = "scriptsize" if grid.across else "small"  # such a grid is wide
    lines = [
        r"\begin{table}[t]",
        rf"\centering\{size}\setlength{{\tabcolsep}}{{3.5pt}}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{{style}}}",
        r"\toprule",
        _row([escaped(head) for head in heads]),
    ]
    for band in grid.bands:
        lines.append(r"\midrule")
        if grid.across and band.name:
            lines.append(rf"\multicolumn{{{len(heads)}}}{{l}}{{\textit{{{escaped(band.name)}}}}} \\")
        lines += _band(band, named)
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _band(band: Band, named: bool) -> list[str]:
    lines = []
    for index, line in enumerate(band.lines):
        if line.apart and index:
            lines.append(r"\addlinespace")
        name = [band.name if index == 0 else ""] if named else []
        lines.append(_row([escaped(text) for text in [*name, *(cell.text for cell in line.cells)]]))
    return lines


def _row(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"
