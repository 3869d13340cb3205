"""Figure 4's numbers: as Markdown to read, and as CSV to draw from."""

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.figures.chart import Point, names_of
from pdrop_eval.report.figures.flops import gains
from pdrop_eval.report.figures.flops.chart import FlopsChart
from pdrop_eval.report.figures.flops.draw import footer
from pdrop_eval.report.figures.page import columns, interval, line, notes, page, percent, short
from pdrop_eval.report.formats.grid import Band, Grid, Line, Shown, plain
from pdrop_eval.report.tables.csv_export import write_csv
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.text import numbers

COLUMNS = columns("settings", "schedule")


def figure_markdown(chart: FlopsChart) -> str:
    """The figure as a page: the picture, what it shows, every number, and what is missing."""
    grids = [_mean_grid(chart), *(_grid(chart, key) for key in chart.benchmarks)]
    tokens = (
        "Tokens: mean image tokens of a layer as a share of all, by the schedule. "
        f"{chart.unit}: mean of the questions' image tokens."
    )
    said = [gains.shows(chart), footer(chart)]
    return page(chart, alternative(chart), said, grids, notes(chart, tokens, short))


def figure_csv(chart: FlopsChart) -> str:
    """A line a point and benchmark, with every digit; what is not measured yet has no score."""
    lines = [
        line(chart, point, key)
        | {"settings": " ".join(point.settings), "schedule": _schedule(point.run) if point.run else None}
        for key in chart.benchmarks
        for point in chart.points
    ]
    return write_csv(COLUMNS, lines)


def alternative(chart: FlopsChart) -> str:
    """The picture in words, for those who don't see it."""
    names = " and ".join(map(chart.strategy_name, chart.strategies))
    return (
        f"{chart.title}: scores of {names_of(chart)} against {chart.unit}, for {names} at several budgets, "
        "beside vanilla"
    )


def _grid(chart: FlopsChart, key: str) -> Grid:
    """One benchmark: a line a point, each strategy set apart."""
    vanilla = [] if chart.vanilla is None else [[chart.vanilla]]
    lines = [
        _row(chart, point, key, apart=index == 0)
        for points in [*vanilla, *chart.strategies.values()]
        for index, point in enumerate(points)
    ]
    heads = [
        "Strategy",
        "Budget",
        "Schedule",
        "Tokens",
        chart.unit,
        "of vanilla",
        "Score",
        "95% interval",
        "n",
    ]
    return Grid(benchmark_of(key).name, heads, [Band("", lines)], labels=3)


def _row(chart: FlopsChart, point: Point, key: str, apart: bool) -> Line:
    cell = point.cell(key)
    share = gains.cost(point, chart.vanilla, [key])
    words = _schedule(point.run) if point.run and point.strategy != VANILLA else ""
    return plain(
        [
            point.info.display_name,
            point.label,
            words,
            percent(point.share),
            numbers.flops(point.tflops(key), chart.unit),
            percent(share),
            numbers.score(cell.score),
            interval(cell),
            numbers.count(cell.n),
        ],
        apart,
    )


def _mean_grid(chart: FlopsChart) -> Grid:
    """Each point against vanilla, and the strategies against each other at equal budgets."""
    keys = chart.benchmarks
    rivals = {(pair.one.settings, pair.other.strategy): pair for pair in gains.pairs(chart)}
    names = list(chart.strategies)
    settings = dict.fromkeys(point.settings for points in chart.strategies.values() for point in points)
    lines = []
    for own in settings:
        cells = [" ".join(setting.partition(".")[2] for setting in own)]
        for name in names:
            point = next((p for p in chart.strategies[name] if p.settings == own), None)
            cells += [gains.shown(gains.gain(chart, point, chart.vanilla, keys) if point else None)]
        cells += [gains.shown(p.mean if (p := rivals.get((own, name))) else None) for name in names[1:]]
        lines.append(Line([Shown(text) for text in cells]))
    shown = [chart.strategy_name(name) for name in names]
    heads = ["Budget", *(f"{name} minus vanilla" for name in shown)]
    heads += [f"{shown[0]} minus {name}" for name in shown[1:]]
    title = (
        f"Differences in the mean of {names_of(chart)}, with 95% intervals, paired: both answered the same "
        "questions, so they are more certain than the intervals of single scores suggest."
    )
    return Grid(title, heads, [Band("", lines)] if lines else [])


def _schedule(run: Run) -> str:
    """What a strategy was made of, as the record says: `λ=0.42, S=4`, `K=2, R=0.88`."""
    fields = run.of("strategy", "fields") or {}
    return ", ".join(run.info.label(fields) or run.info.label(fields, fields))
