"""The score of rows by the benchmark's own rule, and the samples of the record."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.benchmarks.installed.items import OWN
from pdrop_eval.benchmarks.registry import WHOLE, Benchmark, by_task
from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.records.imported import CONTENT, DOC_ID, IMPORTED, QUESTION_ID
from pdrop_eval.run.importing.benchmarks import (
    benchmark_of_task,
    counted,
    definition_of,
    info_of_task,
    is_lmms_evals,
    metrics_of,
)
from pdrop_eval.run.importing.marks import Earned, by_items, by_scores
from pdrop_eval.run.importing.questions import Items, Question
from pdrop_eval.run.importing.source import Row, TaskRows
from pdrop_eval.utils.errors import UserError

_NEAR = 1e-6


def score_task(
    found: TaskRows, questions: Sequence[Question] | None, items: Items | None, resamples: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the record's entry of a task, and its samples in order.

    Args:
        found: The rows.
        questions: Of each row, the benchmark's question; None where they aren't known.
        items: Has answers scored by lmms-eval's metric; None where the questions' data aren't there.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: The rows don't say enough for the benchmark's rule, or not what the log says they give.
    """
    known = benchmark_of_task(found.task)
    rows, scored_by = list(found.rows), found.scored_by
    made = None if any(row.item is not None for row in rows) else _made(found, questions, items)
    metric, given = found.metric or known.metric, [row.item for row in rows]
    names = counted(metrics_of(found.task))
    if made is not None:
        scored_by = "lmms-eval's metric, run on these answers by pdrop-eval"
        metric = metric or next((name for name in names if any(name in one for one in made)), "")
        given = [one.get(metric) for one in made]
    if any(one is not None for one in given):
        earned = by_items(known, metric, rows, questions, given, found.claimed)
    elif made is not None:
        raise _none_counts(found, metric)
    else:
        earned = by_scores(known, rows, questions)
        metric = metric or next(iter(names), "score")
    samples = [
        _sample(place, row, mark, questions)
        for place, (row, mark) in enumerate(zip(rows, earned.marks, strict=True))
    ]
    samples.sort(key=lambda sample: sample["doc_id"])
    entry = {
        "benchmark": known.key,
        "metric": metric,
        "status": "scored",
        **_score(found, known, earned, samples, resamples, seed),
        "scale": "sum" if known.scale == "sum" else OWN if earned.scale == OWN else "0-100",
        "higher_is_better": known.direction == "higher",
        **_definition(known, earned),
        IMPORTED: {
            "scored_by": scored_by,
            "pairs_by": _pairs_by(rows, questions),
            "pictures_known": _units_known(rows, questions),
            "unconfirmed": found.unconfirmed or None,
            "claimed": found.claimed,
            **({"other_version": found.other_version} if found.other_version else {}),
        },
    }
    return entry, samples


def _score(
    found: TaskRows, known: Benchmark, earned: Earned, samples: Sequence[Mapping[str, Any]], resamples: int,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The score with its basis."""
    from pdrop_eval.benchmarks.scoring.score import standard_error

    if earned.rule == WHOLE:
        n = sum(1 for row in found.rows if row.item is not None) or len(found.rows)
        return {"score": earned.value, "stderr": None, "n": n, "clusters": 1, "parts": {}}
    counting = [sample for sample in samples if sample["score"] is not None]
    if not counting:
        raise _none_counts(found, known.metric)
    rule = scoring_rule(earned.rule)
    tally = rule.tally(counting)
    if known.task in by_task():  # of others, the numbers were checked as they were read
        _check_claim(found, known, counting)
    return {
        "score": tally.value,
        "stderr": standard_error(tally, resamples, seed),
        "n": len(counting),
        "clusters": len(tally.sums),
        "parts": rule.parts(counting),
    }


def _none_counts(found: TaskRows, metric: str) -> UserError:
    return UserError(
        f"None of the {len(found.rows)} samples of {found.task} counts for {metric or 'a metric'}."
    )


def _definition(known: Benchmark, earned: Earned) -> dict[str, Any]:
    """What the record says of a benchmark that the registry doesn't have, as a run of ours says it."""
    if is_lmms_evals(known.task):
        from pdrop_eval.benchmarks.numbers_definition import definition_of_numbers

        said = definition_of_numbers(info_of_task(known.task), earned.rule, earned.scale)
    else:
        said = definition_of(known)
    return {} if said is None else {"definition": said}


def _made(
    found: TaskRows, questions: Sequence[Question] | None, items: Items | None
) -> list[Mapping[str, Any]] | None:
    """What lmms-eval's metric says of answers; None where the rows have scores already."""
    if found.scored_by is not None:
        return None
    if items is None or questions is None:
        raise UserError(
            f"The rows of {found.task} have answers and no scores ({found.rows[0].place}). Give the suite "
            "whose questions they answer, suite=mini: lmms-eval's own metric then scores them; or a column "
            "`score`."
        )
    lacking = [row.place for row in found.rows if row.answer is None]
    if lacking:
        raise UserError(
            f"{lacking[0]}: there is no answer, and no score. Give one of them for each question."
        )
    return items(found.rows, questions)


def _sample(
    place: int, row: Row, mark: Mapping[str, Any] | None, questions: Sequence[Question] | None
) -> dict[str, Any]:
    question = questions[place] if questions else None
    doc_id = question.doc_id if question is not None else row.doc_id
    content = question.content_sha256 if question is not None else row.content_sha256
    pixels = question.images_sha256 if question is not None else row.images_sha256
    return {
        "doc_id": place if doc_id is None else doc_id,
        **({} if row.question_id is None else {"question_id": row.question_id}),
        "prompt": row.question or (question.prompt if question is not None else ""),
        "target": question.target if question is not None else row.target,
        "answer": "" if row.answer is None else row.answer,
        **({} if row.said is None else {"said": row.said}),
        **({"score": None} if mark is None else mark),
        **({} if content is None else {"content_sha256": content}),
        **({} if pixels is None else {"images_sha256": pixels}),
    }


def _pairs_by(rows: Sequence[Row], questions: Sequence[Question] | None) -> list[str]:
    """By what its questions can be told from others, the surest first."""
    ways = {
        CONTENT: questions is not None or all(row.content_sha256 is not None for row in rows),
        DOC_ID: questions is not None or all(row.doc_id is not None for row in rows),
        QUESTION_ID: all(row.question_id is not None for row in rows),
    }
    return [way for way, known in ways.items() if known]


def _units_known(rows: Sequence[Row], questions: Sequence[Question] | None) -> bool:
    return questions is not None or all(row.pictures is not None for row in rows)


def _check_claim(found: TaskRows, known: Benchmark, counted: Sequence[Mapping[str, Any]]) -> None:
    """Refuses samples that don't give the score that the log has of them."""
    if found.claimed is None or known.scoring == "circular_mean":  # MMBench may have asked a judge
        return
    if known.scoring == "category_f1":  # lmms-eval's is of all questions together
        counted = [{name: value for name, value in one.items() if name != "part"} for one in counted]
    value, claimed = known.rule.score(counted), found.claimed * known.factor
    if abs(value - claimed) > _NEAR * max(1.0, abs(claimed)):
        raise UserError(
            f"The samples of {found.task} give {value:.4f}, and the results say {claimed:.4f}: the files are "
            "of two runs, or were changed. Import the files of one run."
        )
