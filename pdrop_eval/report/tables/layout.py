"""A filled table as a section of text: its scores, its intervals and what they cost."""

from collections.abc import Iterable

from pdrop_eval.benchmarks.registry import benchmark_of, names
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.formats.grid import (
    CARE,
    CHANGED,
    DELTA,
    LAYERS,
    NOT_COMPARABLE,
    Band,
    Grid,
    Line,
    Note,
    Section,
    Shown,
    plain,
)
from pdrop_eval.report.tables.cells import Cell, shown_score
from pdrop_eval.report.tables.fill import Group, Part, Row
from pdrop_eval.report.tables.notes import part_notes, questions, settings, values
from pdrop_eval.report.tables.spec import HOURS, PATCHES, TFLOPS, TOKENS, Table
from pdrop_eval.report.tables.training_part import of_row, training_grid, training_unit, trainings
from pdrop_eval.utils.text import numbers

TRAINING = "training"  # a column after the hours, which the paper's tables don't have
_MARKS = {"yes": "", "with care": CARE, "no": NOT_COMPARABLE}


def measured_section(part: Part) -> Section:
    """What was measured, and what is missing of it."""
    table, runs = part.table, part.runs
    title = f"{table.label}, measured: size {part.size}, suite {part.suite}"
    if not runs:
        return Section(
            title, ["Nothing of this table is measured yet."], [scores_grid(part)], part_notes(part)
        )
    text = [
        f"{table.heading}. {_rules(table)}{settings(runs)}",
        f"Questions: {questions(runs)}",
        f"{_unit(part)}: {values(runs, 'efficiency', 'convention') or 'convention not recorded'}.",
    ]
    training = [grid] if (grid := training_grid(part)) else []
    intervals = [] if table.relative else [intervals_grid(part)]
    grids = [scores_grid(part), *intervals, cost_grid(part), *training]
    return Section(title, text, grids, part_notes(part))


def published_section(part: Part) -> Section:
    """What the paper prints, and how far a measurement can be compared with it."""
    table = part.table
    agree = f"Averages{f' and {DELTA}' if table.delta else ''} are computed here from the printed scores"
    text = [
        f"Printed numbers of {table.label} of {table.source}: {table.title}. TFLOPs: multiply-adds of the "
        f"image tokens only (its Eq. 4). {agree} and agree with what is printed"
        f"{table.misprint and f', {table.misprint}'}."
    ]
    title = f"{table.label}, published (not measured here)"
    return Section(title, text, [scores_grid(part)], comparison_notes(table.benchmarks))


def scores_grid(part: Part, whole: bool = True) -> Grid:
    """The paper's table itself: facts, scores, average, and a line of differences where it has one.

    Args:
        whole: Also with a line of differences that has none, as in the paper's form of the table, and with
            the theoretical FLOPs of the training, where they are known.
    """
    table, unit = part.table, _unit(part)
    trained = training_unit(part)
    facts = {
        HOURS: _hours_head(part),
        TRAINING: f"Training {trained}",
        PATCHES: "#patches",
        TFLOPS: unit,
        TOKENS: "Tokens",
    }
    shown = _facts(part, whole)
    heads = [*table.labels, *(facts[fact] for fact in shown), *_heads(part), table.average]
    bands = []
    for group in part.groups:
        if table.rows is not None and part.runs and not any(row.run for row in group.rows):
            continue
        lines = [_score_line(table, row, unit, trained, shown) for row in group.rows]
        if table.delta and (whole or group.delta):
            lines.append(_delta_line(table, group, len(shown)))
        bands.append(Band(group.name + (" (not in the paper)" if group.beyond else ""), lines))
    return Grid("Scores", heads, bands, labels=len(table.labels))


def intervals_grid(part: Part) -> Grid:
    """Half of the 95% interval of every score, and the number of questions behind it."""
    table = part.table
    bands, counts = [], []
    for group in part.groups:
        rows = [row for row in group.rows if row.run]
        counts += [_counts(table, row) for row in rows]
        lines = [
            plain(
                [
                    *_labels(table, row),
                    *(_half(row.cells[name]) for name in table.benchmarks),
                    _half(row.average),
                ]
            )
            for row in rows
        ]
        if lines:
            bands.append(Band(group.name, lines))
    if len({tuple(line) for line in counts}) == 1:
        bands[-1].lines.append(
            plain(["questions", *[""] * (len(table.labels) - 1), *counts[0], ""], apart=True)
        )
    else:
        lines = [plain([*_labels(table, row), *_counts(table, row), ""]) for row in part.rows if row.run]
        bands.append(Band("Questions", lines))
    title = (
        f"95% intervals: the score ± this (1.96 bootstrap standard errors; {table.average}: the benchmarks "
        "taken as independent). Rows that answered the same questions are paired: their difference is mostly "
        "more certain than this suggests."
    )
    heads = [*table.labels, *names(table.benchmarks).values(), table.average]
    return Grid(title, heads, bands, labels=len(table.labels))


