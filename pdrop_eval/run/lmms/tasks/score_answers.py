"""Scores answers that were made anywhere by lmms-eval's own metrics, as an evaluation does.

from pdrop_eval import score

print(score("gqa", answers, limit=len(answers)))
"""

import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.run.config.spec import RunSpec
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_whole


@dataclass(frozen=True)
class TaskScore:
    """A score as a record has it.

    Attributes:
        task: lmms-eval's name of the benchmark.
        metric: lmms-eval's name of the metric.
        value: the score, on a scale of 0 to 100; MME's is a sum.
        stderr: its standard error, by a bootstrap of what belongs together; None with fewer than two units.
        n: questions.
        clusters: units that were resampled: images, for most benchmarks.
        parts: scores of parts, such as MME's categories.
        interval: the 95% interval, within the scale; None where the bootstrap sees no difference.
    """

    task: str
    metric: str
    value: float
    stderr: float | None
    n: int
    clusters: int
    parts: Mapping[str, float]
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        many = "question" if self.n == 1 else "questions"
        if self.interval is None:
            return f"{self.task}: {self.value:.1f} {self.metric} of {self.n} {many}, no interval"
        low, high = self.interval
        words = f"95% interval {low:.1f} to {high:.1f}"
        return f"{self.task}: {self.value:.1f} {self.metric} of {self.n} {many}, {words}"


def score(
    task: str, answers: Iterable[str], *, suite: str = "mini", data_root: str | Path | None = None,
    limit: int | None = None,
) -> TaskScore:  # fmt: skip
    """Return what answers to a benchmark's questions earn by lmms-eval's own metric.

    Args:
        task: lmms-eval's name, such as "gqa".
        answers: one text for each question, in the order of the data.
        suite: "mini", whose questions `pdrop_eval.benchmarks.rendered.suite.render` gives, "paper", or
            another file of `conf/suite`.
        data_root: a folder with data of your own; None: the suite's.
        limit: the answers are to the first so many questions; None: to all.

    Raises:
        UserError: an unknown task or suite, one that a judge has to score, other than one text for each
            question, and data that can't be read.
    """
    given = _texts(answers)
    config = _config(task, suite, data_root, limit)
    with quiet_lmms_eval(config), tempfile.TemporaryDirectory() as scratch:
        return _scored(config, task, given, Path(scratch))


def score_folder(
    folder: str | Path, metric: str, answers: Iterable[str], *, limit: int | None = None,
) -> TaskScore:  # fmt: skip
    """Return what answers to questions of your own earn; `docs/own_data.md` says what the folder holds.

    Args:
        folder: with data.jsonl, data.csv or data.parquet.
        metric: "exact_match", "anls", ...
        answers: one text for each question, in the order of the data.
        limit: the answers are to the first so many questions; None: to all.

    Raises:
        UserError: data that can't be used, a metric that doesn't fit them, and other than one text for each
            question.
    """
    from dataclasses import replace

    from pdrop_eval.run.config.own_data import own_suite
    from pdrop_eval.run.config.spec import DataSpec, SuiteSpec, compose_spec
    from pdrop_eval.run.config.typed import make_typed

    given = _texts(answers)
    if limit is not None:
        check_whole("limit", limit, 1, "Use limit=None for all questions.")
    data = DataSpec(folder=str(folder), metric=metric)
    suite = make_typed(SuiteSpec, own_suite(data, None) or {}, "suite")
    config = replace(compose_spec(), suite=suite, data=data, limit=limit)
    with quiet_lmms_eval(config), tempfile.TemporaryDirectory() as scratch:
        return _scored(config, suite.name, given, Path(scratch))


def _texts(answers: Iterable[str]) -> list[str]:
    if isinstance(answers, (str, bytes, Mapping)) or not isinstance(answers, Iterable):
        raise UserError(
            f"answers is of type {type(answers).__name__}. Give a list with one text for each question, in "
            "the order of the data."
        )
    given = list(answers)
    for place, answer in enumerate(given):
        if not isinstance(answer, str):
            raise UserError(
                f"answers[{place}]={answer!r} is of type {type(answer).__name__}, not a text. Give each "
                "answer as the model's text, decoded; one that is missing is ''."
            )
    return given


def _config(task: str, suite: str, data_root: str | Path | None, limit: int | None) -> RunSpec:
    """The settings that an evaluation of the task would have; the task and the limit are checked."""
    from dataclasses import replace

    from pdrop_eval.benchmarks.task_files import describe
    from pdrop_eval.run.config.checks import check_tasks
    from pdrop_eval.run.config.spec import DataSpec, compose_spec

    if limit is not None:
        check_whole("limit", limit, 1, "Use limit=None for all questions.")
    config = compose_spec([f"suite={suite}"])
    check_tasks([task], list(config.suite.tasks), config.suite.name, limit)
    if describe(task, config.suite.source).judge:
        raise UserError(
            f"{task} is scored by a language model, not by a metric: evaluate it with pdrop-eval and "
            "judge.model=<name>."
        )
    return replace(config, limit=limit, data=DataSpec(None if data_root is None else str(data_root)))


