"""Runs one task through lmms-eval and turns what comes back into a result and samples for the record."""

import argparse
import contextlib
import inspect
import io
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import ImageFile
from tenacity import RetryError
from tqdm import tqdm

from pdrop_eval.benchmarks.installed.items import OWN
from pdrop_eval.benchmarks.judging.asks import Replies
from pdrop_eval.benchmarks.registry import IMAGES
from pdrop_eval.benchmarks.sample_errors import (
    aggregating,
    called,
    check_scorable,
    damaged,
    guard,
    guarded,
    unreadable,
)
from pdrop_eval.benchmarks.scoring.score import Score, score
from pdrop_eval.benchmarks.subset import Subset, choose
from pdrop_eval.benchmarks.task_files import TaskInfo
from pdrop_eval.run.lmms.answer_log import AnswerLog
from pdrop_eval.run.lmms.measurement import Measurement, Usage, mean_per_layer, mean_tflops
from pdrop_eval.run.lmms.tasks.installed_scoring import (
    Scored,
    as_an_answer,
    check_answers,
    importing,
    score_installed,
)
from pdrop_eval.utils.distributed import gather, main_process_first, rank
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.collecting import collect_as_usual
from pdrop_eval.utils.text.redact import redact
from pdrop_eval.utils.validation import is_finite_number


