"""What each row of imported results earned, in the form that the benchmark's rule reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdrop_eval.benchmarks.installed.items import OWN
from pdrop_eval.benchmarks.registry import WHOLE, Benchmark, by_task
from pdrop_eval.run.importing.numbers import Aggregate, aggregation_of, numbers_of_log
from pdrop_eval.run.importing.questions import Question
from pdrop_eval.run.importing.source import Row, own_score, unit_score
from pdrop_eval.utils.errors import UserError

# What a rule needs to know of each question: the column of lmms-eval's data that names its part.
PARTS = {"category_f1": "category", "pair_sum": "category", "group_mean": "l2_category"}
_STORED = ("score", "cluster", "part")
_HOW = "like=<folder of a run> or suite=<name> says it"

Marks = list[dict[str, Any] | None]  # of each row; None where it doesn't count


@dataclass(frozen=True)
class Earned:
    """What rows earned.

    Attributes:
        rule: Of the score, by name.
        scale: The benchmark's, as a definition names it.
        marks: Of each row.
        value: The score, where there is one number and no scores of questions.
    """

    rule: str
    scale: str
    marks: Marks
    value: float | None = None


def by_items(
    known: Benchmark, metric: str, rows: Sequence[Row], questions: Sequence[Question] | None,
    items: Sequence[Any], claimed: float | None,
) -> Earned:  # fmt: skip
    """Return what rows earned by lmms-eval's items; None for those that don't count.

    Args:
        known: The benchmark.
        metric: lmms-eval's name of it.
        rows: The rows.
        questions: Of each row, the benchmark's question; None where they aren't known.
        items: Of each row, what lmms-eval's `process_results` gave for the metric.
        claimed: The number that a log says of them.

    Raises:
        UserError: They don't say enough for the benchmark's rule, or not what the log says they give.
    """
    if known.task in by_task():
        ruled = _by_rule(known, rows, questions, items, aggregation_of(known.task))
        return Earned(known.scoring, known.scale, ruled)
    chosen = [place for place, item in enumerate(items) if item is not None]
    numbers = numbers_of_log(known, metric, [items[place] for place in chosen], claimed)
    marks: Marks = [None] * len(rows)
    if numbers.scores is None:
        return Earned(numbers.rule, numbers.scale, marks, numbers.value)
    units = [_unit(rows[place], questions[place] if questions else None, place) for place in chosen]
    for place, score, unit in zip(chosen, numbers.scores, _numbered(units), strict=True):
        marks[place] = {"score": score, "cluster": unit}
    return Earned(numbers.rule, numbers.scale, marks)


def by_scores(known: Benchmark, rows: Sequence[Row], questions: Sequence[Question] | None) -> Earned:
    """Return what rows earned as their file says.

    Raises:
        UserError: A row without a score, or without what the benchmark's rule needs beside it.
    """
    if known.scoring == WHOLE:
        raise UserError(
            f"{known.name}'s number is made of all answers together: single questions' scores don't give it. "
            "Import answers, with suite=<name>: lmms-eval's own metric then scores them."
        )
    marks: list[dict[str, Any]] = []
    units = []
    for place, row in enumerate(rows):
        question = questions[place] if questions else None
        if row.score is None:
            raise UserError(f"{row.place}: there is no score. Give each question one, or none of them.")
        read = own_score if known.scoring == "own_mean" else unit_score
        marks.append({"score": read(row.score, row.place), **_part(known, row, question)})
        units.append(_own_unit(known, row, question, place))
        if known.scoring == "category_f1":
            _check_plain(known, row, question)
    found: Marks = [{**mark, "cluster": unit} for mark, unit in zip(marks, _numbered(units), strict=True)]
    unsaid = "percent" if known.scale == "percent_of_one" and not known.metric else known.scale
    return Earned(known.scoring, OWN if known.scoring == "own_mean" else unsaid, found)


def _numbered(units: Sequence[Any]) -> list[int]:
    from pdrop_eval.benchmarks.scoring.tally import number

    return [int(one) for one in number(units).tolist()]


def _by_rule(
    known: Benchmark, rows: Sequence[Row], questions: Sequence[Question] | None, items: Sequence[Any],
    aggregate: Aggregate,
) -> Marks:  # fmt: skip
    """What each row earned, by the rule and lmms-eval's items; None for those that don't count."""
    chosen = [place for place, item in enumerate(items) if item is not None]
    docs, units, plain = [], [], []
    for place in chosen:
        question, item = questions[place] if questions else None, items[place]
        plain.append(item if isinstance(item, dict) else unit_score(item, rows[place].place))
        docs.append(_doc(known, rows[place], question, items[place]))
        units.append(_unit(rows[place], question, place))
    try:
        marks = known.rule.rows(plain, docs, units, aggregate)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The samples of {known.task} don't say all that {known.name}'s score needs "
            f"({type(error).__name__}: {error}); {_HOW}."
        ) from error
    found: Marks = [None] * len(rows)
    for place, mark in zip(chosen, marks, strict=True):
        kept: dict[str, Any] = {name: mark[name] for name in _STORED if name in mark}
        found[place] = {**kept, "score": unit_score(mark["score"], rows[place].place)}
    return found


def _doc(known: Benchmark, row: Row, question: Question | None, item: Any) -> dict[str, Any]:
    """The data's row, as far as it is known: of the suite, of the log, of lmms-eval's item."""
    doc = {**(item if isinstance(item, dict) else {}), **row.doc, **(question.doc if question else {})}
    part = PARTS.get(known.scoring)
    if question is not None and part is not None and question.part is not None:
        doc.setdefault(part, question.part)
    return doc


def _part(known: Benchmark, row: Row, question: Question | None) -> dict[str, str]:
    if known.scoring not in PARTS:
        return {}
    part = question.part if question is not None and question.part is not None else row.part
    if part is None:
        raise UserError(
            f"{row.place}: {known.name}'s score is made of its parts, and the row doesn't name one. Add a "
            f"column `category`; or {_HOW}."
        )
    return {"part": part}


def _own_unit(known: Benchmark, row: Row, question: Question | None, place: int) -> Any:
    """What a row is resampled with; MME's pairs and MMBench's copies decide the score itself."""
    if known.scoring == "circular_mean" and (question is None or question.unit is None):
        index = str(row.question_id)
        return int(index) % 1_000_000 if index.isdigit() else index
    unit = _unit(row, question, place)
    if known.scoring != "pair_sum":
        return unit
    if question is None and row.pictures is None:
        raise UserError(
            f"{row.place}: MME scores pairs of questions about one picture, and the row doesn't name it. Add "
            f"a column `image`; or {_HOW}."
        )
    return (_part(known, row, question)["part"], unit)


def _unit(row: Row, question: Question | None, place: int) -> Any:
    """A label of what is resampled together; a row of which nothing is known stands for itself."""
    if question is not None and question.unit is not None:
        return question.unit
    return row.pictures if row.pictures is not None else ("alone", place)


def _check_plain(known: Benchmark, row: Row, question: Question | None) -> None:
    """F1 is made of what was said and what is right: both have to be there, in plain words."""
    target = question.target if question is not None else row.target
    words = [None if text is None else str(text).lower().strip() for text in (row.answer, target)]
    if None in words:
        raise UserError(
            f"{row.place}: {known.name}'s F1 needs the answer and the target (yes or no) of each question. "
            f"Add the columns `answer` and `target`; of the targets, {_HOW}."
        )
    if row.score != float(words[0] == words[1]):
        raise UserError(
            f"{row.place}: the answer is {row.answer!r}, the target {target!r} and the score {row.score:g}. "
            f"{known.name} takes yes or no in one word: write the answer so."
        )
