"""`pdrop-eval-compare power=true`: which difference could be seen, and how many questions one needs.

No model is loaded: what is looked at are the suite's questions, which of them share a picture, and, where two
runs are there already, how often they agree.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.own.task import data_of, info_of
from pdrop_eval.benchmarks.registry import IMAGES, registered_by_task
from pdrop_eval.benchmarks.scoring.power import Design, Part, detectable, inflation_of, most, times
from pdrop_eval.benchmarks.subset import SUBSETS, check_subset, choose
from pdrop_eval.benchmarks.task_files import TaskInfo
from pdrop_eval.report.compare.runs import BASELINE, CANDIDATE, Side, side_of
from pdrop_eval.report.compare.settings import Settings
from pdrop_eval.report.paired.pairing import CannotCompareError, pair
from pdrop_eval.run.config.spec import RunSpec, compose_spec
from pdrop_eval.strategies.combinations import is_strategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text.numbers import score
from pdrop_eval.utils.validation import check_whole

# The column of the parts that a rule scores one by one.
_PARTS = {"group_mean": "l2_category", "category_f1": "category", "pair_sum": "category"}
ASSUMED = 0.9  # share of answers that agree, where nothing else is known


@dataclass(frozen=True)
class Expected:
    """What two runs are expected to do on a benchmark.

    Attributes:
        changed: The share of questions that earn something else.
        inflation: The design effect between them; None: not known.
    """

    changed: float
    inflation: float | None = None


@dataclass(frozen=True)
class Row:
    """A benchmark, or the mean of all.

    Attributes:
        title: Its name.
        n: Questions.
        units: What is resampled; None for the mean.
        best: Its parts where what shares a picture changes one by one (or as it was measured).
        worst: The same where it changes together.
    """

    title: str
    n: int
    units: int | None
    best: tuple[Part, ...]
    worst: tuple[Part, ...]


@dataclass(frozen=True)
class Power:
    """What there is to say.

    Attributes:
        asked: The questions, in words.
        source: Where the agreement is from, in words.
        notes: What else has to be said.
    """

    asked: str
    source: str
    rows: tuple[Row, ...]
    wanted: float | None
    notes: tuple[str, ...] = ()


def make_power(settings: Settings) -> Power:
    """Return what could be seen with the questions that settings name.

    Raises:
        UserError: The questions aren't known, or settings that can't be right.
    """
    spec = compose_spec([*settings.common, "strategy=vanilla"])
    check_subset(spec.subset, spec.limit)
    if spec.limit is not None:
        check_whole("limit", spec.limit, 1, "Use limit=null for all questions.")
    infos = [info_of(spec.suite, task) for task in _tasks(spec)]
    designs, notes = _designs(spec, [info for info in infos if not info.judge])
    measured = {} if settings.agreement is not None else _measured(settings)
    share = ASSUMED if settings.agreement is None else settings.agreement
    rows = []
    for info, design in designs.items():
        expected = measured.get(info.benchmark) or Expected(1 - share)
        if measured and info.benchmark not in measured:
            notes.append(f"{_title(info)} isn't in both runs: agreement {share:g} is taken.")
        rows.append(_row(info, design, expected))
    whole = Row(
        "mean", sum(row.n for row in rows), None, tuple(part for row in rows for part in row.best),
        tuple(part for row in rows for part in row.worst),
    )  # fmt: skip
    source = (
        "agreement as between the two runs that are there"
        if measured
        else f"agreement {share:g}: {100 * (1 - share):.3g}% of the questions earn something else"
    )
    found = [*rows, whole] if len(rows) > 1 else rows
    return Power(_asked(spec), source, tuple(found), settings.difference, tuple(notes))


def text_of(power: Power) -> str:
    """The same for a terminal, at most 80 columns."""
    wanted = power.wanted
    head = ["", "questions", "units", "sees"] + ([] if wanted is None else [f"for {wanted:g} points"])
    lines = [head]
    for row in power.rows:
        best, worst = (detectable(parts) or -most(parts) for parts in (row.best, row.worst))
        sees = _range(best, worst, _points)
        needs = [] if wanted is None else [_needs(row, wanted)]
        lines.append([row.title, f"{row.n:,}", "" if row.units is None else f"{row.units:,}", sees, *needs])
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width)
                  for place, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    ]  # fmt: skip
    return "\n".join([power.asked, power.source, "", *table, "", *_legend(power), *power.notes])


def _legend(power: Power) -> list[str]:
    lines = [
        "sees: the difference in points (MME / 20) that 4 of 5 such comparisons would",
        "show at the 95% level; of two, the second where all questions about a picture",
        "change together.",
    ]
    if any(detectable(row.worst) is None for row in power.rows):
        lines += [">: not even so many points, and no more can differ where so few answers change."]
    return lines


def _points(found: float) -> str:
    """Points; what is below 0 is how many could differ, of which none would be seen."""
    return f">{score(-found)}" if found < 0 else score(found)


def _row(info: TaskInfo, design: Design, expected: Expected) -> Row:
    known = expected.inflation
    best, worst = (
        Part(design, expected.changed, known if known is not None else other) for other in (1.0, design.worst)
    )
    return Row(_title(info), design.n, design.units, (best,), (worst,))


def _needs(row: Row, wanted: float) -> str:
    factors = [times(parts, wanted) for parts in (row.best, row.worst)]
    best, worst = (None if factor is None else math.ceil(row.n * factor) for factor in factors)
    return _range(best, worst, lambda number: f"{number:,}")


def _range(best: Any, worst: Any, shown: Any) -> str:
    words = ["-" if one is None else shown(one) for one in (best, worst)]
    return words[0] if words[0] == words[1] else " to ".join(words)


def _title(info: TaskInfo) -> str:
    known = registered_by_task().get(info.task)
    return known.name if known else info.task


def _tasks(spec: RunSpec) -> list[str]:
    from pdrop_eval.run.config.checks import check_tasks

    return check_tasks(spec.tasks, list(spec.suite.tasks), spec.suite.name, spec.limit)


def _asked(spec: RunSpec) -> str:
    subset = f"subset={spec.subset}" if spec.subset else "all questions"
    which = f"limit={spec.limit}" if spec.limit else subset
    return f"Power of a comparison on suite {spec.suite.name}, {which}"


def _designs(spec: RunSpec, infos: Sequence[TaskInfo]) -> tuple[dict[TaskInfo, Design], list[str]]:
    """The design of each benchmark: from its data where they are on this disk, else from the limit alone."""
    found: dict[TaskInfo, Design] = {}
    unknown, alone = list[str](), list[str]()
    for info in infos:
        files = _files(info, spec)
        if files:
            design, compared = _stored(info, spec, files)
            alone += [] if compared else [_title(info)]
        elif number := spec.limit or SUBSETS.get(str(spec.subset)):
            design = Design(number, number, number, number, max(1, number - 1))
            unknown.append(_title(info))
        else:
            raise UserError(
                f"The data of {info.task} aren't on this disk, so that their number isn't known. Give "
                "limit=<questions>, data.root=<folder>, or tasks=[...] without it."
            )
        found[info] = design
    if not found:
        raise UserError("Every benchmark needs a judge: there is nothing to be seen without its scores.")
    notes = (
        [f"Taken as {spec.limit} questions alike, without their data: {', '.join(unknown)}."]
        if unknown
        else []
    )
    if alone:
        notes.append(
            f"Large data, each question taken as one about a picture of its own: {', '.join(alone)}."
        )
    return found, notes


def _files(info: TaskInfo, spec: RunSpec) -> Sequence[Path]:
    from pdrop_eval.benchmarks.data.local import find_local, find_rendered
    from pdrop_eval.benchmarks.rendered.suite import ensure_suite

    if spec.suite.own is not None:
        return data_of(spec.suite, spec.data, [info.task]).local[info.task].read[0]
    if spec.suite.source == "rendered":
        folder = Path(spec.data.root).expanduser() if spec.data.root else ensure_suite()
        return find_rendered(info, folder)[0].read[0]
    if spec.data.root:
        return find_local(info, Path(spec.data.root).expanduser()).read[0]
    from huggingface_hub import constants

    try:
        return find_local(info, Path(constants.HF_HUB_CACHE)).read[0]
    except UserError:
        return ()


def _stored(info: TaskInfo, spec: RunSpec, files: Sequence[Path]) -> tuple[Design, bool]:
    from pdrop_eval.benchmarks.data.questions import stored_questions

    found = stored_questions(info, files)
    chosen = found.first(spec.limit) if spec.limit else found
    if spec.subset:
        chosen = found.at(choose(info, spec.subset, found.rows).places)
    labels = [_unit(info, row, picture) for row, picture in zip(chosen.rows, chosen.pictures, strict=True)]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    samples = [
        {"score": 0.0, "cluster": numbers[label], "part": _part(info, row), "target": "yes", "answer": "yes"}
        for row, label in zip(chosen.rows, labels, strict=True)
    ]
    return Design.of(info.rule, samples), found.compared


def _unit(info: TaskInfo, row: Mapping[str, Any], picture: str) -> Any:
    """What a question is resampled with, as the rules make it of lmms-eval's items."""
    if info.scoring == "pair_sum":
        return row["category"], row["question_id"]
    if info.scoring == "circular_mean":
        return int(row["index"]) % 1_000_000
    return picture if info.cluster == IMAGES else row[info.cluster]


def _part(info: TaskInfo, row: Mapping[str, Any]) -> str:
    column = {"group_mean": "l2_category", "category_f1": "category", "pair_sum": "category"}.get(
        info.scoring
    )
    return str(row.get(column)) if column else ""


def _measured(settings: Settings) -> dict[str, Expected]:
    """What two runs that are there have changed, by benchmark; empty where they aren't."""
    sides = []
    for role, asked in ((BASELINE, settings.baseline), (CANDIDATE, settings.candidate)):
        try:
            sides.append(side_of(settings, role, asked))
        except UserError:
            if not is_strategy(asked):  # a folder that was named is to be there
                raise
            return {}
    return _between(sides) if all(side.record for side in sides) else {}


def _between(sides: Sequence[Side]) -> dict[str, Expected]:
    found = {}
    one, other = (side.run for side in sides)
    for benchmark in [name for name in one.results if name in other.results]:
        try:
            difference = pair(one, other, benchmark, "leave_out").difference
        except CannotCompareError:
            continue
        # where nothing changed, half a question is taken to, as in the interval
        changed = max(difference.changed, 0.5) / difference.n
        found[benchmark] = Expected(changed, inflation_of(difference))
    return found
