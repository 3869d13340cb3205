"""The paper's tables filled: with what was measured, and with what is published."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pdrop_eval.records.row_key import RowKey, family_name
from pdrop_eval.records.run import Run, pick
from pdrop_eval.report.tables.cells import (
    MISSING,
    PUBLISHED,
    Cell,
    average,
    difference,
    measured_cell,
    relative,
)
from pdrop_eval.report.tables.spec import Table
from pdrop_eval.strategies.registry import VANILLA


@dataclass
class Row:
    """A row with a cell for every benchmark of its table; `run` fills it if it was measured."""

    key: RowKey
    cells: dict[str, Cell]
    average: Cell | None = None
    tflops: float | None = None
    hours: tuple[float, str] | None = None
    run: Run | None = None
    others: list[Run] = field(default_factory=list)

    @property
    def tokens(self) -> float | None:
        """Mean image tokens of a layer, by the schedule."""
        layers = self.run.of("efficiency", "image_tokens_per_layer") if self.run else None
        return sum(layers) / len(layers) if layers else None

    @property
    def missing(self) -> list[str]:
        """The benchmarks without a measurement."""
        return [name for name, cell in self.cells.items() if cell.state == MISSING]


@dataclass
class Group:
    """The rows of one architecture. `beyond`: the paper's table doesn't have it."""

    name: str
    rows: list[Row]
    delta: dict[str, float] = field(default_factory=dict)
    beyond: bool = False


@dataclass
class Part:
    """A whole table of one source: measured with models of one size on one suite, or published (no suite).

    Attributes:
        refused: Runs of models that were trained otherwise than their configuration says, with the reason.
    """

    table: Table
    size: str
    suite: str | None
    groups: list[Group]
    refused: list[tuple[Run, str]] = field(default_factory=list)

    @property
    def rows(self) -> list[Row]:
        """The rows of all groups."""
        return [row for group in self.groups for row in group.rows]

    @property
    def runs(self) -> list[Run]:
        """The runs that fill them."""
        return [row.run for row in self.rows if row.run]


def published_part(table: Table) -> Part:
    """A table as it is printed."""
    groups: dict[str, Group] = {}
    for printed in table.published:
        name = family_name(printed.architecture, table.size)
        group = groups.setdefault(printed.architecture, Group(name, []))
        cells = {name: Cell(PUBLISHED, score) for name, score in printed.scores.items()}
        hours = None if printed.hours is None else (printed.hours, "GPU hours")
        mean = average(cells, table.benchmarks)
        group.rows.append(Row(printed.key, cells, mean, printed.tflops, hours))
    for group in groups.values():
        group.delta = _delta(table, group.rows)
    return Part(table, table.size, None, list(groups.values()))


def measured_parts(table: Table, runs: Iterable[Run]) -> list[Part]:
    """A part for each size of model and suite that was measured at all.

    Its rows are the published ones, filled or missing, then those of models that the publication doesn't have
    in this table, and the runs that the table asks for beside them.
    """
    sets: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.key is not None and (table.asks_for(run) or (table.published and not run.key.settings)):
            sets[run.size, run.suite].append(run)
    return [_measured_part(table, size, suite, sets[size, suite]) for size, suite in sorted(sets)]


def _measured_part(table: Table, size: str, suite: str, runs: list[Run]) -> Part:
    able: dict[RowKey, list[Run]] = defaultdict(list)
    refused = []
    for run in runs:
        if run.key and run.results.keys() & set(table.benchmarks):
            if run.contradiction:
                refused.append((run, run.contradiction))
            else:
                able[run.key].append(run)
    asked = [key for key, found in able.items() if any(map(table.asks_for, found))]
    there = {key.architecture for key in able}
    beyond = {name: keys for name, keys in table.groups_beyond().items() if name in there}
    wanted = {**table.groups(), **beyond}
    if not table.published:
        wanted = {key.architecture: [] for key in sorted(asked, key=lambda key: key.architecture)}
    groups = []
    for architecture, keys in wanted.items():
        rows = [_measured_row(table, key, able) for key in keys]
        rows += [_measured_row(table, key, able) for key in _beside(keys, asked, table, architecture)]
        name = family_name(architecture, size)
        groups.append(Group(name, rows, _delta(table, rows), architecture in beyond))
    return Part(table, size, suite, groups, refused)


def _beside(keys: list[RowKey], asked: list[RowKey], table: Table, architecture: str) -> list[RowKey]:
    """The rows that a table asks for beside the published ones of an architecture, on the same models."""
    models = {(key.patches, key.train) for key in keys}
    own = [
        key
        for key in asked
        if key.architecture == architecture
        and key not in keys
        and (not models or (key.patches, key.train) in models)
    ]
    return sorted(own, key=table.place)


def _measured_row(table: Table, key: RowKey, able: Mapping[RowKey, list[Run]]) -> Row:
    run, others = pick(able.get(key, []), table.benchmarks)
    cells = {name: measured_cell(run, name) for name in table.benchmarks}
    if run is None:
        return Row(key, cells)
    if table.relative:
        whole = replace(key, strategy=VANILLA, ratio=None, settings=())
        vanilla = pick(able.get(whole, []), table.benchmarks)[0]
        cells = {name: relative(cell, measured_cell(vanilla, name)) for name, cell in cells.items()}
    mean = average(cells, table.benchmarks, in_percent=table.relative)
    return Row(key, cells, mean, run.of("efficiency", "tflops"), run.hours, run, others)


def _delta(table: Table, rows: list[Row]) -> dict[str, float]:
    if table.delta is None:
        return {}
    found = {(row.key.train, row.key.strategy): row for row in reversed(rows)}
    one, other = found.get(table.delta.minuend), found.get(table.delta.subtrahend)
    if one is None or other is None:
        return {}
    same_model = one.key.train == other.key.train
    if same_model and one.run and other.run and one.run.checkpoint != other.run.checkpoint:
        return {}
    return difference(one.cells, other.cells, table.benchmarks)
