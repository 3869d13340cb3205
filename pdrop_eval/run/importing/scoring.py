"""The score of rows by the benchmark's own rule, and the samples of the record."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pdrop_eval.benchmarks.registry import Benchmark, registered_by_task
from pdrop_eval.records.imported import CONTENT, DOC_ID, IMPORTED, QUESTION_ID
from pdrop_eval.run.importing.questions import Items, Question
from pdrop_eval.run.importing.source import Row, TaskRows, unit_score
from pdrop_eval.utils.errors import UserError

# What a rule needs to know of each question: the column of lmms-eval's data that names its part.
PARTS = {"category_f1": "category", "pair_sum": "category", "group_mean": "l2_category"}
_NEAR = 1e-6
_STORED = ("score", "cluster", "part")
_HOW = "like=<folder of a run> or suite=<name> says it"

Aggregate = Callable[[list[Any]], float]
Marks = list[dict[str, Any] | None]  # of each row; None where it doesn't count


def score_task(
    found: TaskRows, questions: Sequence[Question] | None, items: Items | None, aggregate: Aggregate,
    resamples: int, seed: int,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """Return the record's entry of a task, and its samples in order.

    Args:
        found: The rows.
        questions: Of each row, the benchmark's question; None where they aren't known.
        items: Has answers scored by lmms-eval's metric; None where the questions' data aren't there.
        aggregate: lmms-eval's own aggregation of items.
        resamples: Draws of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        UserError: The rows don't say enough for the benchmark's rule, or not what the log says they give.
    """
    from pdrop_eval.benchmarks.scoring.score import standard_error

    known = registered_by_task()[found.task]
    rows, scored_by = list(found.rows), found.scored_by
    made = None if any(row.item is not None for row in rows) else _made(found, questions, items)
    if made is not None:
        scored_by = "lmms-eval's metric, run on these answers by pdrop-eval"
    given = made or [row.item for row in rows]
    if any(one is not None for one in given):
        marks = _by_items(known, rows, questions, given, aggregate)
    else:
        marks = _by_scores(known, rows, questions)
    samples = [
        _sample(place, row, mark, questions)
        for place, (row, mark) in enumerate(zip(rows, marks, strict=True))
    ]
    samples.sort(key=lambda sample: sample["doc_id"])
    counted = [sample for sample in samples if sample["score"] is not None]
    if not counted:
        raise UserError(f"None of the {len(rows)} samples of {found.task} counts for {known.metric}.")
    tally = known.rule.tally(counted)
    _check_claim(found, known, counted)
    entry = {
        "benchmark": known.key,
        "metric": known.metric,
        "status": "scored",
        "score": tally.value,
        "stderr": standard_error(tally, resamples, seed),
        "n": len(counted),
        "clusters": len(tally.sums),
        "parts": known.rule.parts(counted),
        "scale": "sum" if known.scale == "sum" else "0-100",
        "higher_is_better": known.direction == "higher",
        IMPORTED: {
            "scored_by": scored_by,
            "pairs_by": _pairs_by(rows, questions),
            "pictures_known": _units_known(rows, questions),
            "unconfirmed": found.unconfirmed or None,
            "claimed": found.claimed,
        },
    }
    return entry, samples


def _made(found: TaskRows, questions: Sequence[Question] | None, items: Items | None) -> list[Any] | None:
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


def _by_items(
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


def _by_scores(known: Benchmark, rows: Sequence[Row], questions: Sequence[Question] | None) -> Marks:
    """What each row earned, as its file says, in the form that the rule reads."""
    from pdrop_eval.benchmarks.scoring.tally import number

    marks: list[dict[str, Any]] = []
    units = []
    for place, row in enumerate(rows):
        question = questions[place] if questions else None
        if row.score is None:
            raise UserError(f"{row.place}: there is no score. Give each question one, or none of them.")
        marks.append({"score": row.score, **_part(known, row, question)})
        units.append(_own_unit(known, row, question, place))
        if known.scoring == "category_f1":
            _check_plain(known, row, question)
    return [{**mark, "cluster": unit} for mark, unit in zip(marks, number(units).tolist(), strict=True)]


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
