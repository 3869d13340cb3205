"""A figure's numbers: as Markdown to read, as CSV to draw from, and in short for a README."""

import os
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks import benchmarks
from pdrop_eval.report import figure_gains, numbers
from pdrop_eval.report.cells import Cell
from pdrop_eval.report.commands import Note
from pdrop_eval.report.figure4 import Chart, Point, names_of
from pdrop_eval.report.figure_drawing import footer
from pdrop_eval.report.grid import Band, Grid, Line, Section, Shown, plain
from pdrop_eval.report.markdown import escaped, markdown
from pdrop_eval.report.notes import alike_notes, questions
from pdrop_eval.report.rows import strategy_name
from pdrop_eval.report.runs import Run
from pdrop_eval.report.sheet import write_csv

COLUMNS = [
    "figure", "model", "size", "suite", "limit", "benchmark", "strategy", "settings", "schedule",
    "image_tokens_share", "tflops", "tflops_mean", "share_of_vanilla_flops", "score", "state", "stderr",
    "low", "high", "n", "run_id", "commit",
]  # fmt: skip


def figure_markdown(chart: Chart) -> str:
    """The figure as a page: the picture, what it shows, every number, and what is missing."""
    made = (
        f"Made by `make figures` from the records of `make experiment EXPERIMENT={chart.experiment}`; no "
        "number here is written by hand."
    )
    picture = f"![{escaped(alternative(chart))}]({chart.name}.svg)"
    asked = f"Questions: {questions(chart.runs)}"
    said = [escaped(words) for words in (figure_gains.shows(chart), asked, footer(chart)) if words]
    grids = [_mean_grid(chart), *(_grid(chart, key) for key in chart.benchmarks)]
    section = Section("Numbers", [], [grid for grid in grids if grid.bands], _notes(chart))
    head = f"# Figure {chart.number}, measured: {escaped(chart.title)}, suite {escaped(chart.suite)}"
    return "\n\n".join([head, made, picture, *said, markdown([section]).strip()]) + "\n"


def figure_csv(chart: Chart) -> str:
    """A line a point and benchmark, with every digit; what is not measured yet has no score."""
    lines = [_line(chart, point, key) for key in chart.benchmarks for point in chart.points]
    return write_csv(COLUMNS, lines)


def figure_block(charts: list[Chart], figures: Path, folder: Path) -> str:
    """What a page in `folder` shows: each figure that is in `figures`, with a sentence or two beneath."""
    parts = []
    for chart in charts:
        path = os.path.relpath(figures / chart.name, folder).replace(os.sep, "/")
        told = figure_gains.shows(chart)
        parts.append(f"![{escaped(alternative(chart))}]({path}.svg)")
        parts.append(f"{escaped(chart.title)}: {escaped(told)} [All numbers]({path}.md).")
    return "\n\n".join(parts)


def alternative(chart: Chart) -> str:
    """The picture in words, for those who don't see it."""
    names = " and ".join(map(strategy_name, chart.strategies))
    return (
        f"{chart.title}: scores of {names_of(chart)} against {chart.unit}, for {names} at several budgets, "
        "beside vanilla"
    )


def _grid(chart: Chart, key: str) -> Grid:
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
    return Grid(benchmarks()[key].name, heads, [Band("", lines)], labels=3)


def _row(chart: Chart, point: Point, key: str, apart: bool) -> Line:
    cell = point.cell(key)
    share = figure_gains.cost(point, chart.vanilla, [key])
    words = _schedule(point.run) if point.run and point.strategy != "vanilla" else ""
    return plain(
        [
            strategy_name(point.strategy),
            point.label,
            words,
            _percent(point.share),
            numbers.flops(point.tflops(key), chart.unit),
            _percent(share),
            numbers.score(cell.score),
            _interval(cell),
            numbers.count(cell.n),
        ],
        apart,
    )


