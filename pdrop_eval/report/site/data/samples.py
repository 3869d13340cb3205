"""Questions and answers: questions that several runs share stand once, and the answers of each run apart.

A set holds the questions of one benchmark's data, in the order of their ids; a question's place in it is its
number. Runs share a set if they were asked the same: where two runs have the same id, prompt and pixels must
agree by their hash. A run that disagrees (a prompt with more in it) gets another set.

In memory are the questions of one benchmark; what was answered waits in spools.
"""

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdrop_eval.records.samples import each_sample
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.spool import Spool, Spools
from pdrop_eval.report.site.names import file_name
from pdrop_eval.utils.errors import UserError

CHUNK = 500  # questions of a file
SHORT = 20  # digits of a hash in a file's name
DATA = 8  # and in a set's
# What of a sample no comparison reads.
_SHOWN_ONLY = ("prompt", "retained", "image_grids", "image_sizes", "image_tokens_per_layer", "to_judge")
SHEET = (
    "benchmark", "doc_id", "part", "cluster", "score", "answer", "target", "prompt", "new_tokens",
    "prompt_tokens", "image_tokens", "image_tokens_per_layer", "content_sha256",
)  # fmt: skip


@dataclass
class Question:
    """A question as the runs of a set were asked it.

    Attributes:
        images: The hash of its pixels.
        layouts: The grids of image tokens that the models made of them.
    """

    id: Any
    prompt: str
    target: str | list[str]
    content: str
    images: str | None
    sizes: list[list[int]]
    layouts: list[list[Any]] = field(default_factory=list)

    @property
    def grids(self) -> dict[str, list[Any]] | None:
        """The layouts by name; None where none was recorded."""
        return {_layout(place): grids for place, grids in enumerate(self.layouts)} or None


@dataclass
class Answer:
    """What a run answered. layers: image tokens, where the run's nominal ones are others.

    Attributes:
        retained: The masks of all drops; None where they weren't recorded.
        fits: Whether grids and masks are of as many image tokens as the sample has.
    """

    text: str
    score: float | None
    new_tokens: int | None
    retained: list[list[Any]] | None
    layers: list[int] | None
    grids: list[list[Any]] | None
    fits: bool = True

    @property
    def overlaid(self) -> bool:
        """Whether it can be shown on a picture what was dropped."""
        return bool(self.retained and self.grids)


@dataclass
class Asked:
    """What a run was asked of a benchmark, and what it answered.

    Attributes:
        questions: By id; empty once a set has them.
        answers: Pairs of a question's id and the `Answer`.
        sheet: Pieces of the run's sheet.
        ordered: Whether the answers are in the order of a set's questions.
        overlays: Whether it can be shown on a picture what was dropped.
        fits: Whether grids and masks are of as many image tokens as the samples have.
    """

    one: Recorded
    benchmark: str
    questions: dict[Any, Question]
    answers: Spool
    sheet: Spool
    ordered: bool = True
    overlays: bool = False
    fits: bool = True


@dataclass
class QuestionSet:
    """Questions that runs share, and those runs. names: of the benchmark, and of its task in file names."""

    name: str
    benchmark: str
    task: str
    members: list[Asked] = field(default_factory=list)
    questions: dict[Any, Question] = field(default_factory=dict)

    def takes(self, asked: Asked) -> bool:
        """Whether a run was asked the same, as far as both know a question."""
        return all(
            self.questions[key].content == question.content
            for key, question in asked.questions.items()
            if key in self.questions
        )

    def add(self, asked: Asked) -> None:
        """Takes a run in, with the questions that only it has."""
        self.members.append(asked)
        for key, question in asked.questions.items():
            known = self.questions.setdefault(key, question)
            known.sizes = known.sizes or question.sizes
            known.layouts += [grids for grids in question.layouts if grids not in known.layouts]
        asked.questions = {}

    @property
    def ordered(self) -> list[Question]:
        """The questions, each at its place: by number, then by name."""
        return sorted(self.questions.values(), key=lambda one: _rank(one.id))


@dataclass(frozen=True)
class Stored:
    """Where a run's samples of a benchmark are: the set of the questions, and the number of files."""

    of: str
    chunks: int
    overlays: bool


