"""The figures that can be drawn: for each number in the paper, what makes, draws and words it."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.figures.chart import Chart, figure_experiments
from pdrop_eval.report.figures.flops import chart as flops_chart
from pdrop_eval.report.figures.flops import draw as flops_draw
from pdrop_eval.report.figures.flops import gains as flops_gains
from pdrop_eval.report.figures.flops import text as flops_text
from pdrop_eval.report.figures.layers import chart as layers_chart
from pdrop_eval.report.figures.layers import draw as layers_draw
from pdrop_eval.report.figures.layers import gains as layers_gains
from pdrop_eval.report.figures.layers import text as layers_text
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Kind:
    """How a figure is made. `make` is as `flops.chart.make_charts`; the others take one of its charts.

    Attributes:
        heading: Of a part of a page that shows it.
        draw: The picture by suffix.
        markdown, csv: Its numbers.
        shows: What it shows, in a few sentences.
        alternative: The picture in words.
    """

    heading: str
    make: Callable[..., Sequence[Chart]]
    draw: Callable[[Any], dict[str, bytes]]
    markdown: Callable[[Any], str]
    csv: Callable[[Any], str]
    shows: Callable[[Any], str]
    alternative: Callable[[Any], str]


def _of_layers(heading: str) -> Kind:
    return Kind(
        heading,
        layers_chart.make_charts,
        layers_draw.draw,
        layers_text.figure_markdown,
        layers_text.figure_csv,
        layers_gains.shows,
        layers_text.alternative,
    )


KINDS = {
    layers_chart.FIRST: _of_layers("Accuracy against retained tokens, by layer"),
    layers_chart.THIRD: _of_layers("Accuracy against retained tokens, by training"),
    4: Kind(
        "Accuracy against FLOPs",
        flops_chart.make_charts,
        flops_draw.draw,
        flops_text.figure_markdown,
        flops_text.figure_csv,
        flops_gains.shows,
        flops_text.alternative,
    ),
}


def kind_of(experiment: str) -> Kind:
    """What makes the figure of an experiment. Raises UserError if there is no such figure."""
    number = figure_experiments()[experiment]["figure"]
    if number not in KINDS:
        raise UserError(
            f"The experiment {experiment} has figure: {number}, which can't be drawn. Allowed: "
            f"{', '.join(map(str, KINDS))}; and without figure: nothing is drawn."
        )
    return KINDS[number]


def all_charts(
    runs: Iterable[Run],
    experiments: Iterable[str] | None = None,
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    like: Mapping[str, Run] | None = None,
) -> list[Chart]:
    """The figures of these experiments, all by default, of which a point is measured that draws one.

    The other arguments are those of `select.fill`.
    """
    found = list(runs)
    named = list(figure_experiments()) if experiments is None else list(experiments)
    return [chart for name in named for chart in kind_of(name).make(name, found, models, tasks, like)]


def files(chart: Chart) -> dict[str, str | bytes]:
    """What is written of a figure, by suffix: svg, pdf, png, csv and md."""
    kind = KINDS[chart.number]
    return {**kind.draw(chart), "csv": kind.csv(chart), "md": kind.markdown(chart)}


def block(charts: Iterable[Chart], figures: Path, folder: Path) -> str:
    """What a page in `folder` shows: each figure that is in `figures`, with what it shows beneath."""
    parts = []
    for chart in charts:
        kind = KINDS[chart.number]
        path = os.path.relpath(figures / chart.name, folder).replace(os.sep, "/")
        parts.append(f"![{escaped(kind.alternative(chart))}]({path}.svg)")
        told = kind.shows(chart)
        parts.append(f"{escaped(chart.title)}: {escaped(told)} [All numbers]({path}.md).")
    return "\n\n".join(parts)
