"""`pdrop-eval`: evaluates one strategy on one model and one suite, and records everything about it.

Nothing heavy is imported up here: `pdrop-eval --help` and a run with nothing left to do never load torch.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from pdrop_eval.records.run_identity import shared_settings
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.run.config.spec import RunSpec, make_spec
from pdrop_eval.run.evaluate.experiments import run_experiment
from pdrop_eval.run.evaluate.models import Models
from pdrop_eval.run.evaluate.plan import Plan, make_plan
from pdrop_eval.utils import distributed
from pdrop_eval.utils.distributed import check_same, gather, main_process_first, rank, run_on_all_ranks
from pdrop_eval.utils.exits import library_exits_failing
from pdrop_eval.utils.terminal import cli, log
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.terminal.process import console_script
from pdrop_eval.utils.text.redact import redact, redact_all
from pdrop_eval.utils.validation import check_choice


@console_script
def main() -> None:
    """The console script."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # of the libraries; our own bar is shown all the same
    goes_on = "interrupted. Run the same command to resume."
    cli.run(_job, "evaluate", check_command_line, goes_on)


def _job(config: DictConfig) -> None:
    distributed.join_slurm_job()
    hydra_config = HydraConfig.get()
    if config.runs is None:
        preset = str(hydra_config.runtime.choices["strategy"])
        evaluate(make_spec(config, preset, list(hydra_config.overrides.task)))
    else:
        models = Models()  # runs of an experiment share them
        run_experiment(
            config,
            list(hydra_config.overrides.task),
            lambda spec, advise: evaluate(spec, advise, models),
            lambda spec: check(spec, models),
        )


def check(config: RunSpec, models: Models) -> None:
    """Finds out, without computing a sample, whether a run can be made; `models` are told that it is to come.

    Raises:
        UserError: It can't be made.
    """
    log.configure(config.log)
    distributed.start()
    plan, record = main_process_first(lambda: _prepare(config))
    if plan.missing(record):
        from pdrop_eval.models.loading.checkpoint import check_device
        from pdrop_eval.run.evaluate.header import make_header

        check_device(config.device)
        models.expect(plan, make_header(plan, "")[0])


def evaluate(config: RunSpec, advise: bool = True, models: Models | None = None) -> dict[str, Any]:
    """Runs what is asked for and is not there yet.

    Args:
        config: What to run.
        advise: Whether to print what to run next.
        models: Where the model is from; None: it is opened for this run.

    Returns:
        The record.

    Raises:
        UserError: Wrong input, before a model is loaded. Finished tasks stay, as with a SampleError.
        SampleError: A sample that fails.
    """
    check_choice("log", config.log, log.KINDS)
    log.configure(config.log)
    distributed.start()
    check_same(redact_all({"strategy": config.strategy.name, "settings": shared_settings(config.to_dict())}))
    plan, record = main_process_first(lambda: _prepare(config))
    check_same({"tasks": plan.tasks, "task_sha256": plan.task_sha256, **plan.identity})
    # the first process decides: only it writes, and the others may not see its folder
    record, missing = gather((record, plan.missing(record)))[0]
    if record is None and (other := plan.made_by_other_code()):
        log_rank_zero(f"The record {other} was made with other code or packages. Re-running all tasks.")
    elif record is not None and (changed := plan.changed(record)):
        log_rank_zero(f"Re-running tasks whose data, files or entries changed: {', '.join(changed)}.")
    elif record is not None and (lost := plan.lost(record)):
        why = "; ".join(f"{task}: {reason}" for task, reason in lost.items())
        log_rank_zero(f"Re-running tasks whose stored samples are not those that were scored. {why}.")
    elif record is not None and 0 < len(missing) < len(plan.tasks):
        log_rank_zero(f"{len(plan.tasks) - len(missing)} of {len(plan.tasks)} tasks are done already.")
    if record is not None and not missing:
        if record["status"] != "completed" and rank() == 0:  # ended between its last task and its last word
            record = _complete(plan)
        note = "Nothing to do: the record has all tasks."
        return _report(plan, *_judged(plan, record, note), advise)
    return _report(plan, *_judged(plan, _run(plan, missing, models or Models())), advise)


