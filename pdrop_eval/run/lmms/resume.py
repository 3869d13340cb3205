"""A run's journal in the terms of lmms-eval: questions, recalled or kept."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from lmms_eval.api.instance import GenerationResult, TokenCounts

from pdrop_eval.records.journal import Journal
from pdrop_eval.run.lmms.measurement import Measurement
from pdrop_eval.run.lmms.preprocess import Prepared

Waiting = Sequence[tuple[int, Prepared]]


class Answer(NamedTuple):
    """What the model said, and what was measured."""

    result: GenerationResult
    measurement: Measurement


class BatchSizes(NamedTuple):
    """The batch size when a task began, and when an answer was given: batch_size=auto may have halved it."""

    began: int
    now: int


def began(journal: Journal) -> BatchSizes | None:
    """The batch sizes of one of the answers that were kept; None if there is none."""
    return next((BatchSizes(*answer["batch_sizes"]) for answer in journal.answers()), None)


def recall(
    journal: Journal, waiting: Waiting, exact: bool
) -> tuple[list[tuple[int, Answer]], list[tuple[int, Prepared]], int | None]:
    """The answers that are known of what waits; what still waits; and the smallest batch size of the known.

    Args:
        exact: An answer doesn't depend on what else was in its batch. Where it may, as in half precision, a
            batch is recalled whole or not at all, or a run that went on would not equal one that was never
            stopped.
    """
    known: list[tuple[int, Answer]] = []
    rest: list[tuple[int, Prepared]] = []
    sizes: list[int] = []
    place = 0
    while place < len(waiting):
        batch = _batch(journal, waiting[place:], exact)
        for (index, _), answer in zip(waiting[place:], batch, strict=False):
            known.append((index, _restored(answer)))
            sizes.append(BatchSizes(*answer["batch_sizes"]).now)
        if not batch:
            rest.append(waiting[place])
        place += max(1, len(batch))
    return known, rest, min(sizes, default=None)


def keep(journal: Journal, batch: Sequence[Prepared], answers: Sequence[Answer], sizes: BatchSizes) -> None:
    """Writes the answers of a batch to the journal."""
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
    journal.keep(dict(zip(_keys(journal, batch), entries, strict=True)))


def _batch(journal: Journal, waiting: Waiting, exact: bool) -> list[dict[str, Any]]:
    """What was kept of the first of what waits, and of the others of its batch; empty if one is missing."""
    first = journal.recall(_keys(journal, [waiting[0][1]]))
    if first is None or exact:
        return first or []
    rows = first[0]["rows"]
    found = journal.recall(_keys(journal, [question for _, question in waiting[:rows]])) or []
    return found if [answer["rows"] for answer in found] == [rows] * rows else []


def _keys(journal: Journal, batch: Sequence[Prepared]) -> list[str]:
    """What each question's answer is kept under: its task, place, content, token ids and generation."""
    return [journal.key(_question(question)) for question in batch]


def _question(question: Prepared) -> dict[str, Any]:
    _, generation, _, doc_id, task, split = question.request.args
    return {
        "task": task,
        "split": split,
        "doc_id": doc_id,
        "repeat": question.request.idx,
        "content_sha256": question.content_sha256,
        "ids": question.ids.tolist(),
        "generation": generation,
    }


def _restored(answer: dict[str, Any]) -> Answer:
    measured = {**answer["measured"]}
    measured["image_tokens_per_layer"] = tuple(measured["image_tokens_per_layer"])
    return Answer(GenerationResult(answer["text"], TokenCounts(**answer["tokens"])), Measurement(**measured))
