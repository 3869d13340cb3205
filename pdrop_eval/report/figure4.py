"""Figure 4 of the paper, measured: accuracy against FLOPs, for strategies at several budgets.

Which points it has is said by an experiment (`figure:` in `conf/experiment/figure4.yaml`): one for each of
its runs. A record is a point's if it has the model, the strategy, and exactly the settings and the budget
that the run asks for. All points of a figure are of one suite and were measured with the same settings.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdrop_eval.benchmarks import by_task, names
from pdrop_eval.models import model_configs, suite_of
from pdrop_eval.report import numbers
from pdrop_eval.report.cells import Cell, measured_cell
from pdrop_eval.report.commands import command
from pdrop_eval.report.commands import experiment as experiment_command
from pdrop_eval.report.rows import family_name
from pdrop_eval.report.runs import Run, pick
from pdrop_eval.report.settings import SCHEDULE, choices, override

VANILLA = "vanilla"
_OF_PLACE = ("model.pretrained=", "model.revision=", "data.root=")  # deviations that name no other figure


@dataclass(frozen=True)
class Point:
    """A strategy with its settings (overrides that are not the default), and the run that measured it."""

    strategy: str
    settings: tuple[str, ...]
    run: Run | None = None

    @property
    def label(self) -> str:
        """The settings in words: `share=0.5`."""
        return " ".join(setting.partition(".")[2] for setting in self.settings)

    def cell(self, benchmark: str) -> Cell:
        """Its score of a benchmark."""
        return measured_cell(self.run, benchmark)

    def tflops(self, benchmark: str) -> float | None:
        """Mean TFLOPs of the image tokens of a question of a benchmark."""
        entry = self.run.results.get(benchmark) if self.run else None
        return None if entry is None else entry.get("tflops_mean")

    @property
    def share(self) -> float | None:
        """Mean image tokens of a layer as a share of all, by the schedule of the nominal image."""
        layers = self.run.of("efficiency", "image_tokens_per_layer") if self.run else None
        return sum(layers) / len(layers) / layers[0] if layers else None


@dataclass
class Chart:
    """The figure of one model: a panel a benchmark, in each the points of every strategy.

    experiment: the list of runs behind it. settings: what all runs have in common that is not the default.
    own: whether the benchmarks are others than the experiment's. refused: why runs are not in it.
    """

    experiment: str
    number: int
    model: str
    suite: str
    benchmarks: list[str]
    points: list[Point]
    settings: list[str] = field(default_factory=list)
    own: bool = False
    refused: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Of its files. One that isn't the whole of the default has a name of its own, and replaces none."""
        changes = [change for change in self.settings if not change.startswith(_OF_PLACE)]
        parts = [self.experiment, self.model, *(re.sub(r"[^A-Za-z0-9.-]+", "", change) for change in changes)]
        other = self.suite != default_suite(self.model)  # as a record names it: it must not lead elsewhere
        parts += [re.sub(r"[^A-Za-z0-9._-]+", "", self.suite)] if other else []
        parts += self.benchmarks if self.own else []
        return "_".join(parts)

    @property
    def size(self) -> str:
        """The family of checkpoints that the model belongs to."""
        return str(model_configs()[self.model]["size"])

    @property
    def title(self) -> str:
        """The model in words: `LLaVA-NeXT mini p5`."""
        model = model_configs()[self.model]
        patches = f" p{model['patches']}" if model["patches"] > 1 else ""
        return family_name(model["architecture"], self.size) + patches

    @property
    def measured(self) -> list[Point]:
        """The points that have a run."""
        return [point for point in self.points if point.run]

    @property
    def runs(self) -> list[Run]:
        """The runs behind them."""
        return [point.run for point in self.points if point.run]

    @property
    def vanilla(self) -> Point | None:
        """The reference, if it was measured."""
        return next((point for point in self.measured if point.strategy == VANILLA), None)

    @property
    def strategies(self) -> dict[str, list[Point]]:
        """The other measured points by strategy, in the experiment's order."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            if point.strategy != VANILLA and point.run:
                found.setdefault(point.strategy, []).append(point)
        return found

    @property
    def unit(self) -> str:
        """In which the FLOPs are readable numbers."""
        return numbers.flops_unit([point.tflops(key) for point in self.measured for key in self.benchmarks])

    @property
    def missing(self) -> list[tuple[Point, list[str]]]:
        """The points that lack a score, with the benchmarks."""
        lacking = [(p, [k for k in self.benchmarks if p.cell(k).score is None]) for p in self.points]
        return [(point, keys) for point, keys in lacking if keys]

    @property
    def commands(self) -> list[str]:
        """What measures the missing points, one by one, and all of them."""
        tasks = {benchmark.key: task for task, benchmark in by_task().items()}
        listed = [
            command(
                point.strategy,
                self.model,
                self.suite,
                [*self.settings, *point.settings, f"tasks=[{','.join(tasks[key] for key in keys)}]"],
            )
            for point, keys in self.missing
        ]
        return [*listed, experiment_command(self.experiment, self.size, self.settings)] if listed else []


def figure_experiments() -> dict[str, dict[str, Any]]:
    """The experiments that are drawn, by name: those with a `figure`."""
    return {name: found for name, found in choices("experiment").items() if found.get("figure")}


def make_charts(
    name: str,
    runs: Iterable[Run],
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    like: Mapping[str, Run] | None = None,
) -> list[Chart]:
    """The figures of an experiment, one a model, of which a point other than vanilla is measured.

    models, tasks: only these; None for all of the experiment's. like: for each model a run whose suite and
    settings all points shall have; otherwise runs on all questions come before those with a limit, the most
    points before fewer, then the fewest changes of the configuration.
    """
    listed = figure_experiments()[name]
    keys = [by_task()[task].key for task in tasks or listed["tasks"]]
    wanted: dict[str, list[Point]] = defaultdict(list)
    models = list(like) if like and models is None else models
    for run in listed["runs"]:
        if models is None or run["model"] in models:
            wanted[run["model"]].append(Point(run["strategy"], _settings(run)))
    own = sorted(keys) != sorted(by_task()[task].key for task in listed["tasks"])
    found = list(runs)
    charts = []
    for model, points in wanted.items():
        of_model = [run for run in found if run.model == model]
        suite, settings, filled, refused = _fill(points, of_model, keys, like[model] if like else None)
        if any(point.run and point.strategy != VANILLA for point in filled):
            charts.append(Chart(name, listed["figure"], model, suite, keys, filled, settings, own, refused))
    return charts


def default_suite(model: str) -> str:
    """The suite on which experiments run a model."""
    return suite_of(str(model_configs()[model]["size"]))


def names_of(chart: Chart) -> str:
    """The paper's names of its benchmarks, in a row."""
    return ", ".join(names(chart.benchmarks).values())