def run_task(
    model: Any, info: TaskInfo, folder: Path, answers: AnswerLog, *, limit: int | None, seed: int,
    resamples: int, tflops: Callable[[Sequence[int]], float], truncated_images: bool = False,
    subset: str | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """Evaluates a `PdropLlava` on one task. Returns the record's entry for the task and its samples.

    Of several processes, only the first one returns them; the others return nothing.

    `folder` holds the task's YAML (see `task_files.materialise`); the model writes to `answers`; `tflops`
    maps image tokens per layer to TFLOPs; `subset` names a fixed choice of questions; `truncated_images` lets
    an image file that ends too early pass, as lmms-eval does.
    """
    started = time.perf_counter()
    with quiet(truncated_images), tempfile.TemporaryDirectory() as scratch:
        # lmms-eval's tasks write files for submission; they go where nobody has to look at them
        paths = command_line(scratch)
        with model.writing_to(answers):
            task, output, chosen = ask(model, info, folder, limit, seed, paths, subset)
        measurements, usage = _of_all_processes(answers, info.task)
        batch_size = min(gather(model.batch_size))  # of a single process also None: not known
        if rank() > 0:  # lmms-eval has told only the first process
            return {}, []
        rows = _rows(output["samples"][info.task])
        measured = [measurements[info.task, row["doc_id"]] for row in rows]
        pictures = [one.images_sha256 for one in measured]
        if info.installed:
            said = [(row["doc_id"], row["filtered_resps"]) for row in rows]
            own = score_installed(info, task, said, pictures, Replies(), resamples, seed)
            result, told = own.score, entry_of(info, own, len(rows))
        else:
            result = None if info.judge else score_rows(info, task, rows, pictures, resamples, seed, paths)
            told = {
                "metric": info.metric,
                **(scored_entry(result) if result else unscored_entry(len(rows))),
                "scale": info.record_scale,
                "higher_is_better": output["higher_is_better"][info.task][info.metric],
                "metrics": _metrics(output, info.task),
            }
    entry = {
        "benchmark": info.benchmark,
        **told,
        "batch_size": batch_size,
        "wall_seconds": time.perf_counter() - started,
        "usage": usage.to_dict(),
        **({"subset": {"name": chosen.name, "ids_sha256": chosen.ids_sha256}} if chosen else {}),
        **_efficiency(measured, tflops),
    }
    samples = _samples(info, rows, measured, result)
    if chosen:  # lmms-eval knows no other questions
        samples = [{**sample, "doc_id": chosen.places[sample["doc_id"]]} for sample in samples]
    return entry, samples


def command_line(scratch: str | Path) -> argparse.Namespace:
    """What lmms-eval's tasks read of its command line; their files go to `scratch`."""
    return argparse.Namespace(output_path=str(scratch), process_with_media=False, reasoning_tags=None)


def ask(
    model: Any, info: TaskInfo, folder: Path, limit: int | None, seed: int, paths: argparse.Namespace,
    subset: str | None = None,
) -> tuple[Any, dict, Subset | None]:  # fmt: skip
    """Asks any lmms-eval model a task's questions.

    Returns the task, what lmms-eval makes of the answers, and the questions of the subset, if there is one.

    To be called under `quiet`; `paths` is lmms-eval's command line.
    """
    from lmms_eval.evaluator import simple_evaluate

    manager = task_manager(folder, getattr(model, "prompts_of", None))
    task = main_process_first(lambda: load_task(manager, info))
    guard(task, info.task)
    chosen = None if subset is None else _narrow(task, info, subset)
    if info.installed:
        check_answers(task)
        task.process_results = as_an_answer  # scored when all answers are there
    else:
        check_scorable(task)
    collect_as_usual()
    with aggregating(f"task {info.task}"):
        output = simple_evaluate(
            model=model, tasks=[task], task_manager=manager, limit=limit, bootstrap_iters=0, cli_args=paths,
            random_seed=seed, numpy_random_seed=seed, torch_random_seed=seed, fewshot_random_seed=seed,
            process_docs_parallel=1, distributed_executor_backend="torchrun",
        )  # fmt: skip
    if info.installed:
        del task.process_results  # the task's own again
        guard(task, info.task)
    return task, output, chosen


def _narrow(task: Any, info: TaskInfo, subset: str) -> Subset:
    """Leaves a task the questions of a subset."""
    chosen = choose(info, subset, list(task.eval_docs_no_media))
    for data in (task.dataset, task.dataset_no_image):
        if len(data[info.split]) != len(chosen.places):
            data[info.split] = data[info.split].select(list(chosen.places))
    return chosen


def task_manager(folder: Path, model: str | None = None) -> Any:
    """Return lmms-eval's manager of the tasks of a folder; tasks may have prompts for a model's name."""
    from lmms_eval.tasks import TaskManager

    return TaskManager(include_path=str(folder), include_defaults=False, model_name=model)


def scored_entry(result: Score) -> dict[str, Any]:
    """What a record says of a score."""
    return {
        "status": "scored",
        "score": result.value,
        "stderr": result.stderr,
        "n": result.n,
        "clusters": result.clusters,
        "parts": result.parts,
    }


def unscored_entry(n: int) -> dict[str, Any]:
    """What a record says of answers that wait for a judge."""
    nothing: dict[str, Any] = {"score": None, "stderr": None, "clusters": None, "parts": {}}
    return {"status": "needs_judge", "n": n, **nothing}


def entry_of(info: TaskInfo, own: Scored, n: int) -> dict[str, Any]:
    """What a record says of the score of a task that runs from lmms-eval's own files; n: its questions."""
    definition = {} if own.definition is None else {"definition": own.definition}
    is_own = own.definition is not None and own.definition["scale"] == OWN
    return {
        "metric": own.metric,
        **(scored_entry(own.score) if own.score else unscored_entry(n)),
        "scale": OWN if is_own else "0-100",
        "higher_is_better": own.higher_is_better,
        "metrics": own.numbers,
        **definition,
    }


def _rows(logged: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The samples by id; of a task with several filters of answers, those of the first."""
    found: dict[int, dict[str, Any]] = {}
    for row in logged:
        found.setdefault(row["doc_id"], row)
    return [found[doc_id] for doc_id in sorted(found)]


def _of_all_processes(answers: AnswerLog, task: str) -> tuple[dict[tuple[str, int], Measurement], Usage]:
    """What every process has measured of the task, and what all of them used.

    Only this task's: a log that has others, too, would send them again and again.
    """
    measurements: dict[tuple[str, int], Measurement] = {}
    for part in gather({key: one for key, one in answers.measurements.items() if key[0] == task}):
        measurements |= part
    return measurements, Usage.of_processes(gather(answers.usage[task]))


def load_task(manager: Any, info: TaskInfo) -> Any:
    """The task with its data. What goes wrong here are the data: lmms-eval tries a few times by itself."""
    try:
        with importing(os.environ.get("HF_HUB_OFFLINE") != "1") if info.installed else nullcontext():
            return manager.load_task_or_group([info.task])[info.task]
    except UserError:
        raise
    except Exception as error:
        reason: BaseException = error
        while (inner := _cause(reason)) is not None:
            reason = inner
        if isinstance(reason, ModuleNotFoundError):
            raise UserError(
                f"{info.task} can't be run: lmms-eval's task needs {reason.name}, which isn't installed. "
                f"Install it with: pip install {reason.name}"
            ) from error
        if isinstance(reason, ImportError):
            raise UserError(
                f"{info.task} can't be run: lmms-eval's task needs more than is installed: {reason}. Install "
                "it, or leave the task out with tasks=[...]."
            ) from error
        if "load_dataset" not in called(reason) and damaged(reason):
            raise unreadable(f"The first sample of task {info.task}", "read", reason) from error
        raise UserError(
            f"The data of {info.task} ({info.dataset}) can't be loaded: {type(reason).__name__}: {reason}. "
            "Check the network, the disk space and the cache of data sets, and run the same command again."
        ) from error


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, RetryError):
        return error.last_attempt.exception()
    return error.__cause__


def score_rows(
    info: TaskInfo, task: Any, rows: Sequence[dict], pictures: Sequence[str], resamples: int, seed: int,
    paths: argparse.Namespace,
) -> Score:  # fmt: skip
    """The score of answers by lmms-eval's own metric. To be called under `quiet`.

    Args:
        info: the task.
        task: lmms-eval's.
        rows: of each sample `doc`, and what the task's `process_results` gave, by metric.
        pictures: of each sample, a name of its images.
        resamples: draws of the bootstrap.
        seed: of the bootstrap.
        paths: lmms-eval's command line.

    Raises:
        UserError: none of the samples counts.
    """
    metric = info.metric
    chosen = [index for index, row in enumerate(rows) if metric in row]
    if not chosen:
        raise UserError(
            f"None of the {len(rows)} questions of {info.task} that were asked counts for {metric}: the "
            "limit leaves out all that do. Use a larger limit, or limit=null."
        )
    aggregation = task.aggregation()[metric]
    extra = {"args": paths} if "args" in inspect.signature(aggregation).parameters else {}
    docs = [rows[index]["doc"] for index in chosen]
    names = [pictures[index] for index in chosen]
    return score(
        info.rule,
        [rows[index][metric] for index in chosen],
        docs,
        names if info.cluster == IMAGES else [doc[info.cluster] for doc in docs],
        guarded(f"task {info.task}", "scored", lambda items: float(aggregation(items, **extra))),
        info.factor,
        resamples,
        seed,
    )


def _metrics(output: dict, task: str) -> dict[str, float]:
    """All of lmms-eval's numbers for the task, in its own units."""
    found = {}
    for metric in output["higher_is_better"][task]:
        value = output["results"][task].get(f"{metric},none")
        if is_finite_number(value):  # [] stands for "no sample", None for a submission, NaN for no answer
            found[metric] = float(value)
    return found


def _efficiency(measured: list[Measurement], tflops: Callable[[Sequence[int]], float]) -> dict[str, Any]:
    counts = [m.image_tokens for m in measured if m.image_tokens is not None]
    if not counts:  # of a model behind a server
        unknown = ("retained_tokens_per_layer", "image_tokens_mean", "image_tokens_max", "tflops_mean")
        return dict.fromkeys(unknown)
    return {
        "retained_tokens_per_layer": mean_per_layer(measured),
        "image_tokens_mean": sum(counts) / len(counts),
        "image_tokens_max": max(counts),
        "tflops_mean": mean_tflops(measured, tflops),
    }


def _samples(
    info: TaskInfo, rows: list[dict], measured: list[Measurement], result: Score | None
) -> list[dict]:
    earned = iter(result.rows if result else ())
    nothing: dict[str, Any] = {"score": None}
    return [
        {
            "doc_id": row["doc_id"],
            "prompt": row["arguments"][0],
            "target": row["target"],
            "answer": _text(row["filtered_resps"][0]),
            **(next(earned, nothing) if info.installed or info.metric in row else nothing),
            **({"to_judge": row[info.metric]} if info.judge and not info.installed else {}),
            **measurement.to_dict(),
        }
        for row, measurement in zip(rows, measured, strict=True)
    ]


def _text(answer: Any) -> str:
    """An answer as text; a filter of lmms-eval's may leave a list of one."""
    answer = answer[0] if isinstance(answer, list) and answer else answer
    return answer if isinstance(answer, str) else str(answer)


@contextlib.contextmanager
def quiet(truncated_images: bool) -> Iterator[None]:
    """Keeps lmms-eval's prints off the screen, and what it sets for the whole process from staying.

    Its errors go to standard error.
    """
    from loguru import logger

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import lmms_eval.api.task
        import lmms_eval.evaluator  # resets the logger

        logger.remove()
        logger.add(_pass_on, level="ERROR", format="lmms-eval: {message}")
        with (
            mock.patch.object(lmms_eval.evaluator, "tqdm", _NoBar),
            mock.patch.object(lmms_eval.api.task, "tqdm", _NoBar),
            # lmms-eval's import sets it: half an image would be asked about as if it were whole
            mock.patch.object(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated_images),
        ):
            yield


def _pass_on(message: str) -> None:
    """An error of lmms-eval: an event where events are JSON, else a line."""
    if log.kind() == "json":
        log.event("lmms_eval_error", level="error", text=message.strip())
    else:
        sys.stderr.write(redact(message))


class _NoBar(tqdm):
    """lmms-eval's own bars, of steps that take no time: not shown."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "disable": True})
