"""The figures for the page's charts: the points of Figures 1, 3 and 4 as `report` finds them, as numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.report.figures.chart import VANILLA, Chart, Point, figure_experiments
from pdrop_eval.report.figures.flops import chart as figure4
from pdrop_eval.report.figures.layers import chart as figure_layers
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.tables import rounded

FLOPS, RATIO = "flops", "ratio"
_PERCENT = "retained image tokens, %"


def curves(recorded: Sequence[Recorded]) -> list[dict[str, Any]]:
    """All figures of which a point is measured that draws one."""
    keys = {id(one.run): one.key for one in recorded}
    runs = [one.run for one in recorded if one.run.results]
    found = []
    for name, experiment in figure_experiments().items():
        if experiment["figure"] in (figure_layers.FIRST, figure_layers.THIRD):
            found += [_of_layers(chart, keys) for chart in figure_layers.make_charts(name, runs)]
        else:
            found += [_of_flops(chart, keys) for chart in figure4.make_charts(name, runs)]
    return found


def _of_flops(chart: figure4.FlopsChart, keys: Mapping[int, str]) -> dict[str, Any]:
    unit = chart.unit
    scale = 1e3 if unit == "GFLOPs" else 1.0

    def place(point: Point, key: str) -> float | None:
        tflops = point.tflops(key)
        return None if tflops is None else tflops * scale

    listed = {VANILLA: [chart.vanilla] if chart.vanilla else [], **chart.strategies}
    series = [
        {"name": chart.strategy_name(name), "strategy": name, "points": _points(chart, points, place, keys)}
        for name, points in listed.items()
        if points
    ]
    title = f"Figure {chart.number}: {chart.title}, scores against the FLOPs of the image tokens"
    return {**_head(chart, title), "kind": FLOPS, "x": unit, "series": series}


def _of_layers(chart: figure_layers.LayersChart, keys: Mapping[int, str]) -> dict[str, Any]:
    def place(point: Point, _: str) -> float:
        return 100 * figure_layers.retained(point)

    series = []
    for layer in chart.layers:
        for model in chart.models:
            trained = f", {chart.trained(model)}" if len(chart.models) > 1 else ""
            curve = chart.curve(model, layer)
            points = _points(chart, curve, place, keys)
            if points:
                dropped = curve[0].strategy
                name = f"before layer {layer}{trained}"
                series.append(
                    {"name": name, "strategy": dropped, "model": model, "layer": layer, "points": points}
                )
    title = f"Figure {chart.number}: {chart.title}, scores against the image tokens that one drop retains"
    return {**_head(chart, title), "kind": RATIO, "x": _PERCENT, "series": series}


def _head(chart: Chart, title: str) -> dict[str, Any]:
    return {
        "name": chart.name,
        "number": chart.number,
        "title": title,
        "suite": chart.suite,
        "settings": chart.settings,
        "benchmarks": chart.benchmarks,
        "commands": chart.commands[-1:],
    }


def _points(
    chart: Chart, points: Sequence[Point], place: Any, keys: Mapping[int, str]
) -> list[dict[str, Any]]:
    found = []
    for point in points:
        cells = {key: (place(point, key), point.cell(key)) for key in chart.benchmarks}
        bench = {
            key: {
                "x": rounded(x),
                "score": rounded(cell.score),
                "low": rounded(cell.interval[0]) if cell.interval else None,
                "high": rounded(cell.interval[1]) if cell.interval else None,
            }
            for key, (x, cell) in cells.items()
            if x is not None and cell.score is not None
        }
        found.append({"run": keys.get(id(point.run)), "label": point.label, "bench": bench})
    return found