def cost_grid(part: Part) -> Grid:
    """What the image tokens of a question cost: by the schedule, and at the tokens that were processed."""
    table, unit = part.table, _unit(part)
    heads = [*table.labels, unit, f"{unit} mean", "Tokens", "Tokens mean", "Tokens max", "KV cache", LAYERS]
    bands = []
    for group in part.groups:
        lines = [
            plain([*_labels(table, row), *_cost(row.run, unit, table.benchmarks)])
            for row in group.rows
            if row.run
        ]
        if lines:
            bands.append(Band(group.name, lines))
    title = (
        "Cost of a question's image tokens: by the schedule, for the nominal number of tokens (as in the "
        "paper), and at the tokens that the questions really had: their mean and most, and the mean FLOPs."
    )
    return Grid(title, heads, bands, labels=len(table.labels), left=True)


def comparison_notes(keys: Iterable[str]) -> list[Note]:
    """How far a measurement on the real data can be compared with the published number, from the registry."""
    found = [benchmark_of(key) for key in keys]
    notes = []
    for comparable, words in (
        ("with care", f"{CARE} compare with care"),
        ("no", f"{NOT_COMPARABLE} not comparable"),
    ):
        reasons: dict[str, list[str]] = {}
        for benchmark in found:
            if benchmark.comparable == comparable:
                reasons.setdefault(benchmark.why, []).append(benchmark.name)
        notes += [Note(f"{words}, {', '.join(which)}: {why}") for why, which in reasons.items()]
    plainly = [benchmark.name for benchmark in found if benchmark.comparable == "yes"]
    if plainly:
        notes.append(Note(f"A measurement on the real data is comparable for {', '.join(plainly)}."))
    return notes


def _facts(part: Part, whole: bool) -> list[str]:
    """What is printed before the scores. The paper has no FLOPs of training: only where some are known."""
    known = whole and any(training.flops for training in trainings(part))
    found = [[fact, TRAINING] if fact == HOURS and known else [fact] for fact in part.table.facts]
    return [fact for facts in found for fact in facts]


def _score_line(table: Table, row: Row, unit: str, trained: str, shown: list[str]) -> Line:
    facts = {
        HOURS: Shown(numbers.NONE if row.hours is None else numbers.hours(row.hours[0])),
        TRAINING: Shown(numbers.total_flops(of_row(row).flops, trained)),
        PATCHES: Shown(str(row.key.patches)),
        TFLOPS: Shown(numbers.flops(row.tflops, unit)),
        TOKENS: Shown(numbers.count(row.tokens)),
    }
    labels = [Shown(label) for label in _labels(table, row)]
    scores = [shown_score(row.cells[name]) for name in table.benchmarks]
    return Line([*labels, *(facts[fact] for fact in shown), *scores, shown_score(row.average)])


def _delta_line(table: Table, group: Group, facts: int) -> Line:
    empty = [""] * (len(table.labels) - 1 + facts)
    differences = [numbers.difference(group.delta.get(name)) for name in [*table.benchmarks, "avg"]]
    return plain([DELTA, *empty, *differences], apart=True)


def _heads(part: Part) -> list[str]:
    """Benchmarks by the paper's names, marked where published and measured numbers meet."""
    sources = {run.of("suite", "source") for run in part.runs}
    meet = part.suite is None or sources == {"hub"}
    marks = {name: _MARKS[benchmark_of(name).comparable] if meet else "" for name in part.table.benchmarks}
    return [head + marks[name] for name, head in names(part.table.benchmarks).items()]


def _hours_head(part: Part) -> str:
    units = {row.hours[1] for row in part.rows if row.hours}
    return " or ".join(sorted(units)) or "GPU hours"


def _labels(table: Table, row: Row) -> list[str]:
    labels = [str(getattr(row.key, name)) for name in table.labels.values()]
    return [*labels[:-1], labels[-1] + (CHANGED if row.run and row.run.deviations else "")]


def _counts(table: Table, row: Row) -> list[str]:
    return [numbers.count(row.cells[name].n) for name in table.benchmarks]


def _half(cell: Cell | None) -> str:
    return numbers.score(cell.half_width if cell else None)


def _cost(run: Run | None, unit: str, keys: tuple[str, ...]) -> list[str]:
    assert run is not None
    return [
        numbers.flops(run.of("efficiency", "tflops"), unit),
        numbers.flops(run.mean("tflops_mean", keys), unit),
        numbers.count(run.of("efficiency", "image_tokens")),
        numbers.score(run.mean("image_tokens_mean", keys)),
        numbers.count(run.most("image_tokens_max", keys)),
        numbers.size(run.of("efficiency", "kv_cache_bytes")),
        numbers.run_lengths(run.of("efficiency", "image_tokens_per_layer")),
    ]


def _unit(part: Part) -> str:
    return numbers.flops_unit([row.tflops for row in part.rows])


def _rules(table: Table) -> str:
    if table.relative:
        return (
            "Scores in percent of the same model's without dropping, on the same questions. "
            f"{table.average} is their mean. Settings: "
        )
    with_mme = "mme" in table.benchmarks
    scales = (
        "Scores on the paper's scales: MME is a sum, the others run from 0 to 100."
        if with_mme
        else "Scores run from 0 to 100."
    )
    mean = f" {table.average} is the mean{' with MME / 20' if with_mme else ''}."
    delta = f" {DELTA} is {table.delta.words}{', with MME / 20' if with_mme else ''}." if table.delta else ""
    return f"{scales}{mean}{delta} Settings: "
