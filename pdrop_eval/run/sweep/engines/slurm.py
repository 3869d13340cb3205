"""`engine=slurm`: a job array with a worker an element. The command returns at once; `status=true` follows.

Sent with submitit. A worker keeps its model loaded, and takes cells from the board until none is free. When
its time is out it is sent again, and goes on from the journals.
"""

import os
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.run.sweep.engines.base import Engine
from pdrop_eval.run.sweep.spec import SweepSpec, gpus_of
from pdrop_eval.run.sweep.state.board import Board
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Queue
from pdrop_eval.run.sweep.work.element import Element
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to
from pdrop_eval.utils.validation import check_choice, check_whole

_CLUSTERS = ("slurm", "local")
_WORKERS = 8  # unless actors= says how many


class Slurm(Engine):
    """Elements of a job array."""

    name = "slurm"

    def check(self, spec: SweepSpec) -> None:
        """Refuse a machine without submitit or sbatch, and settings of other engines."""
        if find_spec("submitit") is None:
            raise UserError(
                "engine=slurm needs the package submitit. Install it: pip install 'pdrop-eval[slurm]'."
            )
        check_choice("slurm.cluster", spec.slurm.cluster, _CLUSTERS)
        check_whole("slurm.minutes", spec.slurm.minutes, 1)
        if spec.slurm.memory_gb is not None:
            check_whole("slurm.memory_gb", spec.slurm.memory_gb, 1)
        for one in spec.slurm.more:
            if "=" not in one:
                raise UserError(
                    f"slurm.more has {one!r}: write name=value, such as 'slurm.more=[\"reservation=r1\"]'."
                )
        if spec.address is not None:
            raise UserError(f"address={spec.address} is of engine=ray. Leave it out for engine=slurm.")
        absent = [name for name in ("sbatch", "srun") if shutil.which(name) is None]
        if spec.slurm.cluster == "slurm" and absent:
            raise UserError(
                f"engine=slurm finds no {' and no '.join(absent)} here: call it on a machine that sends jobs "
                "to Slurm. slurm.cluster=local starts the same workers on this machine, without Slurm."
            )

    def run(self, spec: SweepSpec, queue: Queue, progress: Progress) -> list[str]:
        """Send the workers; returns the names of their jobs."""
        board = Board(Path(spec.results))
        probe = f"seen-{secrets.token_hex(6)}"
        with writing_to(board.folder):
            write_atomically(board.folder / probe, "seen?")
        element = Element(str(board.results.resolve()), os.getcwd(), probe, board.definition()["begun"])
        count = min(spec.actors or _WORKERS, len(queue))
        try:
            executor = _executor(spec, board.folder / "jobs")
            with executor.batch():
                jobs = [executor.submit(element) for _ in range(count)]
            return [str(job.job_id) for job in jobs]
        except Exception as error:  # submitit's own errors are of several kinds
            raise UserError(f"The jobs can't be sent: {_words(error)}") from error


def _executor(spec: SweepSpec, folder: Path) -> Any:
    import submitit

    asked = spec.slurm
    executor = submitit.AutoExecutor(folder=folder, cluster=asked.cluster, slurm_max_num_timeout=100)
    settings: dict[str, Any] = {
        "name": "pdrop-eval-sweep", "timeout_min": asked.minutes, "cpus_per_task": spec.cpus,
        "gpus_per_node": gpus_of(spec), "mem_gb": asked.memory_gb, "slurm_partition": asked.partition,
        "slurm_account": asked.account, "slurm_array_parallelism": spec.actors or _WORKERS,
        "slurm_additional_parameters": dict(one.split("=", 1) for one in asked.more),
        "slurm_setup": list(asked.setup) or None,
    }  # fmt: skip
    executor.update_parameters(**{name: value for name, value in settings.items() if value not in (None, {})})
    return executor


def _words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


ENGINE = Slurm()
