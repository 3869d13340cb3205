"""A figure, laid out and drawn: in the width of a paper's text, the same bytes for the same input.

Everything is measured in inches from the upper left corner; pictures are painted at the pixels of the PNG.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pdrop_eval.report.figures.style import DPI, FADED, SIZE, SMALL, TEXT_WIDTH, drawing, saved
from pdrop_eval.report.show.figure_spec import FigureSpec, Panel, PanelGroup, Row, Scale
from pdrop_eval.report.show.lettering import families, length, wrapped

_GAP, _APART, _EDGE = 0.08, 0.1, 0.03  # inches between groups, between rows, around all
_WIDEST, _TALLEST = 3.2, 7.0  # inches of a group, and of all pictures above each other
_LINE, _SMALL_LINE, _BAR = 0.145, 0.125, 0.07
_TEXT_LINES = 4


if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(spec: FigureSpec) -> dict[str, bytes]:
    """The drawing by suffix: "svg", "pdf" and "png"."""
    with drawing():
        return saved(figure_of(spec))


def figure_of(spec: FigureSpec) -> "Figure":
    """The drawing, to be made within `style.drawing`: its axes are the panels, then the colour bar."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(TEXT_WIDTH, 1))
    canvas = _Canvas(figure)
    _draw(spec, canvas)
    canvas.finish()
    return figure


def _draw(spec: FigureSpec, canvas: "_Canvas") -> None:
    layout = _layout(spec)
    for row in spec.rows:
        _row(row, layout, canvas)
        canvas.down += _APART - _GAP
    if spec.scale:
        _bar(spec.scale, canvas)
    for head, text in spec.texts:
        canvas.paragraph(head, text)
    for note in spec.notes:
        canvas.text(note, SMALL, colour=FADED)


@dataclass(frozen=True)
class _Layout:
    """How groups of panels are placed: columns, the width of one in inches, the factor on a panel."""

    columns: int
    width: float
    beside: bool
    scale: float
    named: bool


def _layout(spec: FigureSpec) -> _Layout:
    """The panels of a group above each other or side by side, whichever makes them larger."""
    most = max(len(row.groups) for row in spec.rows)
    panels = spec.rows[0].groups[0].panels
    columns = next((c for limit, c in ((4, most), (6, 3), (8, 4), (10, 5), (12, 4)) if most <= limit), 5)
    columns = max(columns, 2)
    width = min((TEXT_WIDTH - 2 * _EDGE - _GAP * (columns - 1)) / columns, _WIDEST)
    lines = sum(math.ceil(len(row.groups) / columns) for row in spec.rows)
    aspects = [panel.aspect for panel in panels]
    above = min(1.0, _TALLEST / (lines * width * sum(aspects)))
    narrow = (width - _GAP / 2 * (len(panels) - 1)) / (len(panels) * width)
    side = min(narrow, _TALLEST / (lines * width * max(aspects)))
    named = any(panel.name for panel in panels)
    return _Layout(columns, width, side > above, max(side, above), named)


def _row(row: Row, layout: _Layout, canvas: "_Canvas") -> None:
    if row.heading:
        canvas.text(row.heading, SIZE, bold=True, colour=row.colour)
    for start in range(0, len(row.groups), layout.columns):
        line = row.groups[start : start + layout.columns]
        top = canvas.down
        bottoms = [
            _group(group, layout, canvas, _EDGE + number * (layout.width + _GAP), top, row.colour)
            for number, group in enumerate(line)
        ]
        canvas.down = max(bottoms) + _GAP


def _group(
    group: PanelGroup, layout: _Layout, canvas: "_Canvas", left: float, top: float, colour: str
) -> float:
    """Draws a group; returns where it ends."""
    canvas.at(left, top, group.title, SMALL, bold=True, width=layout.width)
    top += _SMALL_LINE
    for line in group.lines:
        canvas.at(left, top, line, SMALL, width=layout.width)
        top += _SMALL_LINE
    top += 0.02
    wide = layout.width * layout.scale
    ends = []
    for panel in group.panels:
        start = top
        if layout.named:
            canvas.at(left, start, panel.name, SMALL, colour=FADED, width=wide)
            start += _SMALL_LINE
        canvas.panel(panel, left, start, wide, colour)
        ends.append(start + wide * panel.aspect)
        if layout.beside:
            left += wide + _GAP / 2
        else:
            top = ends[-1] + _GAP / 2
    return max(ends)


