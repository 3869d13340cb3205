"""Draws Figures 1 and 3 with matplotlib, imported when called: the same bytes for the same records."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.figures import captions
from pdrop_eval.report.figures.chart import VANILLA
from pdrop_eval.report.figures.layers.chart import LayersChart, retained
from pdrop_eval.report.figures.panels import (
    STAR,
    Look,
    Plan,
    curve,
    lay_out,
    left_for,
    limits,
    one_each,
    reference,
    score_label,
)
from pdrop_eval.report.figures.style import REFERENCE, SMALL, TEXT_WIDTH, drawing, looks, saved, steps
from pdrop_eval.report.tables.cells import Cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = "Retained image tokens (%)"
_PANEL, _LOW_PANEL = 2.1, 1.75  # inches
_UNTRAINED = {"color": REFERENCE, "marker": "s", "linestyle": "--"}


def draw(chart: LayersChart) -> dict[str, bytes]:
    """The figure by suffix: "svg", "pdf" and "png"."""
    with drawing():
        return saved(figure_of(chart))


def figure_of(chart: LayersChart) -> "Figure":
    """The figure, to be made and saved in the style of `drawing`."""
    return _of_models(chart) if len(chart.models) > 1 else _of_layers(chart)


def footer(chart: LayersChart) -> str:
    """What made the figure: questions, intervals, weights and code."""
    said = [
        f"{captions.asked(chart)}. Bars and band: 95% intervals (bootstrap); bars at one share are drawn "
        "side by side.",
        captions.missing(chart),
        captions.made(chart),
    ]
    return " ".join(words for words in said if words)


def _of_layers(chart: LayersChart) -> "Figure":
    """A panel a benchmark, in it a curve a layer."""
    seen = dict(zip(chart.layers, steps(len(chart.layers)), strict=True))
    entries: list[tuple[str, Look]] = [(f"layer {layer}", look) for layer, look in seen.items()]
    entries += [("vanilla", STAR)] if chart.vanilla else []
    title = f"{chart.title}: one drop at a layer of {chart.depth}"
    figure, panels = one_each(chart.benchmarks, _PANEL, title, entries, footer(chart))
    for axes, key in zip(panels, chart.benchmarks, strict=True):
        cells = _reference(axes, chart, key)
        for place, (layer, look) in enumerate(seen.items()):
            aside = place - (len(seen) - 1) / 2
            cells += _curve(axes, chart, chart.model, layer, key, look, aside, whole=False)
        limits([axes], cells)
        _axes(axes)
        axes.set_xlabel(SHARE)
    return figure


def _of_models(chart: LayersChart) -> "Figure":
    """A row of panels a benchmark, in it a panel a layer, in each a curve a model."""
    seen = _model_looks(chart)
    entries: list[tuple[str, Look]] = [(chart.trained(model), look) for model, look in seen.items()]
    entries += [(f"all tokens, {chart.trained(chart.model)}", STAR)] if chart.vanilla else []
    title = f"{chart.title}: one drop at a layer of {chart.depth}, by training"
    rows, columns, left = len(chart.benchmarks), len(chart.layers), left_for(chart.benchmarks)
    figure, panels = lay_out(
        Plan(TEXT_WIDTH, rows, columns, _LOW_PANEL, title, entries, footer(chart), left, gap=0.16)
    )
    for key, row in zip(chart.benchmarks, panels, strict=True):
        cells = []
        for layer, axes in zip(chart.layers, row, strict=True):
            cells += _reference(axes, chart, key)
            for place, (model, look) in enumerate(seen.items()):
                aside = place - (len(seen) - 1) / 2
                cells += _curve(axes, chart, model, layer, key, look, aside, whole=True)
            _axes(axes)
            axes.set_title(f"Layer {layer}")
            axes.set_xlabel("Retained tokens (%)")
        limits(row, cells)
        row[0].set_ylabel(score_label(key, names([key])[key]))
        for axes in row[1:]:
            axes.tick_params(labelleft=False)
    return figure


def _model_looks(chart: LayersChart) -> dict[str, Mapping[str, Any]]:
    """Grey for the model without dropping, a strategy's own look for the first that was trained with it."""
    known = chart.facts
    trained = [model for model in chart.models if known[model]["train"] != VANILLA]
    first = {known[model]["train"]: model for model in reversed(trained)}
    chosen = looks([known[m]["train"] if m in first.values() else m for m in trained])
    found = dict(zip(trained, chosen.values(), strict=True))
    return {model: found.get(model, _UNTRAINED) for model in chart.models}


def _reference(axes: Any, chart: LayersChart, key: str) -> list[Cell]:
    """The level of the model that the figure is named for, with all tokens."""
    cell = chart.vanilla.cell(key) if chart.vanilla else None
    if cell is None or cell.score is None:
        return []
    reference(axes, cell, 100.0)
    return [cell]


def _curve(
    axes: Any, chart: LayersChart, model: str, layer: int, key: str, look: Look, place: float, whole: bool
) -> list[Cell]:
    """A model's curve at a layer, as far as it is measured; `whole`: it ends in a point of its own."""
    points = [point for point in chart.curve(model, layer) if point.cell(key).score is not None]
    cells = [point.cell(key) for point in points]
    shares = [100 * retained(point) for point in points]
    if points and points[-1].strategy == VANILLA and not (whole and model != chart.model):
        # the star and the band show it already: only the line leads there
        axes.plot(shares[-2:], [cell.score for cell in cells[-2:]], color=look["color"], ls=look["linestyle"])
        shares, cells = shares[:-1], cells[:-1]
    curve(axes, shares, cells, look, place)
    return cells


def _axes(axes: Any) -> None:
    axes.set_xlim(0, 105)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.tick_params(labelsize=SMALL)
