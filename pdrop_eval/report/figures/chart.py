"""Figures of the paper, measured: which points an experiment asks for, and which record is which point.

Which points a figure has is said by an experiment (`figure:` in `conf/experiment/*.yaml`): one for each of
its runs. A record is a point's if it has the model, the strategy, and exactly the settings and the budget
that the run asks for. All points of a figure are of one suite and were measured with the same settings.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.benchmarks.registry import benchmark_of, names
from pdrop_eval.records.rows.overrides import SCHEDULE, recorded_settings
from pdrop_eval.records.rows.row_key import family_name
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.tables.cells import Cell, measured_cell
from pdrop_eval.report.tables.commands import FOLDER, command, is_there, usual_limit
from pdrop_eval.report.tables.commands import experiment as experiment_command
from pdrop_eval.strategies.combinations import is_combined
from pdrop_eval.strategies.registry import VANILLA, StrategyInfo, info_of
from pdrop_eval.utils.presets import model_configs, presets, suite_of

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.scoring.difference import Difference  # it needs numpy

OF_MODEL = ("model.pretrained=", "model.revision=")  # where one model's checkpoint is
_OF_PLACE = (*OF_MODEL, "data.root=")  # deviations that name no other figure


@dataclass(frozen=True)
class Point:
    """A model, a strategy with its settings (overrides that are not the default), and the run of both."""

    strategy: str
    settings: tuple[str, ...]
    model: str
    run: Run | None = None

    @property
    def info(self) -> StrategyInfo:
        """What is known of the strategy."""
        return self.run.info if self.run else info_of(self.strategy)

    @property
    def label(self) -> str:
        """The settings in words: `share=0.5`."""
        return " ".join(setting.partition(".")[2] for setting in self.settings)

    @property
    def spot(self) -> tuple[str, str, tuple[str, ...]]:
        """What a record must be to be this point's."""
        return self.model, self.strategy, self.settings

    def cell(self, benchmark: str) -> Cell:
        """Its score of a benchmark."""
        return measured_cell(self.run, benchmark)

    def tflops(self, benchmark: str) -> float | None:
        """Mean TFLOPs of the image tokens of a question of a benchmark."""
        entry = self.run.results.get(benchmark) if self.run else None
        return None if entry is None else entry.get("tflops_mean")

    @property
    def tokens(self) -> list[int]:
        """Image tokens of each layer, by the schedule of the nominal image; empty where it isn't known."""
        return list((self.run.of("efficiency", "image_tokens_per_layer") if self.run else None) or [])

    @property
    def share(self) -> float | None:
        """Mean image tokens of a layer as a share of all, by the schedule of the nominal image."""
        tokens = self.tokens
        return sum(tokens) / len(tokens) / tokens[0] if tokens else None


