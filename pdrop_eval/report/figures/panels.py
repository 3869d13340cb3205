"""What all figures are drawn of: panels under a title and a legend, curves with intervals, a footer.

The room for words is measured, so that nothing is cut off or hides something else at the printed size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.report.figures.style import COLUMN, FADED, REFERENCE, SIZE, SMALL, TEXT_WIDTH
from pdrop_eval.report.tables.cells import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = Mapping[str, Any]
STAR: Look = {"color": REFERENCE, "marker": "*", "linestyle": "-", "markersize": 8.0, "linewidth": 0.9}
_HEADING = 9.0
_EDGE, _RIGHT = 0.05, 0.1  # inches, as all lengths here
_LEFT, _WIDER = 0.47, 0.11  # of the axis of scores; more for those in thousands
_TITLE, _BELOW = 0.2, 0.38  # above a panel for its title, beneath it for its ticks and their label
_LEADING = 1.3  # of a line's height to the size of its letters
_LEAST_SPAN = 12.0  # points: a narrower axis would make noise look like a finding
_BESIDE = 1.8  # typographic points between what is measured at the same place


@dataclass(frozen=True)
class Plan:
    """What a figure consists of; lengths in inches.

    Attributes:
        entries: The legend's words, each with its look.
        left: Before the first panel of a row.
        gap: Between the panels of a row.
        below: Beneath a row.
    """

    width: float
    rows: int
    columns: int
    height: float
    title: str
    entries: Sequence[tuple[str, Look]]
    foot: str
    left: float = _LEFT
    gap: float = 0.42
    below: float = _BELOW


def lay_out(plan: Plan) -> tuple["Figure", list[list[Any]]]:
    """The figure and its empty panels, row by row; as high as what is in it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(plan.width, 4.0))
    FigureCanvasAgg(figure)
    room = plan.width - 2 * _EDGE
    title = wrapped(figure, plan.title, room, _HEADING, "bold")
    foot = wrapped(figure, plan.foot, room, SMALL)
    named = len(title) * _HEADING * _LEADING / 72
    rows = -(-len(plan.entries) // _columns(figure, plan.entries, room))
    head = _EDGE + named + rows * SIZE * 1.4 / 72 + 0.03
    under = _EDGE + len(foot) * SMALL * _LEADING / 72 + 0.06
    height = head + plan.rows * (_TITLE + plan.height + plan.below) + under
    figure.set_size_inches(plan.width, height)
    x, (top, bottom) = _EDGE / plan.width, (1 - _EDGE / height, _EDGE / height)
    figure.text(
        x, top, "\n".join(title), fontsize=_HEADING, fontweight="bold", va="top", linespacing=_LEADING
    )
    _legend(figure, plan.entries, room, (x, top - named / height))
    figure.text(x, bottom, "\n".join(foot), fontsize=SMALL, color=FADED, va="bottom", linespacing=_LEADING)
    wide = (plan.width - plan.left - _RIGHT - (plan.columns - 1) * plan.gap) / plan.columns
    figure.subplots_adjust(
        left=plan.left / plan.width, right=1 - _RIGHT / plan.width, top=1 - (head + _TITLE) / height,
        bottom=(under + plan.below) / height, wspace=plan.gap / wide,
        hspace=(_TITLE + plan.below) / plan.height,
    )  # fmt: skip
    return figure, [list(row) for row in figure.subplots(plan.rows, plan.columns, squeeze=False)]


def curve(axes: Any, xs: Sequence[float], cells: Sequence[Cell], look: Look, place: float = 0.0) -> None:
    """Points with their intervals, joined; `place` numbers of them are drawn side by side, around 0."""
    from matplotlib.transforms import offset_copy

    scores = [cell.score or 0.0 for cell in cells]
    ends = [cell.interval or (score, score) for cell, score in zip(cells, scores, strict=True)]
    below = [score - low for score, (low, _) in zip(scores, ends, strict=True)]
    above = [high - score for score, (_, high) in zip(scores, ends, strict=True)]
    beside = offset_copy(axes.transData, axes.figure, x=place * _BESIDE, units="points")
    axes.errorbar(
        xs, scores, yerr=[below, above], transform=beside, elinewidth=0.7, capsize=1.4, capthick=0.7,
        markeredgecolor="white", markeredgewidth=0.4, **look,
    )  # fmt: skip


def reference(axes: Any, cell: Cell, x: float) -> None:
    """What others are measured against: a line with its interval as a band, and a star at its own place."""
    if cell.score is None:
        return
    low, high = cell.interval or (cell.score, cell.score)
    axes.axhspan(low, high, color=REFERENCE, alpha=0.12, linewidth=0)
    axes.axhline(cell.score, color=REFERENCE, linewidth=STAR["linewidth"])
    axes.plot([x], [cell.score], **STAR, zorder=3)


def limits(axes: Sequence[Any], cells: Sequence[Cell]) -> None:
    """The same range of scores for some panels: what is in them with some air, and no less than a span."""
    scored = [cell for cell in cells if cell.score is not None]
    ends = [end for cell in scored for end in (cell.interval or (cell.score, cell.score)) if end is not None]
    if not ends:
        return
    middle, half = (min(ends) + max(ends)) / 2, max((max(ends) - min(ends)) * 0.54, _LEAST_SPAN / 2)
    for each in axes:
        each.set_ylim(middle - half, middle + half)


def one_each(
    keys: Sequence[str], height: float, title: str, entries: Sequence[tuple[str, Look]], foot: str
) -> tuple["Figure", list[Any]]:
    """A figure with a panel a benchmark, in two columns where there are several; labelled scores."""
    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    units = {_unit(key) for key in keys}
    wider = left_for(keys) - _LEFT
    gap = Plan.gap + wider + (0.15 if len(units) > 1 else 0)  # then each panel says its unit
    width = TEXT_WIDTH if columns > 1 else COLUMN
    figure, grid = lay_out(Plan(width, rows, columns, height, title, entries, foot, left_for(keys), gap))
    panels = [axes for row in grid for axes in row]
    for index, (axes, key) in enumerate(zip(panels, keys, strict=False)):
        axes.set_title(benchmark_of(key).name)
        if index % columns == 0 or len(units) > 1:
            axes.set_ylabel(score_label(key))
    for axes in panels[len(keys) :]:
        axes.set_axis_off()
    return figure, panels[: len(keys)]


def left_for(keys: Sequence[str]) -> float:
    """The room before a panel for the axis of these scores."""
    return _LEFT + (_WIDER if any(benchmark_of(key).scale == "sum" for key in keys) else 0)


def score_label(key: str, name: str = "") -> str:
    """A label for an axis of scores, with their unit."""
    return f"{f'{name} score' if name else 'Score'} ({_unit(key)})"


def wrapped(figure: "Figure", text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """The text in lines that are no wider than `room` inches; a word that is wider has a line of its own."""
    from matplotlib.font_manager import FontProperties

    renderer, font = _renderer(figure), FontProperties(size=size, weight=weight)
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        width = renderer.get_text_width_height_descent(longer, font, ismath=False)[0]
        if lines and width <= room * figure.dpi:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _unit(key: str) -> str:
    return "points" if benchmark_of(key).scale == "sum" else "of 100"


def _columns(figure: "Figure", entries: Sequence[tuple[str, Look]], room: float) -> int:
    """The most columns of a legend that fit."""
    for columns in range(len(entries), 1, -1):
        legend = _legend(figure, entries, room, (0, 1), columns)
        width = legend.get_window_extent(_renderer(figure)).width
        legend.remove()
        if width <= room * figure.dpi:
            return columns
    return 1


def _legend(
    figure: "Figure",
    entries: Sequence[tuple[str, Look]],
    room: float,
    corner: tuple[float, float],
    columns: int | None = None,
) -> Any:
    """A legend that is read row by row."""
    from matplotlib.lines import Line2D

    columns = columns or _columns(figure, entries, room)
    ordered = [entry for column in range(columns) for entry in entries[column::columns]]
    white = {"markeredgecolor": "white", "markeredgewidth": 0.4}
    handles = [Line2D([], [], **{**white, **look} if look is not STAR else dict(look)) for _, look in ordered]
    return figure.legend(
        handles, [label for label, _ in ordered], loc="upper left", bbox_to_anchor=corner, ncols=columns,
        borderaxespad=0, borderpad=0.15, columnspacing=1.4, handlelength=2.3, handletextpad=0.5,
        labelspacing=0.35,
    )  # fmt: skip


def _renderer(figure: "Figure") -> Any:
    canvas: Any = figure.canvas
    return canvas.get_renderer()
