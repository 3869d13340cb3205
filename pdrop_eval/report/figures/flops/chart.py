"""Figure 4 of the paper, measured: accuracy against FLOPs, for strategies at several budgets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.figures.chart import VANILLA, Chart, Point, figure_experiments
from pdrop_eval.report.figures.select import fill
from pdrop_eval.utils.text import numbers


@dataclass
class FlopsChart(Chart):
    """The figure of one model: a panel a benchmark, in each the points of every strategy."""

    takes_others: ClassVar[bool] = True

    @property
    def strategies(self) -> dict[str, list[Point]]:
        """The measured points other than vanilla by strategy, in the experiment's order."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            if point.strategy != VANILLA and point.run:
                found.setdefault(point.strategy, []).append(point)
        return found

    @property
    def unit(self) -> str:
        """In which the FLOPs are readable numbers."""
        return numbers.flops_unit([point.tflops(key) for point in self.measured for key in self.benchmarks])


def make_charts(
    name: str,
    runs: Iterable[Run],
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    like: Mapping[str, Run] | None = None,
) -> list[FlopsChart]:
    """The figures of an experiment, one a model; the arguments are those of `select.fill`."""
    groups = {run["model"]: run["model"] for run in figure_experiments()[name]["runs"]}
    return fill(FlopsChart, name, groups, runs, models, tasks, like)