def _prepare(config: RunSpec) -> tuple[Plan, dict[str, Any] | None]:
    plan = make_plan(config)
    return plan, plan.existing_record()


def _run(plan: Plan, missing: Sequence[str], models: Models) -> dict[str, Any]:
    """Computes the missing tasks, each written as soon as it is finished."""
    from pdrop_eval.records.store import run_id
    from pdrop_eval.run.evaluate.ready import make_ready

    ready = make_ready(plan, models, _command())
    header = ready.header
    if header["budget"]:
        log_rank_zero(f"Budget {header['budget']['reached']['words']}")
    for note in header["strategy"]["notes"]:
        log_rank_zero(note)
    log.event("run_started", run=run_id(plan.identity), model=plan.config.model.name, strategy=plan.strategy,
              suite=plan.config.suite.name, limit=plan.config.limit, tasks=missing)  # fmt: skip
    doing = "Asking the server" if plan.config.endpoint else "Loading the model"
    log_rank_zero(f"{doing} for {len(missing)} task(s): {', '.join(missing)}")
    with run_on_all_ranks(lambda: _open(plan, header)) as run:
        try:
            with library_exits_failing():
                model = run_on_all_ranks(ready.open)
                for task in missing:
                    _run_one(plan, run, model, task, ready.tflops)
            run.complete()
        except Exception as error:
            log.event("run_failed", level="error", error=str(error))
            run.fail(redact(str(error)))
            raise
        log.event("run_completed", run=run_id(plan.identity), folder=str(run.folder))
        return {**run.record, "folder": str(run.folder)}


def _open(plan: Plan, header: dict[str, Any]) -> Any:
    """The run's record; with several processes, only the first one's is real."""
    from pdrop_eval.records.store import Run

    if rank() > 0:
        return NullRun()
    config = plan.config
    return Run.open(Path(config.results), config.model.name, plan.strategy, plan.identity, header)


class NullRun:
    """Stands in for the run's record in the processes that don't write it."""

    record: dict[str, Any] = {}  # noqa: RUF012 - never written to
    folder = None

    def __enter__(self) -> "NullRun":
        return self

    def __exit__(self, *exception: object) -> None: ...

    def add_task(self, *result: Any, **more: Any) -> None:
        """Another process does it."""

    def complete(self) -> None:
        """Another process does it."""

    def fail(self, message: str) -> None:
        """Another process does it."""


def _complete(plan: Plan) -> dict[str, Any]:
    """Marks a record whose tasks are all there as completed."""
    with _open(plan, {}) as run:
        run.complete()
        return {**run.record, "folder": str(run.folder)}


def _run_one(plan: Plan, run: Any, model: Any, task: str, tflops: Any) -> None:
    from pdrop_eval.run.evaluate.task import compute_task

    done = compute_task(plan, task, model, tflops, rank())
    run_on_all_ranks(lambda: run.add_task(task, done.result, done.samples, done.predictions, (), done.tally))
    if rank() == 0:
        told = {key: done.result.get(key) for key in ("status", "score", "stderr", "n", "wall_seconds")}
        log.event("task_finished", **{"task": task, **told, "recalled": done.result["usage"]["recalled"]})


def _judged(plan: Plan, record: dict[str, Any], note: str = "") -> tuple[dict[str, Any], str]:
    """The record after the judge, if there is one, has scored what is left to it; and what to say of it."""
    from pdrop_eval.run.evaluate.judge import judge_run, left_to

    left = left_to(plan.judge, record, plan.tasks) if rank() == 0 else []
    if not left:
        return record, note
    return judge_run(plan.judge, record, left, plan), f"Judged by {plan.judge.model}: {', '.join(left)}."


def _report(plan: Plan, record: dict[str, Any], note: str, advise: bool) -> dict[str, Any]:
    from pdrop_eval.run.evaluate.summary import summary

    if rank() > 0:
        return record
    if note:
        print(note)
    print(summary(record, plan.tasks, Path(record["folder"]) / "record.json", advise))
    return record


def _command() -> str:
    return shlex.join([script("pdrop-eval"), *sys.argv[1:]])


if __name__ == "__main__":
    main()
