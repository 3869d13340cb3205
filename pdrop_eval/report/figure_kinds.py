"""The figures that can be drawn: for each number in the paper, what makes, draws and words it."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.errors import UserError
from pdrop_eval.report import (
    figure4,
    figure_drawing,
    figure_gains,
    figure_layers,
    figure_layers_drawing,
    figure_layers_gains,
    figure_layers_text,
    figure_text,
)
from pdrop_eval.report.figure_chart import Chart, figure_experiments
from pdrop_eval.report.markdown import escaped
from pdrop_eval.report.runs import Run


@dataclass(frozen=True)
class Kind:
    """How a figure is made. `make` is as `figure4.make_charts`; the others take one of its charts.

    heading: of a part of a page that shows it. draw: the picture by suffix. markdown, csv: its numbers.
    shows: what it shows, in a few sentences. alternative: the picture in words.
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
        figure_layers.make_charts,
        figure_layers_drawing.draw,
        figure_layers_text.figure_markdown,
        figure_layers_text.figure_csv,
        figure_layers_gains.shows,
        figure_layers_text.alternative,
    )


KINDS = {
    figure_layers.FIRST: _of_layers("Accuracy against retained tokens, by layer"),
    figure_layers.THIRD: _of_layers("Accuracy against retained tokens, by training"),
    4: Kind(
        "Accuracy against FLOPs",
        figure4.make_charts,
        figure_drawing.draw,
        figure_text.figure_markdown,
        figure_text.figure_csv,
        figure_gains.shows,
        figure_text.alternative,
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
    """The figures of these experiments, all by default, of which a point other than vanilla is measured.

    The other arguments are those of `figure_choice.fill`.
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
