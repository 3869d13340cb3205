"""Figures 1 and 3 of the paper, measured: scores against the image tokens that one drop at a layer retains.

Figure 1 is of one model, a curve a layer. Figure 3 has a panel a layer, and in each a curve for the model as
it was trained without dropping and for each that was trained with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.figures.chart import VANILLA, Chart, Point, figure_experiments, model_facts, points_of
from pdrop_eval.report.figures.select import fill
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.errors import UserError

FIRST, THIRD = 1, 3
_WHERE, _SHARE = "strategy.layers=", "strategy.ratios="


@dataclass
class LayersChart(Chart):
    """Scores against the share of the image tokens that remains of one drop, by layer and model."""

    @property
    def layers(self) -> list[int]:
        """Before which the tokens are dropped, from shallow to deep, as the experiment asks for them."""
        return sorted({once(point)[0] for point in self.points if point.strategy != VANILLA})

    @property
    def depth(self) -> int:
        """How many layers the model has."""
        return len(next((point.tokens for point in self.measured if point.tokens), []))

    def curve(self, model: str, layer: int) -> list[Point]:
        """A model's measured points that drop before a layer, by rising share, and vanilla: all tokens."""
        found = [p for p in self.measured if p.model == model and p.strategy != VANILLA]
        dropped = sorted((p for p in found if once(p)[0] == layer), key=retained)
        vanilla = self.vanilla_of(model)
        return dropped + ([vanilla] if vanilla and dropped else [])

    def trained(self, model: str) -> str:
        """How a model was trained, in words: `trained with PDrop λ=0.5`."""
        config = self.facts[model]
        if config["train"] == VANILLA:
            return "trained without dropping"
        ratio = f" λ={config['train_ratio']}" if config["train_ratio"] is not None else ""
        return f"trained with {display_name(config['train'])}{ratio}"

    def rival(self, point: Point) -> Point | None:
        """The same point of the model that the figure is named for, if it was measured."""
        same = (p for p in self.measured if (p.strategy, p.settings) == (point.strategy, point.settings))
        return next((p for p in same if p.model == self.model), None)


def make_charts(
    name: str,
    runs: Iterable[Run],
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    like: Mapping[str, Run] | None = None,
) -> list[LayersChart]:
    """The figures of an experiment, each of models that only training tells apart.

    The arguments are those of `select.fill`.

    Raises:
        UserError: An experiment whose runs do anything else than drop once.
    """
    listed = figure_experiments()[name]["runs"]
    for point in points_of(listed):
        if point.strategy != VANILLA:
            once(point)
    found = list(runs)
    groups = _groups([run["model"] for run in listed], model_facts(found))
    return fill(LayersChart, name, groups, found, models, tasks, like)


def once(point: Point) -> tuple[int, float]:
    """The layer before which a point's strategy drops, and the share that it retains: it drops once."""
    layers, ratios = _value(point.settings, _WHERE), _value(point.settings, _SHARE)
    if not (isinstance(layers, list) and isinstance(ratios, list) and len(layers) == len(ratios) == 1):
        raise UserError(
            f"A run of this figure has {' '.join(point.settings) or 'the settings of its strategy'}. Each is "
            "vanilla or drops once: strategy.layers=[4] strategy.ratios=[0.5] strategy.ratio=null "
            "strategy.stages=null"
        )
    return int(layers[0]), float(ratios[0])


def retained(point: Point) -> float:
    """The share of the image tokens that remains in the end: 1 of vanilla."""
    return 1.0 if point.strategy == VANILLA else once(point)[1]


def kept(point: Point) -> tuple[int, int] | None:
    """How many image tokens remain in the end, and of how many; None where it isn't known."""
    return (int(point.tokens[-1]), int(point.tokens[0])) if point.tokens else None


def _groups(models: Iterable[str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """For each model the first that only training tells from it, the one without dropping before others."""
    listed = list(dict.fromkeys(models))

    def family(model: str) -> tuple[Any, ...]:
        return tuple(str(known[model][key]) for key in ("size", "architecture", "patches"))

    ordered = sorted(listed, key=lambda model: known[model]["train"] != VANILLA)  # stable
    return {model: next(first for first in ordered if family(first) == family(model)) for model in listed}


@cache
def _value(settings: tuple[str, ...], name: str) -> Any:
    """A setting's value; None if it isn't among them."""
    found = next((text for text in settings if text.startswith(name)), None)
    return None if found is None else yaml.safe_load(found.removeprefix(name))
