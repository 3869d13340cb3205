"""By what the questions of two runs are paired.

Runs that were made here know each question's content: its words and pixels. Results that were imported may
know only a number of it, in the benchmark's data or in their own file. Then the words that both have must be
those of one question, and so must the targets.
"""

from collections.abc import Sequence
from typing import Any

from pdrop_eval.records.imported import CONTENT, DOC_ID, IMPORTED, QUESTION_ID, WORDS
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.paired.stored_samples import CannotCompareError, Sample, name_of
from pdrop_eval.utils.text.wording import same_prompt, same_question
from pdrop_eval.utils.validation import shortened

_FIELDS = {CONTENT: "content_sha256", DOC_ID: "doc_id", QUESTION_ID: "question_id"}


def imported(run: Run, benchmark: str) -> dict[str, Any] | None:
    """Return what the record says of an imported task; None of one that was evaluated here."""
    found = (run.results.get(benchmark) or {}).get(IMPORTED)
    return found if isinstance(found, dict) else None


def way_of(
    baseline: Run, candidate: Run, benchmark: str, first: Sequence[Sample], second: Sequence[Sample]
) -> str:
    """Return by what two runs' questions are paired: the content, if they have any in common.

    Raises:
        CannotCompareError: Neither knows what the other one numbers its questions by.
    """
    sides = [_ways(run, benchmark) for run in (baseline, candidate)]
    both = [way for way in sides[0] if way in sides[1]]
    if not both:
        raise CannotCompareError(
            CannotCompareError.DATA,
            f"{name_of(benchmark)}: {baseline.id} knows its questions by {_told(sides[0])}, {candidate.id} "
            f"by {_told(sides[1])}. Import again with like=<folder of a run> or suite=<name>, which says "
            "which questions they are.",
        )
    if (
        both[0] == CONTENT
        and len(both) > 1
        and imported(baseline, benchmark) != imported(candidate, benchmark)
    ):
        contents = [{sample["content_sha256"] for sample in samples} for samples in (first, second)]
        return both[0] if contents[0] & contents[1] else both[1]
    return both[0]


def key_of(sample: Sample, way: str) -> str:
    """Return what a sample has in common with the other run's sample of the same question and part."""
    return f"{sample[_FIELDS[way]]} {sample.get('part', '')}"


def same_target(one: Sample, other: Sample) -> bool:
    """Tell whether two targets can be the same; programs write lists and capitals differently, or none."""
    targets = [sample.get("target") for sample in (one, other)]
    if any(target in (None, "") for target in targets):
        return True
    first, second = (str(target).strip().lower() for target in targets)
    return first == second


def check_words(benchmark: str, pairs: Sequence[tuple[Sample, Sample]]) -> None:
    """Refuse pairs whose numbers are the same and whose questions are not.

    Raises:
        CannotCompareError: Two words of one number ask something else.
    """
    for one, other in pairs:
        first, second = (str(sample.get("prompt") or "") for sample in (one, other))
        if first and second and not same_question(first, second):
            raise CannotCompareError(
                CannotCompareError.DATA,
                f"{name_of(benchmark)}: question {one['doc_id']} is {shortened(first)} in the baseline and "
                f"{shortened(second)} in the candidate: the runs are of other data, or in another order. "
                "Import them with like=<folder of a run> or suite=<name>.",
            )


def notes_of(
    baseline: Run, candidate: Run, benchmark: str, way: str, pairs: Sequence[tuple[Sample, Sample]]
) -> list[str]:
    """Return what to know of a pairing with imported results; nothing where both were evaluated here."""
    sides = [imported(run, benchmark) for run in (baseline, candidate)]
    if sides == [None, None]:
        return []
    notes = [f"imported results: paired by {WORDS[way]}"]
    texts = [tuple(str(sample.get("prompt") or "") for sample in pair) for pair in pairs]
    other = sum(1 for one, two in texts if one and two and not same_prompt(one, two))
    if other:
        notes.append(
            f"{other} of {len(pairs)} questions were put in other words around them, which may matter, too"
        )
    scored = ["lmms-eval" if side is None else str(side.get("scored_by")) for side in sides]
    if not all(one.startswith("lmms-eval") for one in scored) and scored[0] != scored[1]:
        notes.append(f"scored differently: the baseline by {scored[0]}, the candidate by {scored[1]}")
    versions = [side["other_version"] for side in sides if side and side.get("other_version")]
    notes += [f"of another version of the task, which may ask or score otherwise: {one}" for one in versions]
    if all(side is not None and not side.get("pictures_known") for side in sides):
        notes.append(
            "which questions are about one picture isn't known: the interval takes them as independent"
        )
    return notes


def with_units(pairs: list[tuple[Sample, Sample]]) -> list[tuple[Sample, Sample]]:
    """Return pairs of which both sides know what is resampled together, where one side knows it.

    A run that doesn't know which questions are about one picture has each stand for itself.
    """
    alone = [
        len({sample.get("cluster") for sample in side}) == len(pairs) for side in zip(*pairs, strict=True)
    ]
    if not pairs or alone[0] == alone[1]:
        return pairs
    known = alone.index(False)
    return [
        tuple({**sample, "cluster": _unit(pair[known])} for sample in pair)  # type: ignore[misc]
        for pair in pairs
    ]


def _unit(sample: Sample) -> Any:
    return sample.get("cluster", sample.get("images_sha256"))


def _ways(run: Run, benchmark: str) -> list[str]:
    found = imported(run, benchmark)
    known = (CONTENT, DOC_ID) if found is None else found.get("pairs_by") or ()
    return [way for way in _FIELDS if way in known]


def _told(ways: Sequence[str]) -> str:
    return " or ".join(WORDS[way] for way in ways) or "nothing"
