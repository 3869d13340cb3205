"""The paper's tables filled: with what was measured, and with what is published."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from pdrop_eval.records.row_key import RowKey, family_name
from pdrop_eval.records.run import Run, pick
from pdrop_eval.report.tables.cells import MISSING, PUBLISHED, Cell, average, difference, measured_cell
from pdrop_eval.report.tables.published import SIZE
from pdrop_eval.report.tables.spec import Table


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

    refused: runs of models that were trained otherwise than their configuration says, with the reason.
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
    """A table as the paper prints it."""
    groups: dict[str, Group] = {}
    for printed in table.published:
        architecture = printed.key.architecture
        group = groups.setdefault(architecture, Group(family_name(architecture, SIZE), []))
        cells = {name: Cell(PUBLISHED, score) for name, score in printed.scores.items()}
        hours = None if printed.gpu_hours is None else (printed.gpu_hours, "GPU hours")
        mean = average(cells, table.benchmarks)
        group.rows.append(Row(printed.key, cells, mean, printed.tflops, hours))
    for group in groups.values():
        group.delta = _delta(table, group.rows)
    return Part(table, SIZE, None, list(groups.values()))


def measured_parts(table: Table, runs: Iterable[Run]) -> list[Part]:
    """A part for each size of model and suite that was measured at all: the paper's rows, filled or missing.

    Then come architectures and strategies that the paper doesn't have in this table, if they were measured.
    """
    sets: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        if run.key is not None and _admits(table, run.key):
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
    there = {key.architecture for key in able}
    beyond = {name: keys for name, keys in table.groups_beyond().items() if name in there}
    groups = []
    for architecture, keys in {**table.groups(), **beyond}.items():
        own = _own_strategies(table, keys, able) if table.own else []
        rows = [_measured_row(table, key, able.get(key, [])) for key in [*keys, *own]]
        name = family_name(architecture, size)
        groups.append(Group(name, rows, _delta(table, rows), architecture in beyond))
    return Part(table, size, suite, groups, refused)


def _own_strategies(table: Table, keys: list[RowKey], measured: Iterable[RowKey]) -> list[RowKey]:
    """Rows of strategies that the paper doesn't know, on the models of these rows, by name."""
    models = {(key.architecture, key.patches, key.train) for key in keys}
    own = [
        key
        for key in measured
        if key.strategy not in table.strategies and (key.architecture, key.patches, key.train) in models
    ]
    return sorted(own, key=lambda key: (key.strategy, key.patches, key.inferred))


def _admits(table: Table, key: RowKey) -> bool:
    """Whether a run can be a row: at its strategy's defaults, or of a strategy that the paper lacks."""
    return not key.settings or (table.own and key.strategy not in table.strategies)


def _measured_row(table: Table, key: RowKey, runs: list[Run]) -> Row:
    run, others = pick(runs, table.benchmarks)
    cells = {name: measured_cell(run, name) for name in table.benchmarks}
    if run is None:
        return Row(key, cells)
    mean = average(cells, table.benchmarks)
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
