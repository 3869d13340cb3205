"""The paper's tables filled: with what was measured, and with what is published."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from pdrop_eval.records.rows.alike import largest, nearest, told
from pdrop_eval.records.rows.row_key import RowKey, family_name
from pdrop_eval.records.rows.run import Run, pick
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
    """A row with a cell for every benchmark of its table; `run` fills it if it was measured.

    Attributes:
        others: Runs that fit the row, and stood back.
        apart: Those of them that are of another kind than the table's rows, see `records.alike`.
    """

    key: RowKey
    cells: dict[str, Cell]
    average: Cell | None = None
    tflops: float | None = None
    hours: tuple[float, str] | None = None
    run: Run | None = None
    others: list[Run] = field(default_factory=list)
    apart: list[Run] = field(default_factory=list)

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
        left_out: Rows that only runs of another kind could fill, where no published row asks for them.
        found: What is worked out once for all rows, by its name; a part with other rows begins anew.
    """

    table: Table
    size: str
    suite: str | None
    groups: list[Group]
    refused: list[tuple[Run, str]] = field(default_factory=list)
    left_out: list[Row] = field(default_factory=list)
    found: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

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
    beside = {name: _beside(keys, asked, table, name) for name, keys in wanted.items()}
    rows_of = {name: [*keys, *beside[name]] for name, keys in wanted.items()}
    alike = _alike(table, able, [key for keys in rows_of.values() for key in keys])
    kind = {id(run) for run in alike}
    rows = {key: _measured_row(table, key, able, alike, kind) for keys in rows_of.values() for key in keys}
    added = {key for keys in beside.values() for key in keys}
    without = {key: row for key, row in rows.items() if key in added and not row.run}
    groups = []
    for architecture, keys in rows_of.items():
        shown = [rows[key] for key in keys if key not in without]
        if shown:
            name = family_name(architecture, size)
            groups.append(Group(name, shown, _delta(table, shown), architecture in beyond))
    for group in groups:
        _blank_other_questions(table, group)
    return Part(table, size, suite, groups, refused, list(without.values()))


def _alike(table: Table, able: Mapping[RowKey, list[Run]], keys: Iterable[RowKey]) -> list[Run]:
    """The runs of the kind that fills the most of a table, and of vanilla where it is the measure."""
    wanted = [*keys, *(_whole(key) for key in keys if table.relative)]
    entries = ((key, run) for key in dict.fromkeys(wanted) for run in able.get(key, []))
    return largest(entries, table.benchmarks)


def _whole(key: RowKey) -> RowKey:
    """The row of the same model without dropping."""
    return replace(key, strategy=VANILLA, ratio=None, settings=())


def _blank_other_questions(table: Table, group: Group) -> None:
    """Of a column, only the scores of the same questions stay: those of most rows, else of most questions."""
    rows = [row for row in group.rows if row.run]
    for name in table.benchmarks:
        counts = Counter(row.cells[name].questions for row in rows if row.cells[name].score is not None)
        if len(counts) < 2:
            continue
        kept = max(counts, key=lambda asked: (counts[asked], asked[0] or 0))
        for row in rows:
            cell = row.cells[name]
            if cell.score is not None and cell.questions != kept:
                row.cells[name] = replace(
                    cell, state=MISSING, score=None, stderr=None, why="of other questions than the other rows"
                )
                row.average = None


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


def _measured_row(
    table: Table, key: RowKey, able: Mapping[RowKey, list[Run]], alike: Sequence[Run], kind: Set[int]
) -> Row:
    """A row; `kind` are the ids of the runs that are alike."""
    mine = [run for run in able.get(key, []) if id(run) in kind]
    apart = [run for run in able.get(key, []) if id(run) not in kind]
    run, others = pick(mine, table.benchmarks)
    cells = {name: measured_cell(run, name) for name in table.benchmarks}
    if run is None:
        if apart and alike:
            unlike = told(apart[0], nearest(key.architecture, alike))
            why = f"{apart[0].id} is of another kind than the other rows: {unlike}"
            cells = {name: replace(cell, why=why) for name, cell in cells.items()}
        return Row(key, cells, apart=apart)
    if table.relative:
        vanilla = pick([run for run in able.get(_whole(key), []) if id(run) in kind], table.benchmarks)[0]
        cells = {name: relative(cell, measured_cell(vanilla, name)) for name, cell in cells.items()}
    mean = average(cells, table.benchmarks, in_percent=table.relative)
    first, rest = pick(apart, table.benchmarks)
    others += [first, *rest] if first else []
    return Row(key, cells, mean, run.of("efficiency", "tflops"), run.hours, run, others, apart)


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
