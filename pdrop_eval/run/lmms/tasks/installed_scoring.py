"""Scores the answers to a task that runs from lmms-eval's own files, by lmms-eval's own functions.

The answers come first and are kept; this follows, at once or, where a language model has to be asked, with
the next command that has a judge.
"""

import contextlib
import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

from pdrop_eval.benchmarks.installed import stand_ins
from pdrop_eval.benchmarks.installed.items import (
    PERCENT,
    NoNumberError,
    Numbers,
    numbers_of,
    on_its_own,
)
from pdrop_eval.benchmarks.installed.kinds import SUBMISSION
from pdrop_eval.benchmarks.judging.asks import Asked, NeedsJudge, NoReplyError, RefusedError, Replies, caught
from pdrop_eval.benchmarks.numbers_definition import definition_of_numbers
from pdrop_eval.benchmarks.registry import IMAGES
from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.benchmarks.scoring.score import Score, score
from pdrop_eval.benchmarks.task_files import TaskInfo
from pdrop_eval.utils.errors import UserError

_AT_ONCE = 8  # questions that wait for the judge at the same time
_ROUNDS = 20  # in which a question of a task leads to another one
_GUESS = "It could be one thing or another: the picture doesn't say."  # an answer that no rule can read


@dataclass(frozen=True)
class Scored:
    """What answers earned.

    Attributes:
        score: On the record's scale; None where a judge is needed.
        numbers: lmms-eval's own, by metric, in its units.
        metric: lmms-eval's name of the metric.
        higher_is_better: Of the metric.
        definition: What the record says of a benchmark that the registry doesn't have.
    """

    score: Score | None
    numbers: dict[str, float]
    metric: str
    higher_is_better: bool
    definition: dict[str, Any] | None


def score_installed(
    info: TaskInfo, task: Any, answers: Sequence[tuple[int, Sequence[str]]], pictures: Sequence[str],
    replies: Replies, resamples: int, seed: int,
) -> Scored:  # fmt: skip
    """The score of answers. To be called under `task_runner.quiet`.

    Args:
        info: the task.
        task: lmms-eval's, with its data.
        answers: of each question its id, and the answers to it.
        pictures: of each question a name of its images.
        replies: what a language model has said, and who is asked what is missing; without anyone, a score
            that needs it is None.
        resamples: draws of the bootstrap.
        seed: of the bootstrap.

    Raises:
        UserError: lmms-eval's functions fail, or none of the questions counts.
    """
    if info.judge and replies.ask is None:
        return _unscored(info, task)
    docs = task.eval_docs_no_media
    try:
        with caught(replies), _failing(info.task):
            found = _processed(task, [(docs[doc_id], list(said)) for doc_id, said in answers], replies)
            if replies.ask is None and _would_ask(task, docs, replies):
                return _unscored(info, task)
            return _scored(
                info, task, found, docs, [doc_id for doc_id, _ in answers], pictures, resamples, seed
            )
    except NeedsJudge:
        return _unscored(info, task)
    except NoReplyError as failed:
        raise failed.error from failed


def check_answers(task: Any) -> None:
    """Refuses data whose first answer can't be scored, before all questions are asked."""
    docs = task.eval_docs_no_media
    if len(docs):
        with contextlib.suppress(NeedsJudge), caught(Replies()):
            task.process_results(docs[0], ["A"])


def _processed(task: Any, rows: Sequence[tuple[Any, list[str]]], replies: Replies) -> list[dict[str, Any]]:
    """What lmms-eval makes of each answer. A judge is asked about several at once. Raises NeedsJudge."""
    if replies.ask is None:
        return [dict(task.process_results(doc, said)) for doc, said in rows]
    found: dict[int, dict[str, Any]] = {}
    ask, collecting = replies.ask, Replies(replies.known, None, replies.online)
    for _ in range(_ROUNDS):
        collecting.open.clear()
        with caught(collecting):
            for place, (doc, said) in enumerate(rows):
                asked = len(collecting.open)
                if place not in found:
                    with contextlib.suppress(NeedsJudge):
                        made = dict(task.process_results(doc, said))
                        if len(collecting.open) == asked:  # what a task swallows is open all the same
                            found[place] = made
        if not collecting.open:
            break
        _ask_all(collecting.open, replies, ask)
    return [
        found[place] if place in found else dict(task.process_results(*row)) for place, row in enumerate(rows)
    ]


def _ask_all(asked: Sequence[Asked], replies: Replies, ask: Any) -> None:
    unique = {one.key: one for one in asked}

    def one(question: Asked) -> None:
        replies.known[question.key] = ask(question)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(one, unique.values()))


def _would_ask(task: Any, docs: Any, replies: Replies) -> bool:
    """Whether a language model is asked about an answer that rules can't read, though none was here."""
    if replies.open:
        return True
    for place in range(min(3, len(docs))):
        with contextlib.suppress(Exception, NeedsJudge):  # only what it asks is of interest
            task.process_results(docs[place], [_GUESS])
    return bool(replies.open)


