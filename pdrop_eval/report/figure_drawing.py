"""Draws a figure with matplotlib, imported when called: the same bytes for the same records."""

import io
import textwrap
from typing import Any

from pdrop_eval.benchmarks import names
from pdrop_eval.report.figure4 import Chart, Point
from pdrop_eval.report.notes import values
from pdrop_eval.report.rows import strategy_name

# Okabe and Ito's colours, which colour-blind readers can tell apart; shapes and dashes say the same again.
STYLES = {
    "pdrop": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "fastv": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
_OTHERS = (
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": "-"},
)
_REFERENCE = "#404040"
_WIDTH, _PANEL, _HEAD, _FOOT = 8.0, 2.6, 0.95, 0.75  # inches; 8 are 800 pixels of the PNG at half its size
_DPI = 200
_ASIDE = 0.012  # of the largest cost, between strategies: bars at one budget would hide each other
_LEAST_SPAN = 12.0  # points: a narrower axis would make noise look like a finding
_RC = {
    "svg.hashsalt": "pdrop-eval",
    "svg.fonttype": "path",  # the same everywhere, whatever fonts a reader has
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a name with a dollar is no formula
}


def draw(chart: Chart) -> dict[str, bytes]:
    """The figure in two formats, by suffix: "svg" and "png"."""
    from matplotlib import style
    from matplotlib.figure import Figure

    columns = min(2, len(chart.benchmarks))
    rows = -(-len(chart.benchmarks) // columns)
    height = _HEAD + _FOOT + _PANEL * rows
    with style.context(["default", _RC]):
        canvas = Figure(figsize=(_WIDTH, height))
        canvas.subplots_adjust(
            left=0.075, right=0.985, top=1 - _HEAD / height, bottom=(_FOOT + 0.3) / height,
            wspace=0.16, hspace=0.42,
        )  # fmt: skip
        panels = canvas.subplots(rows, columns, squeeze=False).ravel()
        for axes, key in zip(panels, chart.benchmarks, strict=False):
            _panel(axes, chart, key)
        for axes in panels[len(chart.benchmarks) :]:
            axes.set_axis_off()
        _words(canvas, panels[0], chart, height)
        return {
            "svg": _saved(canvas, format="svg", metadata={"Date": None, "Creator": "pdrop-eval"}),
            "png": _saved(canvas, format="png", dpi=_DPI, metadata={"Software": None}),
        }


def styles(chart: Chart) -> dict[str, dict[str, str]]:
    """Colour, marker and dashes of each strategy; those of a user's own take the next that are free."""
    others = iter(_OTHERS * len(chart.strategies))
    return {name: STYLES.get(name) or next(others) for name in chart.strategies}


def _panel(axes: Any, chart: Chart, key: str) -> None:
    """One benchmark."""
    scale = 1e3 if chart.unit == "GFLOPs" else 1.0
    heights: list[float] = []
    if chart.vanilla:
        heights += _reference(axes, chart.vanilla, key, scale)
    looks = styles(chart)
    widest = max((scale * cost for p in chart.measured if (cost := p.tflops(key))), default=0.0)
    for place, (name, look) in enumerate(looks.items()):
        aside = (place - (len(looks) - 1) / 2) * _ASIDE * widest
        points = sorted(_drawn(chart.strategies[name], key), key=lambda point: point.tflops(key) or 0)
        heights += _curve(axes, points, key, scale, aside, {**look, "label": strategy_name(name)})
    axes.set_title(names([key])[key], loc="left", fontsize=10, fontweight="bold")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"{chart.unit} of a question's image tokens", fontsize=8)
    _limits(axes, heights)


def _curve(axes: Any, points: list[Point], key: str, scale: float, aside: float, look: dict) -> list[float]:
    """A strategy's points with their intervals, joined; returns the ends of these."""
    costs = [scale * (point.tflops(key) or 0) + aside for point in points]
    scores = [point.cell(key).score or 0.0 for point in points]
    ends = [point.cell(key).interval or (score, score) for point, score in zip(points, scores, strict=True)]
    below = [score - low for score, (low, _) in zip(scores, ends, strict=True)]
    above = [high - score for score, (_, high) in zip(scores, ends, strict=True)]
    axes.errorbar(
        costs, scores, yerr=[below, above], markersize=5, linewidth=1.4, elinewidth=0.9, capsize=2.2,
        capthick=0.9, markeredgecolor="white", markeredgewidth=0.5, **look,
    )  # fmt: skip
    return [end for pair in ends for end in pair]


def _reference(axes: Any, point: Point, key: str, scale: float) -> list[float]:
    """Vanilla as a line with its interval as a band, and a star at its own cost."""
    cell, cost = point.cell(key), point.tflops(key)
    if cell.score is None or cost is None:
        return []
    low, high = cell.interval or (cell.score, cell.score)
    axes.axhspan(low, high, color=_REFERENCE, alpha=0.12, linewidth=0)
    axes.axhline(cell.score, color=_REFERENCE, linewidth=1)
    look = {"color": _REFERENCE, "linewidth": 1, "markersize": 9, "label": "vanilla", "zorder": 3}
    axes.plot([scale * cost], [cell.score], "-*", **look)
    return [low, high]


def _limits(axes: Any, heights: list[float]) -> None:
    """The scores' range with some air, and no less than `_LEAST_SPAN`."""
    if not heights:
        return
    low, high = min(heights), max(heights)
    middle, half = (low + high) / 2, max((high - low) * 0.54, _LEAST_SPAN / 2)
    axes.set_ylim(middle - half, middle + half)


def _words(canvas: Any, axes: Any, chart: Chart, height: float) -> None:
    """Title, legend and footer."""
    canvas.text(
        0.012, 1 - 0.12 / height, f"{chart.title}: score against {chart.unit}",
        fontsize=12, fontweight="bold", va="top",
    )  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0.004, 1 - 0.32 / height), ncols=len(labels),
        frameon=False, fontsize=9, borderaxespad=0.2, columnspacing=1.6,
    )  # fmt: skip
    lines = "\n".join(textwrap.wrap(footer(chart), 156))
    canvas.text(0.012, 0.08 / height, lines, fontsize=7, color="#505050", va="bottom", linespacing=1.35)