def _settings(run: Mapping[str, Any]) -> tuple[str, ...]:
    """The overrides of an experiment's run that are not the default, as records name them."""
    import yaml

    default = choices("strategy").get(run["strategy"], {})
    found = []
    for text in run.get("overrides", []):
        key, _, value = text.partition("=")
        parsed = yaml.safe_load(value)
        if key.startswith(SCHEDULE) and default.get(key.removeprefix("strategy.")) != parsed:
            found.append(override(key, parsed))
    return tuple(sorted(found))


def _fill(
    points: Sequence[Point], runs: Sequence[Run], keys: Sequence[str], like: Run | None
) -> tuple[str, list[str], list[Point], list[str]]:
    """Suite, common settings, the points with their runs, and why other runs are left out."""
    able: dict[tuple, dict[tuple, list[Run]]] = defaultdict(lambda: defaultdict(list))
    asked = {(point.strategy, point.settings) for point in points}
    refused = []
    for run in runs:
        spot = (run.strategy, tuple(sorted(run.schedule)))
        if spot not in asked or not run.results.keys() & set(keys):
            continue
        if run.contradiction:
            refused.append(f"{run.id}: {run.contradiction}")
        else:
            able[run.suite, tuple(run.deviations)][spot].append(run)
    if like is not None:
        group = like.suite, tuple(like.deviations)
    else:
        group = min(able, key=lambda key: _preference(key, able[key]), default=("", ()))
    chosen = {spot: pick(found, keys)[0] for spot, found in able.get(group, {}).items()}
    filled = [Point(p.strategy, p.settings, chosen.get((p.strategy, p.settings))) for p in points]
    return group[0], list(group[1]), filled, refused


def _preference(key: tuple, spots: Mapping[tuple, list[Run]]) -> tuple:
    """Which runs make the figure: those that draw one at all, the default suite, no limit, most points."""
    first = next(run for found in spots.values() for run in found)
    limit = float("inf") if first.limit is None else first.limit
    drawn = any(strategy != VANILLA for strategy, _ in spots)
    return not drawn, first.suite != default_suite(first.model), -limit, -len(spots), len(key[1]), key