def _scored(
    info: TaskInfo, task: Any, found: Sequence[dict[str, Any]], docs: Any, ids: Sequence[int],
    pictures: Sequence[str], resamples: int, seed: int,
) -> Scored:  # fmt: skip
    metric = _metric(info, task, found)
    chosen = [place for place, made in enumerate(found) if metric in made]
    if not chosen:
        raise UserError(
            f"None of the {len(found)} questions of {info.task} that were asked counts for {metric}. Use a "
            "larger limit, or limit=null."
        )
    aggregation = task.aggregation()
    items = [found[place][metric] for place in chosen]
    numbers = _numbers(info, metric, items, aggregation[metric])
    names = [pictures[place] for place in chosen]
    if info.cluster != IMAGES:
        names = [str(docs[ids[place]][info.cluster]) for place in chosen]
    made = _spread(_score(numbers, len(items), names, resamples, seed), chosen, len(found))
    better = task.higher_is_better().get(metric) is not False
    return Scored(made, _all_numbers(aggregation, found), metric, better, _definition(info, numbers))


def _numbers(info: TaskInfo, metric: str, items: list[Any], function: Any) -> Numbers:
    try:
        return numbers_of(items, on_its_own(function), info.item, _is_mean(function), nobody_answers)
    except NoNumberError as error:
        raise UserError(
            f"{info.task} has no score: {error} ({metric} of {len(items)} answers). The answers are kept. "
            "Ask more questions, with a larger limit, or leave the task out with tasks=[...]."
        ) from error


@contextlib.contextmanager
def nobody_answers() -> Iterator[None]:
    """Within it, what asks a language model ends at once, without an error."""
    with contextlib.suppress(NeedsJudge), caught(Replies()):
        yield


def _unscored(info: TaskInfo, task: Any) -> Scored:
    metric = _metric(info, task, [])
    return Scored(None, {}, metric, task.higher_is_better().get(metric) is not False, _definition(info, None))


def _metric(info: TaskInfo, task: Any, found: Sequence[dict[str, Any]]) -> str:
    """The registered metric, else lmms-eval's first that is no file for a server and that questions have."""
    names = [name for name in task.aggregation() if SUBMISSION not in str(name)]
    if info.metric:
        return info.metric
    there = [name for name in names if any(name in made for made in found)]
    return str((there or names or [""])[0])


def _score(numbers: Numbers, n: int, names: Sequence[str], resamples: int, seed: int) -> Score:
    if numbers.scores is None:
        return Score(numbers.value, None, n, 1, {}, tuple({"score": None} for _ in range(n)))
    factor = 1.0 if numbers.rule == "own_mean" else 100.0
    rule = scoring_rule(numbers.rule)
    return score(rule, numbers.scores, [{}] * n, names, fmean, factor, resamples, seed)


def _spread(made: Score, chosen: Sequence[int], n: int) -> Score:
    """The same with a row for every question, also for those that don't count."""
    rows: list[dict[str, Any]] = [{"score": None} for _ in range(n)]
    for place, row in zip(chosen, made.rows, strict=True):
        rows[place] = row
    return Score(made.value, made.stderr, made.n, made.clusters, made.parts, tuple(rows))


def _all_numbers(aggregation: dict[str, Any], found: Sequence[dict[str, Any]]) -> dict[str, float]:
    """lmms-eval's own numbers, in its units; those that can't be made are left out."""
    numbers = {}
    for name, function in aggregation.items():
        items = [made[name] for made in found if name in made]
        if items and SUBMISSION not in str(name):
            with contextlib.suppress(Exception):
                value = on_its_own(function)(items)
                if value is not None:
                    numbers[str(name)] = value
    return numbers


def _is_mean(function: Any) -> bool:
    """Whether an aggregation is lmms-eval's plain mean."""
    return getattr(function, "__name__", "") == "mean" and "lmms_eval.api" in getattr(
        function, "__module__", ""
    )


def _definition(info: TaskInfo, numbers: Numbers | None) -> dict[str, Any] | None:
    rule, scale = (numbers.rule, numbers.scale) if numbers else ("mean", PERCENT)
    return definition_of_numbers(info, rule, scale)


@contextlib.contextmanager
def importing(online: bool) -> Iterator[None]:
    """Within it, lmms-eval's task files are imported and their data read; a task that asks a server fails.

    Raises:
        UserError: a package is missing.
    """
    lends = "Levenshtein" not in sys.modules and find_spec("Levenshtein") is None
    if lends:  # only for as long as a task takes what it needs of it
        sys.modules["Levenshtein"] = importlib.import_module(f"{stand_ins.__name__}.levenshtein")
    try:
        with caught(Replies(online=online, loading=True)):
            yield
    except (NeedsJudge, RefusedError) as error:
        raise UserError(
            f"The task can't be loaded without the network: {error}. Leave it out with tasks=[...]."
        ) from error
    finally:
        if lends:
            sys.modules.pop("Levenshtein", None)


def as_an_answer(doc: Any, results: Any, **settings: Any) -> dict[str, Any]:
    """In the place of a task's `process_results` while it is only answered."""
    return {}


def _said(error: Exception) -> str:
    """An error in words; of one without any, the line that raised it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f"{Path(frame.filename).name}, line {frame.lineno}: {frame.line}" for frame in last)
    return f"{type(error).__name__}: {str(error).strip() or where}"


@contextlib.contextmanager
def _failing(task: str) -> Iterator[None]:
    """Says of what lmms-eval's functions raise that the scoring fails, and answers are kept."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"lmms-eval's own scoring of {task} fails: {_said(error)}. The answers are "
            "kept; the same command scores them again. Check the data, or leave it out with tasks=[...]."
        ) from error
