"""Whether two records of one task say the same, and if not, what differs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.run import NEEDS_JUDGE
from pdrop_eval.records.store import load_samples
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import shortened

# What a task took, and in which batches, may differ between machines; its outcome may not.
_BESIDE = {"wall_seconds", "usage", "batch_size", "next_samples_sha256"}
_JUDGED = {"status", "score", "stderr", "metrics", "parts", "judge"}
_FILES = {"samples_sha256", "predictions", "tally"}  # looked at through the samples and answers
_ANSWER = ("answer", "score", "content_sha256", "retained")


@dataclass(frozen=True)
class Stored:
    """A finished task in a run's folder."""

    folder: Path
    task: str
    entry: Mapping[str, Any]

    @property
    def waits(self) -> bool:
        """Whether its answers wait for a judge."""
        return bool(self.entry.get("status") == NEEDS_JUDGE)


def difference(one: Stored, other: Stored) -> str | None:
    """What two records of one task differ in, in words; None where they say the same.

    An answer that one run has had judged, and the other not, is the same answer.

    Raises:
        UserError: Samples that have to be looked at can't be read.
    """
    judged = one.waits != other.waits
    skipped = _BESIDE | _FILES | (_JUDGED if judged else set())
    names = [name for name in {**one.entry, **other.entry} if name not in skipped]
    fields = [
        f"{name} {shortened(one.entry.get(name))} and {shortened(other.entry.get(name))}"
        for name in names
        if one.entry.get(name) != other.entry.get(name)
    ]
    same_file = one.entry.get("samples_sha256") == other.entry.get("samples_sha256")
    if same_file and one.entry.get("samples_sha256"):
        return "; ".join(fields) or None
    answers = _answers(one, other, judged)
    return "; ".join(filter(None, [*fields, answers])) or None


def preferred(one: Stored, other: Stored) -> Stored:
    """Of two records of one task that say the same, the one that is judged, else the first."""
    return other if one.waits and not other.waits else one


def _answers(one: Stored, other: Stored, judged: bool) -> str | None:
    """How many answers differ, with the first; None where none does."""
    fields = tuple(name for name in _ANSWER if not (judged and name == "score"))
    first, second = (_by_id(stored) for stored in (one, other))
    changed = [
        doc_id
        for doc_id in {**first, **second}
        if [first.get(doc_id, {}).get(name) for name in fields]
        != [second.get(doc_id, {}).get(name) for name in fields]
    ]
    if not changed:
        return None
    place = changed[0]
    told = [shortened(found.get(place, {}).get("answer"), 30) for found in (first, second)]
    name = next(
        name for name in fields if first.get(place, {}).get(name) != second.get(place, {}).get(name)
    )  # fmt: skip
    words = f"answers {' and '.join(told)}" if name == "answer" else f"its {name}"
    count = f"{len(changed)} of {len({**first, **second})} answers differ"
    return f"{count}, the first of doc_id {place} in {words}"


def _by_id(stored: Stored) -> dict[Any, dict[str, Any]]:
    try:
        return {sample.get("doc_id"): sample for sample in load_samples(stored.folder, stored.task)}
    except UserError as error:
        raise UserError(f"{stored.task} can't be compared: {error}") from error
