"""Which questions of a benchmark rows are of: those of a recorded run, or of a suite's data.

Only so is it known which pictures they are about, and that the other program asked the same: each row has to
be of a question by its number, its id or its words, and their words have to be those.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdrop_eval.records.samples import load_samples
from pdrop_eval.records.store import read_record
from pdrop_eval.run.importing.benchmarks import benchmark_of_task
from pdrop_eval.run.importing.source import Row
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text.wording import first_line, same_question
from pdrop_eval.utils.validation import shortened


@dataclass(frozen=True)
class Question:
    """A question of a benchmark's data, with what a record says of it.

    Attributes:
        doc_id: The number of its row, from 0.
        prompt: What lmms-eval asks.
        unit: What it is resampled with; None where the rule that scores it knows.
        ids: What the data number it by.
        doc: The row of the data.
    """

    doc_id: int
    prompt: str
    target: Any
    content_sha256: str
    images_sha256: str | None
    unit: Any = None
    part: str | None = None
    ids: tuple[str, ...] = ()
    doc: Mapping[str, Any] = field(default_factory=dict)


# Of answers, what lmms-eval makes of each: by metric.
Items = Callable[[Sequence[Row], Sequence[Question]], list[Mapping[str, Any]]]


@dataclass(frozen=True)
class Known:
    """The questions of a task.

    Attributes:
        questions: In the order of the data.
        data_sha256: The hash of the data, as records have it.
        whole: Whether these are all questions of the data.
        origin: Where they are known from, for messages.
        with_pictures: Adds the hashes to a question, where they take long and only some are needed.
    """

    questions: Sequence[Question]
    data_sha256: str | None
    whole: bool
    origin: str
    with_pictures: Callable[[Question], Question] = lambda question: question


@dataclass(frozen=True)
class Asked:
    """What an import knows of the questions.

    Attributes:
        words: What says it: the run or the suite.
        suite: The suite's name and source.
        known: The questions by task; empty where they aren't known.
        limit: With which limit they were asked.
        subset: Of which fixed subset they are, as a record has it.
        parts: The same of each task.
        items: By task, what has answers scored by lmms-eval's metric.
    """

    words: Mapping[str, Any]
    suite: Mapping[str, Any]
    known: Mapping[str, Known] = field(default_factory=dict)
    limit: int | None = None
    subset: str | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    items: Mapping[str, Items] = field(default_factory=dict)


def questions_of_run(folder: str, tasks: Sequence[str]) -> tuple[dict[str, Known], dict[str, Any]]:
    """Return the questions that a recorded run was asked, by task, and its record.

    Raises:
        UserError: There is no such run, or it lacks a task.
    """
    record = record_of(folder)
    path = Path(record["folder"])
    lacking = [task for task in tasks if task not in record["tasks"]]
    if lacking:
        raise UserError(
            f"The run like={folder} has no {', '.join(lacking)}; it has "
            f"{', '.join(record['tasks']) or 'none'}. Name another run, or fewer tasks: tasks=[...]."
        )
    known = {}
    for task in tasks:
        samples = load_samples(path, task)
        if any(not isinstance(sample.get("content_sha256"), str) for sample in samples):
            raise UserError(
                f"The run like={folder} doesn't say which questions {task} asked (it was imported itself, or "
                "is of an early version). Name a run that pdrop-eval has made."
            )
        whole = record.get("limit") is None
        known[task] = Known(
            [_of_sample(one) for one in samples], _data(record, task), whole, record["run_id"]
        )
    return known, record


def record_of(folder: str) -> dict[str, Any]:
    """Return the record of a run, with its folder.

    Raises:
        UserError: There is no such run.
    """
    path = Path(folder).expanduser()
    path = path.parent if path.name == "record.json" else path
    if not (path / "record.json").is_file():
        raise UserError(f"like={folder} is no run: there is no record.json in it. Name the folder of a run.")
    return {**read_record(path / "record.json"), "folder": str(path)}


def matched(task: str, rows: Sequence[Row], known: Known) -> list[Question]:
    """Return the question of each row.

    Raises:
        UserError: A row is of none, or was asked something else.
    """
    shelf = _shelf(known)
    found = [_find(task, row, shelf, known) for row in rows]
    for row, question in zip(rows, found, strict=True):
        if row.question is not None and not same_question(row.question, question.prompt):
            raise UserError(
                f"{row.place} asks {shortened(row.question)}, and question {question.doc_id} of {task} in "
                f"{known.origin} is {shortened(question.prompt)}: they are of other data, or of another "
                "order. Name the run or the suite that has the same questions, or leave like= and suite= out."
            )
    copies: dict[tuple, Row] = {}
    for row, question in zip(rows, found, strict=True):
        first = copies.setdefault((question.doc_id, row.part), row)
        if first is not row:
            raise UserError(
                f"{row.place} and {first.place} are of one question of {task}: {shortened(question.prompt)}. "
                "Name the questions by doc_id, the number of the row in the benchmark's data, from 0."
            )
    return [known.with_pictures(question) for question in found]


def _of_sample(sample: Mapping[str, Any]) -> Question:
    return Question(
        doc_id=sample["doc_id"],
        prompt=str(sample.get("prompt") or ""),
        target=sample.get("target"),
        content_sha256=sample["content_sha256"],
        images_sha256=sample.get("images_sha256"),
        unit=sample.get("cluster"),
        part=sample.get("part"),
    )


def _data(record: Mapping[str, Any], task: str) -> str | None:
    return record["tasks"][task].get("data_sha256")


@dataclass(frozen=True)
class _Shelf:
    """Questions by number, by id, by content, and by the first line of their prompts."""

    numbers: dict[int, Question]
    ids: dict[tuple[str, str | None], list[Question]]
    contents: dict[str, list[Question]]
    lines: dict[str, list[Question]]


def _shelf(known: Known) -> _Shelf:
    ids: dict[tuple[str, str | None], list[Question]] = defaultdict(list)
    contents: dict[str, list[Question]] = defaultdict(list)
    lines: dict[str, list[Question]] = defaultdict(list)
    for question in known.questions:
        contents[question.content_sha256].append(question)
        lines[first_line(question.prompt)].append(question)
        for name in question.ids:
            for part in dict.fromkeys((None, question.part)):
                ids[name, part].append(question)
    return _Shelf({one.doc_id: one for one in known.questions}, ids, contents, lines)


def _find(task: str, row: Row, shelf: _Shelf, known: Known) -> Question:
    if row.doc_id is not None:
        if row.doc_id in shelf.numbers:
            return shelf.numbers[row.doc_id]
        raise UserError(
            f"{row.place}: {task} has no question {row.doc_id} in {known.origin}, which has "
            f"{len(known.questions)}. Name a run or a suite that asked all of these."
        )
    if row.content_sha256 in shelf.contents:
        candidates = shelf.contents[str(row.content_sha256)]
    elif row.question_id is not None and shelf.ids:
        candidates = shelf.ids.get((row.question_id, row.part)) or shelf.ids.get((row.question_id, None), [])
    else:
        candidates = []
    if len(candidates) != 1 and row.question is not None:
        words = row.question
        near = candidates or shelf.lines.get(first_line(words)) or known.questions
        candidates = [one for one in near if same_question(words, one.prompt)]
    if len(candidates) == 1:
        return candidates[0]
    many = f"{len(candidates)} questions" if candidates else "no question"
    raise UserError(
        f"{row.place}: {many} of {task} in {known.origin} can be the one with the id {row.question_id!r}"
        f"{f' and the words {shortened(row.question)}' if row.question else ''}. "
        f"{_advice(task, known)}"
    )


def _advice(task: str, known: Known) -> str:
    unique = benchmark_of_task(task).unique
    by_id = f"suite= knows {task}'s own ids ({', '.join(unique)})" if unique else f"{task}'s data have no ids"
    if known.questions and known.questions[0].ids:
        by_id = f"{known.origin} numbers them {', '.join(one.ids[0] for one in known.questions[:3])}, ..."
    return f"Name them by doc_id, the number of the row in the benchmark's data, from 0; {by_id}."