def footer(chart: Chart) -> str:
    """What made the figure: questions, intervals, what FLOPs are, weights and code."""
    runs = chart.runs
    asked = sorted({cell.n for p in chart.measured for k in chart.benchmarks if (cell := p.cell(k)).n})
    many = f"{asked[0]} to {asked[-1]}" if len(asked) > 1 else "".join(map(str, asked))
    rendered = " rendered" if {run.of("suite", "source") for run in runs} == {"rendered"} else ""
    weights = ", ".join(sorted({str(run.checkpoint)[:12] for run in runs if run.checkpoint}))
    missing = f" {len(chart.missing)} of {len(chart.points)} runs are not complete." if chart.missing else ""
    settings = f", {' '.join(chart.settings)}" if chart.settings else ""
    return (
        f"{many}{rendered} questions a benchmark (suite {chart.suite}{settings}). Bars and band: 95% "
        f"intervals (bootstrap); bars at one cost are drawn side by side.{missing} "
        f"{chart.unit}: {values(runs, 'efficiency', 'convention')}. Model "
        f"{chart.model}{f' ({weights})' if weights else ''}; pdrop-eval {code_words(chart)}."
    )


def code_words(chart: Chart) -> str:
    """Version and commits of the code behind it."""
    versions = values(chart.runs, "code", "version") or "of an unknown version"
    commits = {
        f"{run.of('code', 'commit')[:10]}{' with changes' if run.of('code', 'dirty') else ''}"
        for run in chart.runs
        if run.of("code", "commit")
    }
    return versions + (f" at {', '.join(sorted(commits))}" if commits else "")


def _drawn(points: list[Point], key: str) -> list[Point]:
    return [point for point in points if point.cell(key).score is not None and point.tflops(key) is not None]


def _saved(canvas: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    canvas.savefig(stream, **options)
    return stream.getvalue()
