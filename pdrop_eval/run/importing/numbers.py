"""What the items of a task of lmms-eval's own files come to, by the rule that a run of ours finds.

Where the items are numbers and the log says their mean, that is read from them. Elsewhere lmms-eval's own
function is called; only then is it imported.
"""

import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

from pdrop_eval.benchmarks.installed.items import Number, Numbers, numbers_of, on_its_own
from pdrop_eval.benchmarks.installed.probes import same_number
from pdrop_eval.benchmarks.registry import Benchmark
from pdrop_eval.run.importing.benchmarks import info_of_task, is_lmms_evals, is_mean
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import is_finite_number

Aggregate = Callable[[list[Any]], float]


def numbers_of_log(known: Benchmark, metric: str, items: Sequence[Any], claimed: float | None) -> Numbers:
    """Return what items come to.

    Args:
        known: The benchmark.
        metric: lmms-eval's name of it.
        items: Of each question that counts, what lmms-eval's `process_results` gave.
        claimed: The number that the log says; None where it says none.

    Raises:
        UserError: lmms-eval's function fails on them, or they don't give what the log says.
    """
    task = known.task
    if not is_lmms_evals(task):  # known from a run alone
        return _of_a_run(known, items)
    field = known.item if all(isinstance(item, dict) for item in items) else None
    plain = is_mean(task, metric)
    flat = [item.get(field) if field else item for item in items]
    whole: list[float | None] = []
    if _are_numbers(flat) and _told_by(flat, plain, claimed):
        aggregate: Number = lambda _: claimed  # noqa: E731
        probing: Any = nullcontext
    else:
        from pdrop_eval.run.lmms.tasks.installed_scoring import nobody_answers as probing

        aggregate = _remembering(task, metric, whole)
    try:
        found = numbers_of(items, aggregate, field, plain, probing)
    except (AttributeError, TypeError, LookupError, ValueError, ArithmeticError) as error:
        raise UserError(
            f"lmms-eval's own function of {metric} makes no number of the items of {task} in the log "
            f"({type(error).__name__}: {error}). Have the answers scored instead: a table of doc_id and "
            "answer (kind=table), with suite=paper."
        ) from error
    said = {fmean(map(float, flat)), 100 * fmean(map(float, flat))} if _are_numbers(flat) else set()
    _check(task, claimed, [*said, *(one for one in whole[:1] if one is not None)])
    return found


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, bool) or is_finite_number(value) for value in values)


def _told_by(values: Sequence[Any], plain: bool, claimed: float | None) -> bool:
    """Whether the log's own number tells that it is the mean. Where all earned the same, it tells nothing."""
    if plain:
        return True
    if claimed is None or len({float(value) for value in values}) == 1:
        return False
    mean = fmean(map(float, values))
    return any(same_number(claimed, factor * mean) for factor in (1, 100))


def _check(task: str, claimed: float | None, given: Sequence[float]) -> None:
    """Refuses samples that don't give the score that the log has of them."""
    if claimed is not None and given and not any(same_number(claimed, one) for one in given):
        raise UserError(
            f"The samples of {task} give {given[-1]:.4f}, and the results say {claimed:.4f}: the files are "
            "of two runs, or were changed. Import the files of one run."
        )


def _of_a_run(known: Benchmark, items: Sequence[Any]) -> Numbers:
    """The numbers of a benchmark of which nothing is known but what a run's record says."""
    if not _are_numbers(items) or known.scoring not in ("mean", "own_mean"):
        raise UserError(
            f"The items of {known.task} are summed up by lmms-eval's own function, and its files aren't "
            "here. Name them: include_path=<folder of the task's YAML>."
        )
    values = [float(item) for item in items]
    if known.scoring == "own_mean":
        return Numbers("own_mean", known.scale, values, fmean(values))
    top = 100.0 if max(values) > 1 else 1.0
    return Numbers("mean", known.scale, [value / top for value in values], 100 * fmean(values) / top)


def _remembering(task: str, metric: str, whole: list[float | None]) -> Number:
    """lmms-eval's function of a metric; what it says of all items, its first call, is kept."""
    from pdrop_eval.benchmarks.judging.asks import NeedsJudge, Replies, caught
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    function = on_its_own(_named(task, metric))

    def call(items: list[Any]) -> float | None:
        try:
            with quiet(truncated_images=False), caught(Replies()):
                value = function(items)
        except NeedsJudge:
            raise UserError(
                f"{metric} of {task} is a language model's opinion, and the log has none for each question. "
                "Leave the task out: tasks=[...]."
            ) from None
        whole.append(value)
        return value

    return call


def aggregation_of(task: str) -> Aggregate:
    """Return lmms-eval's aggregation of a registered task's metric, which is looked up when first called."""
    found: list[Aggregate] = []

    def aggregate(items: list[Any]) -> float:
        if not found:
            found.append(_with_paths(_named(task, info_of_task(task).metric)))
        return float(found[0](items))

    return aggregate


def _named(task: str, metric: str) -> Callable[..., Any]:
    """The function of a metric that the task's files name; the data aren't needed for it."""
    from pdrop_eval.benchmarks.task_files import materialise
    from pdrop_eval.run.lmms.tasks.installed_scoring import importing
    from pdrop_eval.run.lmms.tasks.task_runner import quiet

    info = info_of_task(task)
    with quiet(truncated_images=False), tempfile.TemporaryDirectory() as scratch, importing(online=False):
        from lmms_eval.api.registry import get_aggregation, get_metric_aggregation
        from lmms_eval.utils import load_yaml_config

        folder = materialise(info, "hub", Path(scratch), None, None, ocr=False)
        config: Mapping[str, Any] = load_yaml_config(yaml_path=str(folder / f"{task}.yaml"), mode="full")
        metrics = {one["metric"]: one.get("aggregation") for one in config["metric_list"]}
        named = metrics.get(metric)
        function = get_aggregation(named) if isinstance(named, str) else named
        if function is None and metric in metrics:
            function = get_metric_aggregation(metric)
    if not callable(function):
        raise UserError(f"lmms-eval's files of {task} name no function that sums up {metric}.")
    return function


def _with_paths(function: Callable[..., Any]) -> Aggregate:
    """The function, given lmms-eval's command line where it asks for it."""
    if "args" not in inspect.signature(function).parameters:
        return function

    def with_paths(items: list[Any]) -> float:
        from pdrop_eval.run.lmms.tasks.task_runner import command_line, quiet

        with quiet(truncated_images=False), tempfile.TemporaryDirectory() as submission:
            return float(function(items, args=command_line(submission)))

    return with_paths
