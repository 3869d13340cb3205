"""A run's journal in the terms of lmms-eval: batches of questions, recalled or kept."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from lmms_eval.api.instance import GenerationResult, TokenCounts

from pdrop_eval.journal import Journal
from pdrop_eval.lmms.measure import Measurement
from pdrop_eval.lmms.prepare import Prepared


def keys(journal: Journal, batch: Sequence[Prepared]) -> list[str]:
    """What each question's answer is kept under: its task, place, content, token ids and generation."""
    return [journal.key(_question(question)) for question in batch]


def recall(journal: Journal, batch: Sequence[Prepared]) -> list[tuple[GenerationResult, Measurement]] | None:
    """The answers of a batch, with what was measured; None if one of them isn't there."""
    found = journal.recall(keys(journal, batch))
    return None if found is None else [_restored(answer) for answer in found]


def keep(
    journal: Journal, batch: Sequence[Prepared], answers: Sequence[tuple[GenerationResult, Measurement]]
) -> None:
    """Writes the answers of a batch to the journal."""
    entries = [
        {"text": result.text, "tokens": asdict(result.token_counts), "measured": asdict(measurement)}
        for result, measurement in answers
    ]
    journal.keep(dict(zip(keys(journal, batch), entries, strict=True)))


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


def _restored(answer: dict[str, Any]) -> tuple[GenerationResult, Measurement]:
    measured = {**answer["measured"]}
    measured["image_tokens_per_layer"] = tuple(measured["image_tokens_per_layer"])
    return GenerationResult(answer["text"], TokenCounts(**answer["tokens"])), Measurement(**measured)
