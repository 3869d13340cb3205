"""`engine=local`: this process computes one cell after the other, with the model kept between them."""

from pathlib import Path

from pdrop_eval.models.loading.checkpoint import check_device
from pdrop_eval.run.sweep.engines.base import Engine
from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Queue
from pdrop_eval.run.sweep.work.worker import Worker
from pdrop_eval.utils.errors import UserError

_HERE = "local"


class Local(Engine):
    """This process."""

    name = "local"

    def check(self, spec: SweepSpec) -> None:
        """Refuse what only workers elsewhere have."""
        given = {"actors": spec.actors, "gpus": spec.gpus, "address": spec.address}
        for name, value in given.items():
            if value is not None:
                raise UserError(
                    f"{name}={value} is for workers elsewhere, and engine=local is this process. Leave it "
                    "out, or use engine=ray."
                )

    def run(self, spec: SweepSpec, queue: Queue, progress: Progress) -> None:
        """Compute all cells. Raises UserError for a device that isn't here, before the first one."""
        check_device(spec.value_of("device", "cpu"))
        worker = Worker(Path(spec.results))
        while (cell := queue.take(_HERE)) is not None:
            lease = progress.begin(cell, worker.host)
            outcome = worker.compute(lease)
            queue.settle(_HERE)
            if progress.end(cell, outcome):
                queue.put(cell)


ENGINE = Local()
