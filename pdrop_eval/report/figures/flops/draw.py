"""Draws Figure 4 with matplotlib, imported when called: the same bytes for the same records."""

from typing import TYPE_CHECKING, Any

from pdrop_eval.report.figures import captions
from pdrop_eval.report.figures.chart import Point
from pdrop_eval.report.figures.flops.chart import FlopsChart
from pdrop_eval.report.figures.panels import STAR, Look, curve, limits, one_each, reference
from pdrop_eval.report.figures.style import drawing, looks, saved
from pdrop_eval.report.tables.notes import values
from pdrop_eval.strategies.registry import VANILLA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 1.85  # inches
_SCALE = {"TFLOPs": 1.0, "GFLOPs": 1e3}


def draw(chart: FlopsChart) -> dict[str, bytes]:
    """The figure by suffix: "svg", "pdf" and "png"."""
    with drawing():
        return saved(figure_of(chart))


def figure_of(chart: FlopsChart) -> "Figure":
    """The figure, to be made and saved in the style of `drawing`."""
    seen = looks(chart.strategies, chart.infos)
    entries: list[tuple[str, Look]] = [(chart.strategy_name(VANILLA), STAR)] if chart.vanilla else []
    entries += [(chart.strategy_name(name), look) for name, look in seen.items()]
    title = f"{chart.title}: score against {chart.unit}"
    figure, panels = one_each(chart.benchmarks, _PANEL, title, entries, footer(chart))
    for axes, key in zip(panels, chart.benchmarks, strict=True):
        _panel(axes, chart, key, seen)
    return figure


def footer(chart: FlopsChart) -> str:
    """What made the figure: questions, intervals, what FLOPs are, weights and code."""
    said = [
        f"{captions.asked(chart)}. Bars and band: 95% intervals (bootstrap); bars at one cost are drawn "
        "side by side.",
        captions.missing(chart),
        f"{chart.unit}: {values(chart.runs, 'efficiency', 'convention')}.",
        captions.made(chart),
    ]
    return " ".join(words for words in said if words)


def _panel(axes: Any, chart: FlopsChart, key: str, seen: dict[str, dict[str, Any]]) -> None:
    """One benchmark."""
    scale, cells = _SCALE[chart.unit], []
    whole = chart.vanilla.tflops(key) if chart.vanilla else None
    if chart.vanilla and whole is not None:
        cells.append(chart.vanilla.cell(key))
        reference(axes, cells[0], scale * whole)
    for place, (name, look) in enumerate(seen.items()):
        points = sorted(_drawn(chart.strategies[name], key), key=lambda point: point.tflops(key) or 0)
        own = [point.cell(key) for point in points]
        costs = [scale * (point.tflops(key) or 0) for point in points]
        curve(axes, costs, own, look, place - (len(seen) - 1) / 2)
        cells += own
    widest = max((cost for point in chart.measured if (cost := point.tflops(key))), default=0.0)
    axes.set_xlim(0, 1.04 * scale * widest if widest else None)
    axes.set_xlabel(f"{chart.unit} of a question's image tokens")
    limits([axes], cells)


def _drawn(points: list[Point], key: str) -> list[Point]:
    return [point for point in points if point.cell(key).score is not None and point.tflops(key) is not None]