def _bar(scale: Scale, canvas: "_Canvas") -> None:
    """The colour bar, its colours as they are over a white page, with what it means beneath."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import ListedColormap, LogNorm
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes = canvas.axes(_EDGE + 0.2, canvas.down + 0.03, TEXT_WIDTH / 2, _BAR)
    over_white = scale.of(np.geomspace(scale.low, scale.high, 256)) * scale.strength + 1 - scale.strength
    mappable = ScalarMappable(LogNorm(scale.low, scale.high), ListedColormap(over_white))
    bar = Colorbar(axes, mappable, orientation="horizontal", ticks=LogLocator(subs=(1, 2, 5)))
    bar.ax.xaxis.set_minor_locator(NullLocator())
    bar.ax.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.3g}%"))
    bar.outline.set_linewidth(0.4)
    canvas.down += 0.03 + _BAR + 0.2
    canvas.text(scale.words, SMALL, colour=FADED)
    canvas.down += 0.04


class _Canvas:
    """Puts things on a figure whose height is only known at the end."""

    def __init__(self, figure: Any):
        self.figure = figure
        self.down = _EDGE
        self._axes: list[tuple[Any, tuple[float, float, float, float]]] = []
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []

    def at(
        self, left: float, top: float, text: str, size: float, *, bold: bool = False, colour: str = "black",
        width: float | None = None,
    ) -> None:  # fmt: skip
        """One line of text; cut where it is longer than `width`."""
        if width is not None and length(text, size, "bold" if bold else "normal") > width:
            text = wrapped(text, width * (0.92 if bold else 1), size, 1)[0]
        look = {"size": size, "weight": "bold" if bold else "normal", "color": colour}
        self._texts.append((left, top, text, look))

    def text(self, text: str, size: float, *, bold: bool = False, colour: str = "black") -> None:
        """A paragraph over the whole width, in the flow."""
        for line in wrapped(text, (TEXT_WIDTH - 2 * _EDGE) * (0.92 if bold else 1), size, _TEXT_LINES):
            self.at(_EDGE, self.down, line, size, bold=bold, colour=colour)
            self.down += _LINE if size == SIZE else _SMALL_LINE

    def paragraph(self, head: str, text: str) -> None:
        """A bold head, and the text behind it."""
        start = length(f"{head}: ", SIZE, "bold") + 0.02
        self.at(_EDGE, self.down, f"{head}:", SIZE, bold=True)
        for number, line in enumerate(
            wrapped(text, TEXT_WIDTH - 2 * _EDGE, SIZE, _TEXT_LINES, start) or [""]
        ):
            self.at(_EDGE + (0 if number else start), self.down, line, SIZE)
            self.down += _LINE

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes at a place."""
        axes = self.figure.add_axes((0.0, 0.0, 0.1, 0.1))
        self._axes.append((axes, (left, top, width, height)))
        return axes

    def panel(self, panel: Panel, left: float, top: float, width: float, colour: str) -> None:
        """A panel, painted pixel for pixel."""
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        wide, high = max(1, round(width * DPI)), max(1, round(width * panel.aspect * DPI))
        start, above = round(left * DPI), round(top * DPI)
        axes = self.axes(start / DPI, above / DPI, wide / DPI, high / DPI)
        x0, y0, x1, y1 = panel.box
        axes.imshow(panel.paint(wide, high), extent=(x0, x1, y1, y0), aspect="auto", interpolation="nearest")
        axes.set(xlim=(x0, x1), ylim=(y1, y0), xticks=[], yticks=[])
        axes.grid(False)
        axes.spines[:].set(visible=True, linewidth=0.4, color="#808080")
        if panel.box != (0, 0, *panel.picture):
            frame = Rectangle((0, 0), *panel.picture, fill=False, linewidth=0.4, edgecolor="#808080")
            axes.add_patch(frame)
        if panel.borders:
            axes.add_collection(
                LineCollection(panel.borders, linewidths=0.6, colors=colour, capstyle="projecting")
            )

    def finish(self) -> None:
        """Gives the figure its height, and everything its place."""
        height = math.ceil((self.down + _EDGE) * DPI) / DPI
        self.figure.set_size_inches(TEXT_WIDTH, height)
        for axes, (left, top, wide, high) in self._axes:
            axes.set_position(
                (left / TEXT_WIDTH, 1 - (top + high) / height, wide / TEXT_WIDTH, high / height)
            )
        for left, top, text, look in self._texts:
            self.figure.text(
                left / TEXT_WIDTH, 1 - top / height, text, va="top", ha="left", family=families(), **look
            )
