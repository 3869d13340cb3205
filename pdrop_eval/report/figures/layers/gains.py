"""What Figures 1 and 3 show: a drop against all tokens, and trainings against each other, by question."""

from collections.abc import Sequence

from pdrop_eval.benchmarks.scoring.difference import Difference
from pdrop_eval.report.figures.chart import VANILLA, Point, names_of
from pdrop_eval.report.figures.flops.gains import gain
from pdrop_eval.report.figures.layers.chart import LayersChart, once, retained
from pdrop_eval.report.paired.pairing import shown

BY_CHANCE = 0.05  # of 95% intervals leave out zero where there is no difference


def loss(chart: LayersChart, point: Point, keys: Sequence[str]) -> Difference | None:
    """A point's score minus that of its own model with all tokens; None if they can't be paired."""
    return None if point.strategy == VANILLA else gain(chart, point, chart.vanilla_of(point.model), keys)


def lead(chart: LayersChart, point: Point, keys: Sequence[str]) -> Difference | None:
    """A point's score minus that of the model that the figure is named for, at the same drop."""
    return None if point.model == chart.model else gain(chart, point, chart.rival(point), keys)


def shows(chart: LayersChart) -> str:
    """What a figure shows, in a few sentences; empty where nothing can be paired."""
    words = [_contest(chart, model) for model in chart.models[1:]] if len(chart.models) > 1 else []
    return " ".join(text for text in words or [_most_dropped(chart), _harmless(chart)] if text)


def where(points: Sequence[Point]) -> str:
    """Points by layer: `layer 1: 10%, 30%; layer 4: 10%; all tokens`."""
    layers: dict[str, list[str]] = {}
    for point in points:
        if point.strategy == VANILLA:
            layers["all tokens"] = []
        else:
            layers.setdefault(f"layer {once(point)[0]}", []).append(share(point))
    return "; ".join(f"{name}: {', '.join(shares)}" if shares else name for name, shares in layers.items())


def _most_dropped(chart: LayersChart) -> str:
    """What the smallest share costs at each layer."""
    least: dict[int, Point] = {}
    for layer in chart.layers:
        points = _dropped(chart, chart.model, layer)
        least |= {layer: points[0]} if points else {}
    told = [
        f"{shown(difference)} at layer {layer} with {share(point)}"
        for layer, point in least.items()
        if (difference := loss(chart, point, chart.benchmarks))
    ]
    if not told:
        return ""
    return f"With the fewest tokens retained, the difference from vanilla {_of(chart)} is: {'; '.join(told)}."


def _harmless(chart: LayersChart) -> str:
    """From which share on a layer's scores are not lower than vanilla's by more than the interval."""
    told = []
    for layer in chart.layers:
        points = _dropped(chart, chart.model, layer)
        paired = [(point, loss(chart, point, chart.benchmarks)) for point in points]
        if not paired or any(difference is None for _, difference in paired):
            continue
        fine: list[Point] = []
        for point, difference in reversed(paired):
            if difference is not None and difference.sign < 0:
                break
            fine.append(point)
        told.append(f"layer {layer}: {f'from {share(fine[-1])} on' if fine else 'at no share tried'}")
    if not told:
        return ""
    return f"Not lower than vanilla by more than the paired 95% interval: {'; '.join(told)}."


def _contest(chart: LayersChart, model: str) -> str:
    """A training against the one without dropping, at every drop and with all tokens."""
    keys = chart.benchmarks
    dropped = [point for layer in chart.layers for point in _dropped(chart, model, layer)]
    paired = [(point, d) for point in dropped if (d := lead(chart, point, keys))]
    if not paired:
        return ""
    signs: dict[int, list[Point]] = {1: [], -1: [], 0: []}
    for point, difference in paired:
        signs[difference.sign].append(point)
    ours, theirs = chart.trained(model), chart.trained(chart.model)
    words = [
        f"{ours[0].upper()}{ours[1:]}, the model scores higher than {theirs} {_of(chart)} by more than the "
        f"paired 95% interval at {len(signs[1])} of {len(paired)} drops{_listed(signs[1])}, and lower at "
        f"{len(signs[-1])}{_listed(signs[-1])}{_rest(signs[0])}."
    ]
    whole = chart.vanilla_of(model)
    at_all = lead(chart, whole, keys) if whole else None
    words += [f"With all tokens, the difference is {shown(at_all)}."] if at_all else []
    return " ".join(words)


def by_chance(chart: LayersChart) -> str:
    """How many of a figure's differences leave out zero by chance; empty where no question changed."""
    against = lead if len(chart.models) > 1 else loss
    paired = [against(chart, point, [key]) for key in chart.benchmarks for point in chart.measured]
    count = sum(bool(difference and difference.changed) for difference in paired)
    if not count:
        return ""
    return (
        f"Each interval of a difference is a 95% interval of its own: of {count}, about "
        f"{BY_CHANCE * count:.2g} would exclude zero by chance if there were no difference at all."
    )


def share(point: Point) -> str:
    """What a point retains: `10%`."""
    return f"{100 * retained(point):.4g}%"


def _listed(points: Sequence[Point]) -> str:
    return f" ({where(points)})" if points else ""


def _rest(points: Sequence[Point]) -> str:
    return f"; at the other {len(points)} the interval contains zero{_listed(points)}" if points else ""


def _of(chart: LayersChart) -> str:
    keys = chart.benchmarks
    scaled = " (MME / 20)" if "mme" in keys else ""  # as in the paper's averages
    return f"in the mean of {names_of(chart)}{scaled}" if len(keys) > 1 else f"in {names_of(chart)}{scaled}"


def _dropped(chart: LayersChart, model: str, layer: int) -> list[Point]:
    return [point for point in chart.curve(model, layer) if point.strategy != VANILLA]