def read_asked(one: Recorded, task: str, benchmark: str, spools: Spools) -> Asked:
    """A run's samples of a task, read one after the other.

    Raises:
        UserError: They are missing, damaged, or name a question twice.
    """
    nominal = one.run.of("efficiency", "image_tokens_per_layer")
    asked = Asked(one, benchmark, {}, spools.new(), spools.new())
    compared, last = spools.lasting(), None
    added_up = bool(one.run.results[benchmark].get("tally"))
    with asked.answers, asked.sheet, compared:
        for place, row in enumerate(each_sample(one.folder, task, one.run.results[benchmark])):
            key = row.get("doc_id", place)
            if key in asked.questions:
                raise UserError(f"The samples of {one.key} name the question {key} of {task} twice.")
            answer = _answer(row, nominal)
            asked.questions[key] = _question(key, row, answer)
            asked.ordered &= last is None or _rank(last) < _rank(key)
            asked.overlays |= answer.overlaid
            asked.fits &= answer.fits
            asked.answers.add((key, answer))
            asked.sheet.add(sheet_line(row, benchmark))
            if not added_up:  # else comparisons read what the record has
                compared.add({name: value for name, value in row.items() if name not in _unread(row)})
            last = key
    if not added_up:
        spools.keep(one.folder, task, compared)
    return asked


def take_in(sets: list[QuestionSet], asked: Asked, name: str, task: str) -> None:
    """Gives a run's questions to the set of runs that were asked the same, or to a new one.

    Args:
        sets: Those of runs on the same data; one, unless they were asked differently.
        asked: What the run was asked.
        name: Of the first set; the others have a number behind it.
        task: Its name in file names.
    """
    home = next((found for found in sets if found.takes(asked)), None)
    if home is None:
        number = f"-{len(sets) + 1}" if sets else ""
        home = QuestionSet(f"{name}{number}", asked.benchmark, task)
        sets.append(home)
    home.add(asked)


def set_name(suite: str, task: str, data: str | None) -> str:
    """`mini-gqa-0123abcd`."""
    return file_name(f"{suite}-{task}-{file_name(str(data or 'unknown')[:DATA])}")


def answer_chunks(ordered: Sequence[Question], asked: Asked) -> Iterator[list[Any]]:
    """The run's answers at the places of the set's questions; None for a question that it wasn't asked."""
    answers = _answered(ordered, asked)
    for first in range(0, len(ordered), CHUNK):
        yield [_values(*next(answers)) for _ in ordered[first : first + CHUNK]]


def _answered(ordered: Sequence[Question], asked: Asked) -> Iterator[tuple[Question, Answer | None]]:
    """Each question with its answer; the answers come from the disk in the same order, or all are read."""
    if not asked.ordered:
        known = dict(asked.answers)
        yield from ((question, known.get(question.id)) for question in ordered)
        return
    waiting = iter(asked.answers)
    key, answer = next(waiting, (None, None))
    for question in ordered:
        if answer is not None and key == question.id:
            yield question, answer
            key, answer = next(waiting, (None, None))
        else:
            yield question, None


def _rank(key: Any) -> tuple[bool, Any]:
    return isinstance(key, str), key


def _values(question: Question, answer: Answer | None) -> list[Any] | None:
    if answer is None:
        return None
    layout = _layout(question.layouts.index(answer.grids)) if answer.grids else None
    return [answer.text, answer.score, answer.new_tokens, answer.retained, answer.layers, layout]


def _unread(row: Mapping[str, Any]) -> Collection[str]:
    """What of a sample no comparison reads; of an imported one without a picture it reads the words."""
    return _SHOWN_ONLY if row.get("content_sha256") else _SHOWN_ONLY[1:]


def _layout(place: int) -> str:
    return f"g{place}"


def _question(key: Any, row: dict[str, Any], answer: Answer) -> Question:
    target = row.get("target")
    return Question(
        id=key,
        prompt=str(row.get("prompt") or ""),
        target=[str(one) for one in target] if isinstance(target, list) else _text(target),
        content=str(row.get("content_sha256") or f"{row.get('prompt')} {row.get('target')}"),
        images=row.get("images_sha256"),
        sizes=row.get("image_sizes") or [],
        layouts=[answer.grids] if answer.grids else [],
    )


def _answer(row: dict[str, Any], nominal: list[int] | None) -> Answer:
    fits, layers = _fitting(row), row.get("image_tokens_per_layer")
    return Answer(
        text=_text(row.get("answer")),
        score=row.get("score"),
        new_tokens=row.get("new_tokens"),
        retained=row.get("retained") if fits else None,
        layers=layers if layers != nominal else None,
        grids=row.get("image_grids") if fits else None,
        fits=fits,
    )


def sheet_line(row: dict[str, Any], benchmark: str) -> dict[str, Any]:
    """A sample as a line of its run's sheet."""
    return {**{name: _cell(row.get(name)) for name in SHEET}, "benchmark": benchmark}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _fitting(row: dict[str, Any]) -> bool:
    """Whether grids and masks are of the sample's tokens: others would be drawn in wrong places."""
    grids, tokens = row.get("image_grids"), row.get("image_tokens") or 0
    if grids and sum(rows * (columns + newline) for *_, rows, columns, newline in grids) != tokens:
        return False
    digits = math.ceil(math.ceil(tokens / 8) / 3) * 4  # of the base64 of a bit a token
    return all(len(mask) == digits for _, mask in row.get("retained") or ())