def _mean_grid(chart: Chart) -> Grid:
    """Each point against vanilla, and the strategies against each other at equal budgets."""
    keys = chart.benchmarks
    rivals = {(pair.one.settings, pair.other.strategy): pair for pair in figure_gains.pairs(chart)}
    names = list(chart.strategies)
    settings = dict.fromkeys(point.settings for points in chart.strategies.values() for point in points)
    lines = []
    for own in settings:
        cells = [" ".join(setting.partition(".")[2] for setting in own)]
        for name in names:
            point = next((p for p in chart.strategies[name] if p.settings == own), None)
            cells += [figure_gains.shown(figure_gains.gain(point, chart.vanilla, keys) if point else None)]
        cells += [
            figure_gains.shown(p.mean if (p := rivals.get((own, name))) else None) for name in names[1:]
        ]
        lines.append(Line([Shown(text) for text in cells]))
    shown = [strategy_name(name) for name in names]
    heads = ["Budget", *(f"{name} minus vanilla" for name in shown)]
    heads += [f"{shown[0]} minus {name}" for name in shown[1:]]
    title = (
        f"Differences in the mean of {names_of(chart)}, with 95% intervals, paired: both answered the same "
        "questions, so they are more certain than the intervals of single scores suggest."
    )
    return Grid(title, heads, [Band("", lines)] if lines else [])


def _notes(chart: Chart) -> list[Note]:
    cells = [point.cell(key) for point in chart.measured for key in chart.benchmarks]
    tokens = (
        "Tokens: mean image tokens of a layer as a share of all, by the schedule. "
        f"{chart.unit}: mean of the questions' image tokens."
    )
    records = "; ".join(
        f"{strategy_name(p.strategy)}{' ' + p.label if p.label else ''} {p.run.id}"
        for p in chart.measured
        if p.run
    )
    notes = [Note(tokens), *alike_notes(cells), Note(f"Records: {records}.")]
    notes += [Note(f"Not in the figure: {why}.") for why in chart.refused]
    if len({(cell.n, cell.data) for cell in cells}) > len({cell.data for cell in cells}):
        notes.append(Note("Not all points answered the same number of questions: don't compare those."))
    if chart.missing:
        which = "; ".join(
            f"{strategy_name(point.strategy)} {point.label}".strip() for point, _ in chart.missing
        )
        notes.append(Note(f"Not measured yet: {which}.", chart.commands))
    return notes


def _line(chart: Chart, point: Point, key: str) -> dict[str, Any]:
    cell, run = point.cell(key), point.run
    line: dict[str, Any] = {
        "figure": chart.number,
        "model": chart.model,
        "size": chart.size,
        "suite": chart.suite,
        "benchmark": key,
        "strategy": point.strategy,
        "settings": " ".join(point.settings),
        "image_tokens_share": point.share,
        "tflops_mean": point.tflops(key),
        "share_of_vanilla_flops": figure_gains.cost(point, chart.vanilla, [key]),
        "score": cell.score,
        "state": cell.state,
        "stderr": 0.0 if cell.alike else cell.stderr,
        "n": cell.n,
    }
    if cell.interval:
        line |= dict(zip(("low", "high"), cell.interval, strict=True))
    if run:
        line |= {
            "limit": run.limit,
            "schedule": _schedule(run),
            "tflops": run.of("efficiency", "tflops"),
            "run_id": run.id,
            "commit": run.of("code", "commit"),
        }
    return line


def _schedule(run: Run) -> str:
    """What a strategy was made of, as the record says: `λ=0.42, S=4`, `K=2, R=0.88`."""
    fields = {key: value for key, value in (run.of("strategy", "fields") or {}).items() if value is not None}
    if run.strategy == "pdrop" and "layers" in fields:
        layers, ratios = (", ".join(f"{value:.4g}" for value in fields[key]) for key in ("layers", "ratios"))
        return f"layers {layers}: {ratios}"
    if run.strategy == "pdrop" and "ratio" in fields:
        return f"λ={fields['ratio']:.4g}, S={fields.get('stages')}"
    if run.strategy == "fastv" and "k" in fields:
        kept = f"{rank} tokens" if (rank := fields.get("attention_rank")) is not None else None
        return f"K={fields['k']}, {kept or 'R=' + format(fields['r'], '.4g')}"
    return ", ".join(f"{key}={value}" for key, value in fields.items())


def _percent(share: float | None) -> str:
    return numbers.NONE if share is None else f"{share:.0%}"


def _interval(cell: Cell) -> str:
    if cell.interval is None:
        return numbers.NONE
    low, high = cell.interval
    return f"{numbers.score(low)} to {numbers.score(high)}"
