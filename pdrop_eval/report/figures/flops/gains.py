"""What Figure 4 shows: its points against vanilla and against each other, paired by question."""

from collections.abc import Sequence
from dataclasses import dataclass

from pdrop_eval.benchmarks.scoring.difference import Difference, mean_difference
from pdrop_eval.report.figures.chart import Chart, Point, cost, names_of
from pdrop_eval.report.figures.flops.chart import FlopsChart
from pdrop_eval.report.paired.pairing import CannotCompareError, compare, shown

HALF = 0.5  # the budget of which a figure's summary speaks, or the nearest to it


@dataclass(frozen=True)
class Pair:
    """Two strategies at one budget, and the first one's mean score minus the second one's."""

    one: Point
    other: Point
    mean: Difference


def gain(chart: Chart, one: Point, other: Point | None, keys: Sequence[str]) -> Difference | None:
    """One point's score minus another's, in the mean of some benchmarks; None if they can't be paired."""
    found = [_compared(chart, one, other, key) for key in keys] if other else [None]
    known = [difference for difference in found if difference is not None]
    return mean_difference(known) if len(known) == len(found) else None


def pairs(chart: FlopsChart) -> list[Pair]:
    """The first strategy and each other one, where they got the same settings (a budget), in its order."""
    first, *others = list(chart.strategies.values()) or [[]]
    found = []
    for one in first:
        for other in (p for points in others for p in points if p.settings == one.settings):
            mean = gain(chart, one, other, chart.benchmarks)
            found += [Pair(one, other, mean)] if mean else []
    return found


def shows(chart: FlopsChart) -> str:
    """What a figure shows, in two sentences at most; empty where nothing can be paired."""
    found = pairs(chart)
    words = [_contest(chart, group) for group in _by_rival(found)]
    half = _half(chart)
    if chart.vanilla and half:
        words.append(_loss(chart, half))
    return " ".join(words)


def _compared(chart: Chart, one: Point, other: Point, key: str) -> Difference | None:
    """Two points in a benchmark. The chart remembers it: its page says several things of the same pair."""
    pair = (one.spot, other.spot, key)
    if pair not in chart.compared:
        try:
            chart.compared[pair] = compare(one.run, other.run, key) if one.run and other.run else None
        except CannotCompareError:
            chart.compared[pair] = None
    return chart.compared[pair]


def _by_rival(found: Sequence[Pair]) -> list[list[Pair]]:
    grouped: dict[str, list[Pair]] = {}
    for pair in found:
        grouped.setdefault(pair.other.strategy, []).append(pair)
    return list(grouped.values())


def _contest(chart: FlopsChart, found: Sequence[Pair]) -> str:
    one, other = (point.info.display_name for point in (found[0].one, found[0].other))
    signs = [pair.mean.sign for pair in found]
    keys = chart.benchmarks
    mean = f"in the mean of {names_of(chart)}" if len(keys) > 1 else f"in {names_of(chart)}"
    rest = "; at the others the interval contains zero" if 0 in signs else ""
    return (
        f"At equal budgets of image tokens, {one} scores higher than {other} {mean}, beyond the 95% "
        f"interval, at {signs.count(1)} of {len(found)} budgets, and lower at {signs.count(-1)}{rest}."
    )


def _half(chart: FlopsChart) -> list[Point]:
    """One point a strategy, all with the same budget: the one nearest to half of the image tokens."""
    groups = [
        [point for points in chart.strategies.values() for point in points if point.settings == settings]
        for settings in dict.fromkeys(point.settings for point in chart.measured)
    ]
    whole = [group for group in groups if group and len(group) == len(chart.strategies)]
    return min(whole, key=lambda group: abs((group[0].share or 0) - HALF), default=[])


def _loss(chart: FlopsChart, points: Sequence[Point]) -> str:
    """What points of one budget score against vanilla, and what they cost."""
    vanilla, keys = chart.vanilla, chart.benchmarks
    told = []
    for point in points:
        difference, share = gain(chart, point, vanilla, keys), cost(point, vanilla, keys)
        if difference is None or share is None:
            return ""
        told.append(f"{point.info.display_name} {shown(difference)} at {share:.0%} of vanilla's FLOPs")
    points_of = "points (MME / 20)" if "mme" in keys and len(keys) > 1 else "points"
    return (
        f"With {points[0].share:.0%} of the image tokens, the difference from vanilla in {points_of} is: "
        f"{'; '.join(told)}."
    )
