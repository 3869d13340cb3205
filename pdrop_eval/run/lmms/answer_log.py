"""What the model says and what is measured of it, in memory and, for a run that resumes, in its journal."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol, TypeVar

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts

from pdrop_eval.records.journal import Journal
from pdrop_eval.run.lmms.measurement import Measurement, Usage


class Asked(Protocol):
    """A question as an answer is kept under it."""

    @property
    def request(self) -> Instance:
        """lmms-eval's."""

    @property
    def content_sha256(self) -> str:
        """Of the prompt and the pixels."""

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's token ids; empty where a server makes them."""


Question = TypeVar("Question", bound=Asked)


class Answer(NamedTuple):
    """What the model said, and what was measured."""

    result: GenerationResult
    measurement: Measurement


class BatchSizes(NamedTuple):
    """The batch size when a task began, and when an answer was given: batch_size=auto may have halved it."""

    began: int
    now: int


class AnswerLog:
    """What answers measured and took. The runner makes one for a task, and hands it to the model to write to.

    Attributes:
        measurements: What happened to each sample, by task and doc_id.
        usage: The time and the images, by task.
    """

    def __init__(self, journal: Journal | None = None):
        """With a journal, each batch is on disk as soon as it is answered, and is recalled from there."""
        self.measurements: dict[tuple[str, int], Measurement] = {}
        self.usage: dict[str, Usage] = defaultdict(Usage)
        self._journal = journal

    @property
    def has_journal(self) -> bool:
        """Whether answers are stored, and some may be there already."""
        return self._journal is not None

    def first_batch_size(self, usual: int) -> int:
        """Return the batch size that the task began with, before it was interrupted; else the usual one."""
        kept = self._journal.answers() if self._journal is not None else iter(())
        return next((BatchSizes(*answer["batch_sizes"]).began for answer in kept), usual)

    def recall(
        self, waiting: Sequence[tuple[int, Question]], exact: bool
    ) -> tuple[list[tuple[int, GenerationResult]], list[tuple[int, Question]], int | None]:
        """Return what the journal knows of what waits, what still waits, and the smallest known batch size.

        Args:
            waiting: Questions with their places.
            exact: An answer doesn't depend on what else was in its batch. Where it may, as in half
                precision, a batch is recalled whole or not at all, or a run that resumes would not equal one
                that was never stopped.
        """
        known: list[tuple[int, GenerationResult]] = []
        rest: list[tuple[int, Question]] = []
        sizes: list[int] = []
        place = 0
        while place < len(waiting):
            batch = _batch(self._journal, waiting[place:], exact) if self._journal is not None else []
            for (index, question), answer in zip(waiting[place:], batch, strict=False):
                known.append((index, self._noted(question, _restored(answer))))
                self.usage[question.request.args[4]].recalled += 1
                sizes.append(BatchSizes(*answer["batch_sizes"]).now)
            if not batch:
                rest.append(waiting[place])
            place += max(1, len(batch))
        return known, rest, min(sizes, default=None)

    def add(
        self, batch: Sequence[Asked], answers: Sequence[Answer], sizes: BatchSizes
    ) -> list[GenerationResult]:
        """Note the answers of a batch, in the journal first; return what lmms-eval gets of them."""
        if self._journal is not None:
            entries = [
                {
                    "text": answer.result.text,
                    "tokens": asdict(answer.result.token_counts),
                    "measured": asdict(answer.measurement),
                    "rows": len(batch),
                    "batch_sizes": list(sizes),
                }
                for answer in answers
            ]
            self._journal.keep(dict(zip(_keys(self._journal, batch), entries, strict=True)))
        return [self._noted(question, answer) for question, answer in zip(batch, answers, strict=True)]

    def _noted(self, question: Asked, answer: Answer) -> GenerationResult:
        _, _, _, doc_id, task, _ = question.request.args
        self.measurements[task, doc_id] = answer.measurement
        return answer.result


def _batch(journal: Journal, waiting: Sequence[tuple[int, Asked]], exact: bool) -> list[dict[str, Any]]:
    """What was kept of the first of what waits, and of the others of its batch; empty if one is missing."""
    first = journal.recall(_keys(journal, [waiting[0][1]]))
    if first is None or exact:
        return first or []
    rows = first[0]["rows"]
    found = journal.recall(_keys(journal, [question for _, question in waiting[:rows]])) or []
    return found if [answer["rows"] for answer in found] == [rows] * rows else []


def _keys(journal: Journal, batch: Sequence[Asked]) -> list[str]:
    """What each question's answer is kept under: its task, place, content, token ids and generation."""
    return [journal.key(_question(question)) for question in batch]


def _question(question: Asked) -> dict[str, Any]:
    _, generation, _, doc_id, task, split = question.request.args
    return {
        "task": task,
        "split": split,
        "doc_id": doc_id,
        "repeat": question.request.idx,
        "content_sha256": question.content_sha256,
        "ids": question.prompt_ids,
        "generation": generation,
    }


def _restored(answer: dict[str, Any]) -> Answer:
    measured = {**answer["measured"]}
    measured["image_tokens_per_layer"] = tuple(measured["image_tokens_per_layer"])
    return Answer(GenerationResult(answer["text"], TokenCounts(**answer["tokens"])), Measurement(**measured))
