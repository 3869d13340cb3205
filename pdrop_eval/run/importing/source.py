"""What the readers of other programs' results give: rows by task, each with what its file says of it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number, shortened


@dataclass(frozen=True)
class Row:
    """A question and its answer, as a file has them; None is what it doesn't say.

    Attributes:
        place: The file and the line, for messages.
        doc_id: The number of the question's row in the benchmark's data, from 0.
        question_id: What the data or the file number the question by, where that is no row of the data.
        question: The question, with or without the rest of its prompt.
        answer: The model's.
        target: The right answer.
        score: What the answer earned, 0 to 1.
        item: What lmms-eval's `process_results` gave for the metric.
        doc: Other fields of the data.
        part: The part of the benchmark that the question counts for, such as MME's category.
        pictures: A name of the pictures; what has the same one is resampled together.
        images_sha256: The hash of their pixels.
        content_sha256: The hash of question and pixels.
        said: The answer before another program had made a plain one of it.
    """

    place: str
    doc_id: int | None = None
    question_id: str | None = None
    question: str | None = None
    answer: str | None = None
    target: Any = None
    score: float | None = None
    item: Any = None
    doc: Mapping[str, Any] = field(default_factory=dict)
    part: str | None = None
    pictures: str | None = None
    images_sha256: str | None = None
    content_sha256: str | None = None
    said: str | None = None

    @property
    def id(self) -> tuple[str, Any]:
        """What tells the question from the others of its task."""
        return ("doc_id", self.doc_id) if self.doc_id is not None else ("question_id", self.question_id)


@dataclass(frozen=True)
class TaskRows:
    """The rows of one task.

    Attributes:
        task: As this package names it.
        rows: In the order of the files.
        claimed: The score that the other program made of them, on its own scale; None where it says none.
        scored_by: Whose scores they are; None where there are answers alone.
        unconfirmed: Why it isn't known whether these are all questions; empty where it is.
        other_version: That the log is of another version of the task than the installed one; None if not.
        metric: Of the items, by lmms-eval's name; empty where there are none, or the registry says it.
    """

    task: str
    rows: Sequence[Row]
    claimed: float | None = None
    scored_by: str | None = None
    unconfirmed: str = ""
    metric: str = ""
    other_version: str | None = None


@dataclass(frozen=True)
class Source:
    """What a folder or a file of results holds.

    Attributes:
        tasks: The rows by task.
        files: All that was read.
        model: What it says of the model, in words.
        limit: The most questions of a task that were asked; None for all, or where that isn't known.
        facts: What else it says of the run, for the record.
    """

    tasks: Sequence[TaskRows]
    files: Sequence[Path]
    model: str | None = None
    limit: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def check_rows(task: str, rows: Sequence[Row]) -> None:
    """Refuse rows that can't be the questions of a task.

    Raises:
        UserError: There is none, or two are of the same question.
    """
    if not rows:
        raise UserError(f"There is no question of {task} in it. Name a log with samples: from=DIR.")
    seen: dict[tuple, Row] = {}
    for row in rows:
        key = (*row.id, row.part)
        first = seen.setdefault(key, row)
        if first is not row:
            name, value = row.id
            raise UserError(
                f"{row.place}: the {name} {value!r} of {task} is there twice, first in {first.place}. Remove "
                "one of them, or import the logs one by one."
            )


def unit_score(value: Any, place: str) -> float:
    """Return a score from 0 to 1; true and false are 1 and 0.

    Raises:
        UserError: It is something else.
    """
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, bool):
        return float(value)
    if not is_finite_number(value) or not 0 <= value <= 1:
        raise UserError(
            f"{place}: the score {shortened(value)} is not allowed: it must be a number from 0 to 1, of one "
            "question. Divide percentages by 100."
        )
    return float(value)


def own_score(value: Any, place: str) -> float:
    """Return a score on a scale of its benchmark's own.

    Raises:
        UserError: It is no number.
    """
    if isinstance(value, str):
        value = _number(value)
    if isinstance(value, bool) or not is_finite_number(value):
        raise UserError(f"{place}: the score {shortened(value)} is no number.")
    return float(value)


def one_of_each(logs: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Return the file of each task.

    Raises:
        UserError: A task has two files: which one is meant isn't known.
    """
    found: dict[str, Path] = {}
    for task, path in logs:
        if task in found:
            raise UserError(
                f"There are two logs of {task}: {found[task]} and {path}. A record is of one run: name one "
                "of them, from=FILE, or move the other away."
            )
        found[task] = path
    return found


def one_model(found: Iterable[tuple[str, Path]], fix: str) -> str | None:
    """Return the model that files name; None where none does.

    Raises:
        UserError: They name several.
    """
    named: dict[str, Path] = {}
    for model, path in found:
        named.setdefault(model, path)
    if len(named) > 1:
        (one, first), (other, second) = list(named.items())[:2]
        raise UserError(f"The results are of different models: {one} ({first}) and {other} ({second}). {fix}")
    return next(iter(named), None)


def folder_of(path: str) -> Path:
    """Return what `from=` names.

    Raises:
        UserError: It isn't there.
    """
    found = Path(path).expanduser()
    if not found.exists():
        raise UserError(f"from={path} isn't there. Name the file or the folder of the results.")
    return found


def _number(text: str) -> Any:
    if text.strip().lower() in ("true", "false"):
        return text.strip().lower() == "true"
    try:
        return float(text)
    except ValueError:
        return text
