"""A worker of a sweep: computes cells, one after the other, with the model of the last one still loaded.

It opens the sweep from the folder of results, so that engines only tell it which cell, under which lease.
Nothing heavy is imported before the first cell.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdrop_eval.run.evaluate.models import Models
from pdrop_eval.run.evaluate.plan import Plan, make_plan, plan_beside
from pdrop_eval.run.sweep.state.board import DONE, FAILED, Board, FencedError, Lease
from pdrop_eval.run.sweep.state.definition import base_spec, code_here, run_spec
from pdrop_eval.utils.errors import SampleError, UserError
from pdrop_eval.utils.exits import library_exits_failing
from pdrop_eval.utils.memory import is_out_of_memory
from pdrop_eval.utils.terminal.bars import passing_bars
from pdrop_eval.utils.terminal.log import event
from pdrop_eval.utils.text.redact import redact

FENCED = "fenced"


def look(results: str, cwd: str, probe: str) -> dict[str, Any]:
    """Return what the driver checks of a worker before it gets a cell; changes to the driver's folder.

    Args:
        results: The folder of results.
        cwd: The driver's current folder.
        probe: The name of a file that the driver has just written into the results.

    Returns:
        `host`, `code` (see `code_here`), and `sees`: whether the file is there, and can be answered by one.
    """
    if Path(cwd).is_dir():
        os.chdir(cwd)
    path = Path(results) / probe
    sees = path.is_file()
    if sees:
        path.with_name(f"{probe}-{socket.gethostname()}-{os.getpid()}").write_text("seen")
    return {"host": socket.gethostname(), "pid": os.getpid(), "code": code_here(), "sees": sees}


def check_worker(told: Mapping[str, Any], results: str, code: str, probe: str) -> None:
    """Refuse a worker that has other code, or sees another folder.

    Args:
        told: What `look` has returned there.
        results: The folder of results.
        code: The driver's, see `code_here`.
        probe: The name of the file that was looked for.

    Raises:
        UserError: With the worker's host and the fix.
    """
    host = told["host"]
    if told["code"] != code:
        raise UserError(
            f"The worker on {host} has other code of pdrop-eval than this process. Install the same version "
            "there, or keep it on a file system that all machines share."
        )
    if not told["sees"]:
        raise UserError(
            f"The worker on {host} doesn't see results={results}. Name a folder, by its whole path, on a "
            "file system that all machines share."
        )
    if not Path(results, f"{probe}-{host}-{told['pid']}").exists():
        raise UserError(
            f"What the worker on {host} writes to results={results} isn't seen here: it is another folder "
            "there. Name one on a file system that all machines share."
        )


class Worker:
    """Computes cells of the sweep in a folder of results.

    Attributes:
        host: Where it is.
    """

    def __init__(self, results: Path):
        self.board = Board(results)
        self.host = socket.gethostname()
        self._definition = self.board.definition()
        self._runs = {run["id"]: run for run in self._definition["runs"]}
        self._bases: dict[int, Plan] = {}
        self._headers: dict[str, tuple[Any, dict[str, Any], Any]] = {}
        self._models = Models()
        self._ready: set[int] = set()

    def compute(self, lease: Lease) -> dict[str, Any]:
        """Compute a cell and write it into its run's record.

        Returns:
            `state`: DONE, FAILED, or FENCED where another worker has the cell now; with `score` and `n`,
            or the `reason`. A cell that fails raises nothing: the others go on.
        """
        try:
            with passing_bars(), library_exits_failing():
                entry = self._computed(lease)
        except FencedError as error:
            return {"state": FENCED, "reason": str(error)}
        except Exception as error:
            return {"state": FAILED, "reason": self._failed(lease, error)}
        return {"state": DONE, **{key: entry.get(key) for key in ("status", "score", "n", "wall_seconds")}}

    def _computed(self, lease: Lease) -> dict[str, Any]:
        from pdrop_eval.run.evaluate.judge import judge_run, left_to
        from pdrop_eval.run.sweep.work.commit import commit, patiently

        run, task = lease.cell.rpartition("/")[0], lease.cell.rpartition("/")[2]
        plan = self.plan_of(run)
        record = plan.existing_record()
        if record is None or task in plan.missing(record):
            record = self._asked(plan, run, task, lease, commit)
        if left_to(plan.judge, record, [task]):
            found = record
            record = patiently(lambda: judge_run(plan.judge, found, [task], plan))
        entry: dict[str, Any] = record["tasks"][task]
        return entry

    def _asked(self, plan: Plan, run: str, task: str, lease: Lease, commit: Callable[..., Any]) -> Any:
        """The record with the task, which the model has answered."""
        from pdrop_eval.models.loading.checkpoint import check_device, check_not_absent
        from pdrop_eval.run.evaluate.task import compute_task

        check_not_absent(plan.config.device)
        check_device(plan.config.device)
        self._expect(self._runs[run]["base"])
        strategy, header, tflops = self._header(plan, run)
        model = self._models.open(plan, strategy)
        done = compute_task(plan, task, model, tflops, lease.writer)
        return commit(self.board, lease, plan, header, done)

    def plan_of(self, run: str) -> Plan:
        """Return the plan of a run. Raises UserError where it isn't the one that the driver has planned."""
        defined = self._runs[run]
        place = defined["base"]
        if place not in self._bases:
            base = self._definition["bases"][place]
            self._bases[place] = make_plan(base_spec(base))
            self._check_same(self._bases[place].identity, base["identity"])
        plan = plan_beside(self._bases[place], run_spec(self._bases[place].config, defined))
        order = [task for task in plan.tasks if task in defined["tasks"]]
        return replace(plan, tasks=order)

    def _check_same(self, here: dict[str, Any], driver: dict[str, Any]) -> None:
        differ = [name for name in driver if here.get(name) != driver[name]]
        if differ:
            raise UserError(
                f"A worker on {self.host} would make another run than planned, in {', '.join(differ)}. "
                "Give all machines the same code, packages, checkpoints and data, and run "
                "the same command again."
            )

    def _header(self, plan: Plan, run: str) -> tuple[Any, dict[str, Any], Any]:
        from pdrop_eval.run.evaluate.header import make_header

        if run not in self._headers:
            self._headers[run] = make_header(plan, self._runs[run]["command"])
        return self._headers[run]

    def _expect(self, base: int) -> None:
        """Tell what strategies are going to look at: an image is then encoded once for all of them."""
        if base in self._ready:
            return
        self._ready.add(base)
        for run in self._definition["runs"]:
            if run["base"] == base and {*run["done"]} < {*run["tasks"]}:
                plan = self.plan_of(run["id"])
                self._models.expect(plan, plan.config.strategy.build())

    def _failed(self, lease: Lease, error: Exception) -> str:
        """The reason in words, noted in the run's record where there can be one."""
        from pdrop_eval.run.sweep.work.commit import note_failure

        told = isinstance(error, UserError | SampleError)
        reason = redact(str(error) if told else f"{type(error).__name__}: {error}")
        event("cell_failed", level="error", cell=lease.cell, error=reason)
        if is_out_of_memory(error):
            self._models = Models()  # the next one begins with an empty memory
        run = lease.cell.rpartition("/")[0]
        try:
            self.board.check(lease)
            note_failure(self.plan_of(run), reason, self._headers.get(run, (None, None))[1])
        except Exception as other:  # the reason is told all the same
            event("failure_not_noted", level="warning", cell=lease.cell, error=redact(str(other)))
        return reason
