"""The numbers of Figures 1 and 3: as Markdown to read, and as CSV to draw from."""

from typing import Any

from pdrop_eval.benchmarks.registry import benchmark_of, names
from pdrop_eval.benchmarks.scoring.difference import Difference
from pdrop_eval.report.figures.chart import VANILLA, Point, cost, names_of
from pdrop_eval.report.figures.layers.chart import LayersChart, kept, once, retained
from pdrop_eval.report.figures.layers.draw import footer
from pdrop_eval.report.figures.layers.gains import by_chance, lead, loss, share, shows
from pdrop_eval.report.figures.page import columns, interval, line, notes, page, percent
from pdrop_eval.report.formats.grid import Band, Grid, Line, Note, Shown, plain
from pdrop_eval.report.paired.pairing import shown
from pdrop_eval.report.tables.csv_export import write_csv
from pdrop_eval.utils.text import numbers

_OWN = (
    "settings", "layer", "ratio", "image_tokens", "image_tokens_retained",
    "minus_all_tokens", "minus_all_tokens_low", "minus_all_tokens_high",
)  # fmt: skip
_OF_MODELS = ("other_model", "minus_other", "minus_other_low", "minus_other_high")
_TOKENS = (
    "Retained: the share that was asked for; tokens: what it is, rounded down, of the nominal image. Of "
    "vanilla: FLOPs of a question's image tokens as a share of vanilla's."
)


def figure_markdown(chart: LayersChart) -> str:
    """The figure as a page: the picture, what it shows, every number, and what is missing."""
    grids = []
    for key in chart.benchmarks:
        others = chart.models[1:] or chart.models
        grids += [*(_matrix(chart, model, key) for model in others), _grid(chart, key)]
    told = notes(chart, _TOKENS, lambda point: _told(chart, point))
    told[:0] = [Note(words)] if (words := by_chance(chart)) else []
    return page(chart, alternative(chart), [shows(chart), _ranked(chart), footer(chart)], grids, told)


def figure_csv(chart: LayersChart) -> str:
    """A line a point and benchmark, with every digit; what is not measured yet has no score."""
    several = len(chart.models) > 1
    lines = [_line(chart, point, key, several) for key in chart.benchmarks for point in chart.points]
    return write_csv(columns(*_OWN, *(_OF_MODELS if several else ())), lines)


def alternative(chart: LayersChart) -> str:
    """The picture in words, for those who don't see it."""
    layers = ", ".join(map(str, chart.layers))
    each = f", {' and '.join(map(chart.trained, chart.models))}" if len(chart.models) > 1 else ""
    return (
        f"{chart.title}: scores of {names_of(chart)} against the share of the image tokens that one drop "
        f"retains, at layers {layers} of {chart.depth}{each}, beside vanilla"
    )


def _ranked(chart: LayersChart) -> str:
    """Who drops the tokens, and which remain, as far as one strategy does it and is known."""
    found = [info for name, info in chart.infos.items() if name != VANILLA and _is_measured(chart, name)]
    if len(found) != 1:
        return ""
    (info,) = found
    paper = f" ({info.paper})" if info.paper else ""
    words = f"Image tokens are dropped once, before the layer, by {info.display_name}{paper}."
    if not info.ranks_by_attention:
        return words
    return f"{words} Those remain to which the last instruction token pays the most attention."


def _is_measured(chart: LayersChart, strategy: str) -> bool:
    return any(point.strategy == strategy for point in chart.measured)


def _matrix(chart: LayersChart, model: str, key: str) -> Grid:
    """A line a share, a column a layer: the model against its own vanilla, or against the other training."""
    name, own = names([key])[key], model == chart.model
    shares = sorted({retained(point) for point in chart.points if point.strategy != VANILLA})
    cells: dict[tuple[int, float], str] = {}
    for layer in chart.layers:
        for point in chart.curve(model, layer):
            difference = (loss if own else lead)(chart, point, [key])
            cells[layer, retained(point)] = shown(difference)
    found = [at for at in [*shares, 1.0] if any(cells.get((n, at), "-") != "-" for n in chart.layers)]
    lines = [
        Line([Shown(f"{100 * at:.4g}%"), *(Shown(cells.get((n, at), numbers.NONE)) for n in chart.layers)])
        for at in found
    ]
    one = "dropped once" if own else chart.trained(model)
    against = "all tokens (vanilla)" if own else chart.trained(chart.model)
    title = (
        f"{name}, {one} minus {against}, with 95% intervals, paired: both answered the same "
        "questions, so they are more certain than the intervals of single scores suggest."
    )
    heads = ["Retained", *(f"Layer {layer}" for layer in chart.layers)]
    return Grid(title, heads, [Band("", lines)] if lines else [])


def _grid(chart: LayersChart, key: str) -> Grid:
    """One benchmark: a line a point, each layer and model set apart."""
    lines = []
    for model in chart.models:
        whole = chart.vanilla_of(model)
        lines += [_row(chart, whole, key, apart=True)] if whole else []
        for layer in chart.layers:
            dropped = [point for point in chart.curve(model, layer) if point.strategy != VANILLA]
            lines += [_row(chart, point, key, apart=not index) for index, point in enumerate(dropped)]
    heads = ["Layer", "Retained", "Tokens", "of vanilla", "Score", "95% interval", "Minus all tokens", "n"]
    several = len(chart.models) > 1
    heads = ["Model", *heads] if several else heads
    return Grid(benchmark_of(key).name, heads, [Band("", lines)], labels=2 if several else 1)


def _row(chart: LayersChart, point: Point, key: str, apart: bool) -> Line:
    cell, tokens = point.cell(key), kept(point)
    model = [point.model] if len(chart.models) > 1 else []
    return plain(
        [
            *model,
            point.info.display_name if point.strategy == VANILLA else str(once(point)[0]),
            share(point),
            f"{tokens[0]} of {tokens[1]}" if tokens else numbers.NONE,
            percent(cost(point, chart.vanilla_of(point.model), [key])),
            numbers.score(cell.score),
            interval(cell),
            shown(loss(chart, point, [key])),
            numbers.count(cell.n),
        ],
        apart,
    )


def _line(chart: LayersChart, point: Point, key: str, several: bool) -> dict[str, Any]:
    tokens, dropped = kept(point), point.strategy != VANILLA
    found = line(chart, point, key) | {
        "settings": " ".join(point.settings),
        "layer": once(point)[0] if dropped else None,
        "ratio": retained(point),
        **dict(zip(("image_tokens_retained", "image_tokens"), tokens or (None, None), strict=True)),
        **_difference("minus_all_tokens", loss(chart, point, [key])),
    }
    if several and point.model != chart.model:
        found |= {"other_model": chart.model, **_difference("minus_other", lead(chart, point, [key]))}
    return found


def _difference(name: str, found: Difference | None) -> dict[str, float]:
    if found is None:
        return {}
    ends = dict(zip((f"{name}_low", f"{name}_high"), found.interval, strict=False))
    return {name: found.value, **ends}


def _told(chart: LayersChart, point: Point) -> str:
    """A point in words: `mini, layer 4, 10%`."""
    model = f"{point.model}, " if len(chart.models) > 1 else ""
    if point.strategy == VANILLA:
        return f"{model}{point.info.display_name}"
    return f"{model}layer {once(point)[0]}, {share(point)}"