@contextmanager
def quiet_lmms_eval(config: RunSpec) -> Iterator[None]:
    """Keep lmms-eval and the progress bars of its data off the screen."""
    import datasets

    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    shown = datasets.utils.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        with quiet(config.suite.source == "hub"):
            yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _scored(config: RunSpec, name: str, answers: list[str], scratch: Path) -> TaskScore:

    from pdrop_eval.benchmarks.own.task import data_of
    from pdrop_eval.benchmarks.sample_errors import guard
    from pdrop_eval.run.lmms.open import task_folder
    from pdrop_eval.run.lmms.tasks.task_runner import command_line, load_task, score_rows, task_manager

    try:
        data = data_of(config.suite, config.data, [name])
    except UserError as error:  # it speaks of an evaluation's settings
        raise UserError(
            str(error).replace("data.root=null", "it out").replace("data.root", "data_root")
        ) from error
    info, folder = task_folder(data, config.suite, name, scratch)
    task: Any = load_task(task_manager(folder), info)
    guard(task, name)
    docs = task.eval_docs_no_media
    _check_number(name, len(answers), len(docs), config.limit)
    task.build_all_requests(limit=len(answers))
    requests = sorted(task.instances, key=lambda request: request.doc_id)
    for request, answer in zip(requests, answers, strict=True):
        request.resps = [answer]
    task.apply_filters()
    pictures = [_images(info, task, request) for request in requests]
    if info.installed:
        return _installed(info, task, requests, pictures, config)
    rows = []
    for request in requests:
        doc = docs[request.doc_id]
        (filtered,) = request.filtered_resps.values()
        rows.append({"doc": doc, **task.process_results(doc, [filtered])})
    paths: Namespace = command_line(scratch)
    found = score_rows(info, task, rows, pictures, config.bootstrap, config.seed, paths)
    interval = _interval(info.scoring, found.value, found.stderr)
    return TaskScore(
        name, info.metric, found.value, found.stderr, found.n, found.clusters, found.parts, interval
    )


def _installed(info: Any, task: Any, requests: Any, pictures: list[str], config: RunSpec) -> TaskScore:
    """The score of a task that runs from lmms-eval's own files."""
    from pdrop_eval.benchmarks.judging.asks import Replies
    from pdrop_eval.run.lmms.tasks.installed_scoring import score_installed

    said = [(request.doc_id, [next(iter(request.filtered_resps.values()))]) for request in requests]
    own = score_installed(info, task, said, pictures, Replies(), config.bootstrap, config.seed)
    found = own.score
    if found is None:
        raise UserError(
            f"{info.task} is scored by a language model, not by a metric: evaluate it with pdrop-eval and "
            "judge.model=<name>."
        )
    rule = (own.definition or {}).get("scoring", info.scoring)
    interval = _interval(rule, found.value, found.stderr) if rule == "mean" else None
    return TaskScore(
        info.task, own.metric, found.value, found.stderr, found.n, found.clusters, found.parts, interval
    )


def _check_number(task: str, given: int, there: int, limit: int | None) -> None:
    asked = there if limit is None else min(limit, there)
    if given != asked or not given:
        first = "" if asked == there else f" (limit={limit} of {there})"
        fix = f", or limit={given} if they are to the first ones" if 0 < given < there else ""
        raise UserError(
            f"len(answers)={given} is not allowed: {task} has {asked} question{'s' * (asked > 1)}{first}. "
            f"Give an answer to each{fix}."
        )


def _images(info: Any, task: Any, request: Any) -> str:
    """A name for the pictures of a question, where those about the same ones are drawn together."""
    from pdrop_eval.benchmarks.registry import IMAGES
    from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS, VALUE_ERRORS, unreadable
    from pdrop_eval.models.pictures.images import pictures_of
    from pdrop_eval.utils.code.hashing import content_hashes

    if info.cluster != IMAGES:
        return ""
    _, _, doc_to_visual, doc_id, name, split = request.args
    try:
        return content_hashes("", pictures_of(task.dataset[split][doc_id], doc_to_visual))[1]
    except (*PICTURE_ERRORS, *VALUE_ERRORS) as error:
        raise unreadable(f"task {name}, sample {doc_id}", "read", error) from error


def _interval(scoring: str, value: float, stderr: float | None) -> tuple[float, float] | None:
    from pdrop_eval.benchmarks.scoring.interval import interval_95
    from pdrop_eval.benchmarks.scoring.rules import score_range

    return interval_95(value, stderr, *score_range(scoring))
