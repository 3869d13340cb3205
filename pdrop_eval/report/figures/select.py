"""Which runs make a figure: of one suite and kind, the one of which the most points are measured."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import TypeVar

from pdrop_eval.benchmarks.registry import key_of_task, of_task
from pdrop_eval.records.rows.alike import kind_words, told
from pdrop_eval.records.rows.run import Run, pick
from pdrop_eval.report.figures.chart import (
    OF_MODEL,
    VANILLA,
    Chart,
    Point,
    figure_experiments,
    model_facts,
    points_of,
)
from pdrop_eval.report.tables.notes import LISTED
from pdrop_eval.utils.text.numbers import natural

C = TypeVar("C", bound=Chart)
_Group = tuple[str, tuple[str, ...]]  # a suite, and what is not the default
_Spots = dict[tuple, list[Run]]


def fill(
    kind: type[C],
    name: str,
    groups: Mapping[str, str],
    runs: Iterable[Run],
    models: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
    like: Mapping[str, Run] | None = None,
) -> list[C]:
    """The charts of an experiment of which a point is measured that draws one, with their runs.

    Vanilla's alone draws none, nor does that of a strategy which the experiment doesn't list, away from any
    budget. A benchmark that nothing but vanilla answered has no panel, unless it is asked for.

    Args:
        kind: What a chart is.
        groups: For each model of the experiment the one whose chart it is in.
        models: Only the charts that have one of these; None for all.
        tasks: Others than the experiment's.
        like: For a model a run whose suite and settings all points shall have; otherwise the most points come
            before fewer, runs on all questions before those with a limit, then the fewest changes of the
            configuration.
    """
    listed = figure_experiments()[name]
    keys = [key_of_task(task) for task in tasks or listed["tasks"]]
    own = sorted(keys) != sorted(of_task(task).key for task in listed["tasks"])
    asked = set(models) if models is not None else set(like) if like else None
    wanted: dict[str, list[Point]] = defaultdict(list)
    for point in points_of(listed["runs"]):
        wanted[groups[point.model]].append(point)
    found = [run for run in runs if not run.imported]  # of what those cost nothing is known
    charts = list[C]()
    facts = model_facts(found)
    for first, points in wanted.items():
        members = list(dict.fromkeys([first, *(point.model for point in points)]))
        if asked is not None and not asked & set(members):
            continue
        beside = _others(points, members, found) if kind.takes_others else []
        chart = kind(name, listed["figure"], members, "", keys, [*points, *beside], facts, own=own)
        drawing = {
            point.spot for point in [*points, *filter(_at_budget, beside)] if point.strategy != VANILLA
        }
        own_like = {model: run for model, run in (like or {}).items() if model in members}
        _fill(chart, found, own_like, drawing)
        chart.points = [point for point in chart.points if point.run or point not in beside]
        if any(point.spot in drawing for point in chart.measured):
            charts.append(chart if tasks else _without_empty(chart))
    return charts


def _at_budget(point: Point) -> bool:
    return any(setting.startswith("budget.") for setting in point.settings)


def _without_empty(chart: C) -> C:
    """A figure without the panels of which no strategy has a point, named for those that are left."""
    dropped = [point for point in chart.measured if point.strategy != VANILLA]
    left = [key for key in chart.benchmarks if any(point.cell(key).score is not None for point in dropped)]
    if left and left != chart.benchmarks:
        chart.benchmarks, chart.own = left, True
    return chart


def _others(points: Iterable[Point], models: Sequence[str], runs: Iterable[Run]) -> list[Point]:
    """Points of the strategies that an experiment doesn't list: every run on its models is one."""
    listed = {point.strategy for point in points}
    own = [run for run in runs if run.model in models and run.strategy not in listed]
    own.sort(key=lambda run: (run.info.order, natural(" ".join(sorted(run.schedule)))))
    return list(dict.fromkeys(Point(run.strategy, tuple(sorted(run.schedule)), run.model) for run in own))


def _fill(chart: Chart, runs: Sequence[Run], like: Mapping[str, Run], drawing: Set[tuple]) -> None:
    """Gives a chart its suite, its settings, the runs of its points, and why other runs are left out.

    `drawing` are the points for which a figure is drawn.
    """
    able: dict[_Group, dict[str, dict[tuple[str, ...], _Spots]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    )
    spots = {point.spot for point in chart.points}
    for run in runs:
        spot = run.model, run.strategy, tuple(sorted(run.schedule))
        if spot not in spots or not run.results.keys() & set(chart.benchmarks):
            continue
        if run.contradiction:
            chart.refused.append(f"{run.id}: {run.contradiction}")
        else:
            shared, place = _parts(run)
            able[run.suite, shared][run.model][place][spot].append(run)
    if like:
        first = next(iter(like.values()))
        group = first.suite, _parts(first)[0]
    else:
        group = min(able, key=lambda key: _preference(key, able[key], chart, drawing), default=("", ()))
    chosen: dict[tuple, Run | None] = {}
    for model, places in able.get(group, {}).items():
        asked = _parts(like[model])[1] if model in like else None
        place = asked if asked is not None else min(places, key=lambda key: _nearness(key, places[key]))
        chosen |= {spot: pick(found, chart.benchmarks)[0] for spot, found in places.get(place, {}).items()}
        chart.places |= {model: list(place)} if place else {}
    chart.suite, chart.settings = group[0], list(group[1])
    chart.points = [replace(point, run=chosen.get(point.spot)) for point in chart.points]
    _name_others(chart, able, group)


def _name_others(chart: Chart, able: Mapping[_Group, Mapping[str, Mapping]], group: _Group) -> None:
    """Says which runs are no points because they were asked something else, or otherwise."""
    shown = next(iter(chart.runs), None)
    others = [
        run
        for key, models in able.items()
        for places in models.values()
        for spots in places.values()
        for found in spots.values()
        for run in found
        if key != group and run.suite == group[0]
    ]
    if shown is None or not others:
        return
    named = ", ".join(f"{run.id} ({told(run, shown)})" for run in others[:LISTED])
    more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
    kind = kind_words(shown) or "all questions"
    chart.refused.append(f"{named}{more}, measured otherwise than the points ({kind})")


def _parts(run: Run) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A run's settings that all runs of a figure share, and those that say where its checkpoint is."""
    place = tuple(change for change in run.deviations if change.startswith(OF_MODEL))
    return tuple(change for change in run.deviations if change not in place), place


def _nearness(place: tuple[str, ...], spots: _Spots) -> tuple:
    """Of the checkpoints of one model: the one with the most points, then the default."""
    return all(strategy == VANILLA for _, strategy, _ in spots), -len(spots), len(place), place


def _preference(
    key: _Group, models: Mapping[str, Mapping[tuple[str, ...], _Spots]], chart: Chart, drawing: Set[tuple]
) -> tuple:
    """Which runs make the figure: those that draw one at all, the default suite, most points, no limit."""
    found = [(spot, run) for places in models.values() for s in places.values() for spot, run in s.items()]
    limit = found[0][1][0].limit
    asked = float("inf") if limit is None else limit
    drawn = any(spot in drawing for spot, _ in found)
    points = len({spot for spot, _ in found})
    return not drawn, key[0] != chart.default_suite, -points, -asked, len(key[1]), key
