"""The report for a terminal, as Markdown and as LaTeX."""

import re
import textwrap
from collections.abc import Callable, Sequence

import pandas as pd
from tabulate import SEPARATING_LINE, tabulate

from pdrop_eval.report.layout import DELTA, LAYERS, RUN, Section

# Column heads of the terminal in two lines: the whole of Table 5 then fits into 80 columns.
_NARROW = {
    "TFLOPs mean": ("TFLOPs", "mean"),
    "SQA-I": ("SQA", "-I"),
    "MMB-CN": ("MMB", "-CN"),
    "TextVQA": ("Text", "VQA"),
    "ChartQA": ("Chart", "QA"),
    "DocVQA": ("Doc", "VQA"),
}
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "Δ": r"$\Delta$",
    "±": r"$\pm$",
    "*": r"$^*$",
    "×": r"$\times$",
}


def terminal(sections: list[Section], width: int) -> str:
    """Plain text; lines of prose are folded at `width`, commands are kept whole on a line of their own."""

    def fold(text: str, indent: str = "") -> str:
        prose, run, command = text.partition(RUN)
        folded = textwrap.fill(
            prose, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        return folded + (f"\n{indent}  {command}" if run else "")

    parts = []
    for section in sections:
        parts += ["=" * min(width, 80), section.title, *(fold(text) for text in section.text)]
        for title, frame in section.tables:
            parts += ["", fold(title), _narrow_grid(frame)]
        parts += ["", *(fold(note, "  ") for note in section.notes)] if section.notes else []
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def markdown(sections: list[Section]) -> str:
    """GitHub's Markdown, with headings of the third level so that it can stand in a README."""
    parts = []
    for section in sections:
        parts += [f"### {section.title}", *(_markdown(text) for text in section.text)]
        for title, frame in section.tables:
            safe = frame.map(_markdown).rename(columns=_markdown)
            parts += [
                f"**{_markdown(title)}**" if len(title) < 40 else _markdown(title),
                _grid(safe.to_numpy().tolist(), list(safe.columns), "github", list(safe.columns)),
            ]
        if section.notes:
            parts.append("\n".join(f"- {_markdown_note(note)}" for note in section.notes))
    return "\n\n".join(parts) + "\n"


def latex(sections: list[Section]) -> str:
    """Floats with booktabs (`\\usepackage{booktabs}`); what is no caption is left as comments."""
    parts = ["% Needs \\usepackage{booktabs}."]
    for section in sections:
        parts += [f"% {line}" for line in (section.title, *section.notes)]
        for index, (title, frame) in enumerate(section.tables):
            caption = _latex(
                f"{section.title}. {title.rstrip('.')}." + (_joined(section.text) if index == 0 else "")
            )
            safe = frame.map(_latex).rename(columns=_latex)
            style = "l" + "r" * (len(frame.columns) - 1)
            parts.append(
                safe.to_latex(index=False, escape=False, column_format=style, caption=caption, position="t")
            )
    return "\n".join(parts).rstrip() + "\n"


def _narrow_grid(frame: pd.DataFrame) -> str:
    """Heads as rows of their own, because tabulate pads what it knows as a head; the delta row set apart."""
    heads = [_NARROW.get(str(column), (str(column), "")) for column in frame.columns]
    rows: list = [list(line) for line in zip(*heads, strict=True) if any(line)]
    rows.append(SEPARATING_LINE)
    for row in frame.to_numpy().tolist():
        rows += [SEPARATING_LINE, row] if row[0] == DELTA else [row]
    return _grid(rows, list(frame.columns), "simple")


def _grid(rows: list[list[str]], columns: list[str], style: str, heads: Sequence[str] = ()) -> str:
    last = "left" if columns[-1] == LAYERS else "right"
    align = ["left", *["right"] * (len(columns) - 2), last]
    return tabulate(rows, headers=heads, tablefmt=style, colalign=align, disable_numparse=True)


def _joined(text: list[str]) -> str:
    return "".join(" " + part for part in text)


def _escaper(pattern: str, replace: Callable[[re.Match], str]) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replace, text)


_markdown = _escaper(r"[*_|<>]", lambda match: "\\" + match[0])
_latex = _escaper("[" + re.escape("".join(_LATEX)) + "]", lambda match: _LATEX[match[0]])


def _markdown_note(note: str) -> str:
    prose, run, command = note.partition(RUN)
    return _markdown(prose) + (f"{RUN}`{command}`" if run else "")