@dataclass
class Chart:
    """A figure: a panel or more a benchmark, and the points in it.

    Attributes:
        experiment: The list of runs behind it.
        models: Whose points it has, the one it is named for first.
        facts: What is known of the models, see `model_facts`.
        settings: What all runs have in common that is not the default.
        places: For models whose checkpoint is elsewhere than by default, the settings that say where.
        own: Whether the benchmarks are others than the experiment's.
        refused: Why runs are not in it.
        compared: Differences of points that were computed.
    """

    takes_others: ClassVar[bool] = False  # runs of strategies that the experiment doesn't list
    experiment: str
    number: int
    models: list[str]
    suite: str
    benchmarks: list[str]
    points: list[Point]
    facts: Mapping[str, Mapping[str, Any]]
    settings: list[str] = field(default_factory=list)
    places: dict[str, list[str]] = field(default_factory=dict)
    own: bool = False
    refused: list[str] = field(default_factory=list)
    compared: "dict[tuple, Difference | None]" = field(default_factory=dict, repr=False)

    @property
    def model(self) -> str:
        """The model that it is named for."""
        return self.models[0]

    @property
    def changes(self) -> list[str]:
        """All settings that are not the default; empty for the figure of the default configuration."""
        places = (text for each in self.places.values() for text in each)
        return [*dict.fromkeys([*self._unusual, *places])]

    @property
    def _unusual(self) -> list[str]:
        """The common settings without the limit that the experiment gives its model."""
        usual = usual_limit(self.experiment, self.model)
        return [setting for setting in self.settings if setting not in usual]

    @property
    def name(self) -> str:
        """Of its files. One that isn't the whole of the default has a name of its own, and replaces none."""
        changes = [change for change in self._unusual if not change.startswith(_OF_PLACE)]
        parts = [self.experiment, self.model, *(re.sub(r"[^A-Za-z0-9.-]+", "", change) for change in changes)]
        other = self.suite != self.default_suite  # as a record names it: it must not lead elsewhere
        parts += [re.sub(r"[^A-Za-z0-9._-]+", "", self.suite)] if other else []
        parts += self.benchmarks if self.own else []
        return "_".join(parts)

    @property
    def size(self) -> str:
        """The family of checkpoints that the models belong to."""
        return str(self.facts[self.model]["size"])

    @property
    def default_suite(self) -> str:
        """The suite on which experiments run its model."""
        return suite_of(self.size)

    @property
    def title(self) -> str:
        """The model in words: `LLaVA-NeXT mini p5`."""
        model = self.facts[self.model]
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
    def infos(self) -> dict[str, StrategyInfo]:
        """What is known of each strategy, from the records where there are any."""
        known = {point.strategy: point.info for point in reversed(self.points)}
        return known | {point.strategy: point.info for point in reversed(self.measured)}

    def strategy_name(self, strategy: str) -> str:
        """A strategy's name in words."""
        return self.infos[strategy].display_name

    @property
    def vanilla(self) -> Point | None:
        """The reference, if it was measured."""
        return self.vanilla_of(self.model)

    def vanilla_of(self, model: str) -> Point | None:
        """A model's point with all image tokens, if it was measured."""
        return next((p for p in self.measured if p.strategy == VANILLA and p.model == model), None)

    @property
    def missing(self) -> list[tuple[Point, list[str]]]:
        """The points that lack a score, with the benchmarks."""
        lacking = [(p, [k for k in self.benchmarks if p.cell(k).score is None]) for p in self.points]
        return [(point, keys) for point, keys in lacking if keys]

    @property
    def commands(self) -> list[str]:
        """What measures the missing points, one by one, and all of them."""
        listed = [self._command(point, keys) for point, keys in self.missing]
        if not listed or (len(self.models) > 1 and self.places):
            return listed  # an experiment of several models can't say where one's checkpoint is
        return [*listed, experiment_command(self.experiment, self.size, self.changes)]

    def _command(self, point: Point, keys: Sequence[str]) -> str:
        place = self.places.get(point.model, [])
        if not place and not is_there(str(model_configs()[point.model]["pretrained"])):
            place = [f"model.pretrained={FOLDER}"]
        asked = f"tasks=[{','.join(benchmark_of(key).task for key in keys)}]"
        settings = [*self.settings, *place, *point.settings, asked]
        return command(point.strategy, point.model, self.suite, settings)


def figure_experiments() -> dict[str, dict[str, Any]]:
    """The experiments that are drawn, by name: those with a `figure`."""
    return {name: found for name, found in presets("experiment").items() if found.get("figure")}


def points_of(runs: Iterable[Mapping[str, Any]]) -> list[Point]:
    """The points that an experiment's runs ask for."""
    return [Point(*_as_recorded(run), run["model"]) for run in runs]


def model_facts(runs: Iterable[Run]) -> dict[str, Mapping[str, Any]]:
    """What figures say of models, by name: from their records, and of those that never ran, the presets."""
    recorded = {}
    for run in runs:
        model = run.record["model"]
        if model.get("architecture") and model.get("train"):
            patches = model.get("train_patches") or model.get("patches") or 1
            recorded[run.model] = {"train_ratio": None, **model, "patches": patches, "size": run.size}
    return {**model_configs(), **recorded}


def names_of(chart: Chart) -> str:
    """The paper's names of its benchmarks, in a row."""
    return ", ".join(names(chart.benchmarks).values())


def _as_recorded(run: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The strategy's registered name and the settings that aren't the default, as a record says both.

    What the experiment names may be a preset: another file in `conf/strategy` with the same class.
    """
    import yaml

    from pdrop_eval.strategies.make import settings_of

    name = str(run["strategy"])
    preset = settings_of(name) if is_combined(name) else presets("strategy").get(name, {})
    parts: dict[str, dict[str, Any]] = {"strategy": {**preset}, "budget": {}}
    for text in run.get("overrides", []):
        key, _, value = text.partition("=")
        if key.startswith(SCHEDULE):
            group, _, name = key.partition(".")
            parts[group][name] = yaml.safe_load(value)
    recorded = recorded_settings(parts, run["strategy"])
    return recorded["strategy"]["name"], tuple(sorted(recorded["changes"]))


def cost(point: Point, vanilla: Point | None, keys: Sequence[str]) -> float | None:
    """Its FLOPs as a share of vanilla's, in the mean of some benchmarks."""
    shares = [
        own / whole
        for key in keys
        if (own := point.tflops(key)) and vanilla and (whole := vanilla.tflops(key))
    ]
    return sum(shares) / len(keys) if len(shares) == len(keys) else None
