"""One task of a run, computed: what a record gets of it. Whoever asks writes it down."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdrop_eval.utils.distributed import run_on_all_ranks
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.log import log_rank_zero

if TYPE_CHECKING:
    from pdrop_eval.run.evaluate.plan import Plan


@dataclass(frozen=True)
class Computed:
    """A task's entry in the record, its samples and what they add up to, and for a judge its predictions."""

    result: dict[str, Any]
    samples: list[dict[str, Any]]
    predictions: dict[str, Any] | None
    tally: dict[str, str] | None = None


def compute_task(plan: "Plan", task: str, model: Any, tflops: Any, writer: int) -> Computed:
    """Ask a model the questions of a task that its journal doesn't know yet, and score the answers.

    Args:
        plan: The run's.
        task: One of its tasks.
        model: The run's, under its strategy.
        tflops: Of image tokens per layer.
        writer: Whose file of the task's journal is appended to; no two processes have the same at a time.

    Raises:
        UserError: Data that can't be read, or a folder that can't be written.
        SampleError: A sample that fails; the answers before it stay in the journal.
    """
    from pdrop_eval.benchmarks.judging.mmvet import submission
    from pdrop_eval.benchmarks.own.task import definition_of
    from pdrop_eval.benchmarks.stored_tally import stored_tally
    from pdrop_eval.run.lmms.answer_log import AnswerLog
    from pdrop_eval.run.lmms.open import open_task
    from pdrop_eval.run.lmms.tasks.task_runner import run_task

    config = plan.config
    log.event("task_started", task=task)
    with (
        tempfile.TemporaryDirectory() as scratch,
        run_on_all_ranks(lambda: _journal(plan, task, writer)) as journal,
    ):
        if len(journal):
            log_rank_zero(f"{task} resumes: {len(journal)} answers are already stored.")
        info, folder = open_task(plan, task, Path(scratch))
        result, samples = run_on_all_ranks(
            lambda: run_task(
                model,
                info,
                folder,
                AnswerLog(journal),
                limit=config.limit,
                subset=config.subset,
                seed=config.seed,
                resamples=config.bootstrap,
                tflops=tflops,
                truncated_images=config.suite.source == "hub",  # real data sets have some
            )
        )
    predictions = None
    if result.get("status") == "needs_judge":
        own = {str(sample["doc_id"]): sample["answer"] for sample in samples}
        predictions = own if info.installed else submission(samples)
    told = {**result, **definition_of(config.suite), **_decides(plan, task)}
    # Of several processes the first one alone has the whole result.
    tally = stored_tally(str(result["benchmark"]), samples) if "benchmark" in result else None
    return Computed(told, samples, predictions, tally)


def _journal(plan: "Plan", task: str, writer: int) -> Any:
    """Where the task's answers are kept until the record has them; each process has its own file."""
    from pdrop_eval.records.journal import Journal
    from pdrop_eval.records.store import run_folder

    folder = run_folder(Path(plan.config.results), plan.config.model.name, plan.strategy, plan.identity)
    return Journal(folder, task, writer, {"identity": plan.identity, **_decides(plan, task)})


def _decides(plan: "Plan", task: str) -> dict[str, str]:
    """What decides a single task's numbers, beside what decides those of the whole run."""
    return {"data_sha256": plan.data.sha256[task], "task_sha256": plan.task_sha256[task]}
