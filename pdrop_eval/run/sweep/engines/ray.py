"""`engine=ray`: workers on this machine's processors or GPUs, or on all machines of a cluster that is there.

A worker is an actor with processors and GPUs of its own. It keeps its model loaded and is given cells one by
one. When it dies, or its machine does, its cell is given to another one, which goes on from its journal.
"""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pdrop_eval.run.sweep.engines.base import Engine
from pdrop_eval.run.sweep.engines.ray_address import check_address
from pdrop_eval.run.sweep.spec import SweepSpec, gpus_of
from pdrop_eval.run.sweep.state.board import Lease
from pdrop_eval.run.sweep.state.definition import code_here
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Cell, Queue
from pdrop_eval.run.sweep.work.worker import Worker, check_worker, look
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to
from pdrop_eval.utils.terminal.log import event

_PATIENCE = 300.0  # until some worker has answered: a cluster may have to start machines
_TICK = 1.0
_STARTS = 3  # tries
_OBJECTS = 100 << 20  # bytes of shared memory: what goes from process to process are names and numbers
# What a worker on another machine should find where it looks for data and code; never a token.
_PASSED_ON = (
    "PDROP_EVAL_CACHE", "HF_HOME", "HF_HUB_OFFLINE", "HF_DATASETS_CACHE", "PYTHONPATH", "OMP_NUM_THREADS",
)  # fmt: skip


class Ray(Engine):
    """Actors of Ray."""

    name = "ray"

    def check(self, spec: SweepSpec) -> None:
        """Refuse what Ray can't do before anything is planned: in seconds where an address doesn't answer."""
        if find_spec("ray") is None:
            raise UserError("engine=ray needs the package ray. Install it: pip install 'pdrop-eval[ray]'.")
        if spec.address is not None:
            check_address(spec.address)

    def run(self, spec: SweepSpec, queue: Queue, progress: Progress) -> None:
        """Compute all cells of a queue on a cluster."""
        with _cluster(spec) as ray, _probe(Path(spec.results)) as probe:
            pool = _Pool(ray, spec, queue, progress, probe)
            try:
                pool.run()
            finally:
                pool.dismiss()


class Actor:
    """A worker, as Ray makes it on some machine."""

    def __init__(self, results: str):
        self._results = results
        self._worker: Worker | None = None

    def look(self, cwd: str, probe: str) -> dict[str, Any]:
        """Return what the driver checks; see `worker.look`."""
        os.environ.setdefault("TQDM_DISABLE", "1")
        return look(self._results, cwd, probe)

    def compute(self, lease: dict[str, Any]) -> dict[str, Any]:
        """Compute a cell; see `Worker.compute`."""
        self._worker = self._worker or Worker(Path(self._results))
        return self._worker.compute(Lease(**lease))


@dataclass
class _Hired:
    """An actor: its name in the queue, its handle, its host once it has answered, and its cell."""

    name: str
    handle: Any
    host: str = ""
    cell: Cell | None = None


class _Pool:
    """The workers of a sweep."""

    def __init__(self, ray: Any, spec: SweepSpec, queue: Queue, progress: Progress, probe: str):
        self._ray, self._spec, self._queue, self._progress, self._probe = ray, spec, queue, progress, probe
        self._asked: dict[Any, _Hired] = {}  # by the reference to the answer that is to come
        self._idle: list[_Hired] = []
        self._hired = 0
        self._heard = time.monotonic()
        self._code = code_here()
        self._share = {"num_cpus": spec.cpus, "num_gpus": gpus_of(spec)}
        self._class = ray.remote(**self._share)(Actor)
        if self._room() < 1:
            raise self._no_room()

    def run(self) -> None:
        """Compute until nothing waits and nobody is at work."""
        while len(self._queue) or self._queue.running:
            self._hire()
            self._give()
            ready = self._ray.wait(list(self._asked), timeout=_TICK)[0] if self._asked else []
            for answer in ready:
                self._take(answer)
            if not ready and not any(one.cell for one in self._asked.values()):
                self._check_heard()

    def dismiss(self) -> None:
        """Let all workers go."""
        for one in [*self._asked.values(), *self._idle]:
            with suppress(Exception):  # it may be gone
                self._ray.kill(one.handle)

    def _room(self) -> int:
        """How many workers the cluster has room for now."""
        there = self._ray.cluster_resources()
        rooms = [int(there.get(name, 0) // each) for name, each in self._needs().items() if each]
        return min(rooms, default=1)

    def _needs(self) -> dict[str, float]:
        return {"CPU": self._share["num_cpus"], "GPU": self._share["num_gpus"]}

    def _hire(self) -> None:
        here = len(self._asked) + len(self._idle)
        wanted = min(self._spec.actors or self._room(), len(self._queue) + self._queue.running)
        for _ in range(wanted - here):
            self._hired += 1
            one = _Hired(f"worker {self._hired}", self._class.remote(self._spec.results))
            answer = one.handle.look.remote(os.getcwd(), self._probe)
            self._asked[answer] = one

    def _give(self) -> None:
        """Give a cell to each worker that has none; those for whom nothing is left go."""
        while self._idle:
            one = self._idle.pop()
            cell = self._queue.take(one.name)
            if cell is None:
                self._ray.kill(one.handle)
                self._queue.settle(one.name, gone=True)
                continue
            lease = self._progress.begin(cell, f"{one.host}, {one.name}")
            one.cell = cell
            self._asked[one.handle.compute.remote(lease.to_dict())] = one

    def _take(self, answer: Any) -> None:
        one = self._asked.pop(answer)
        try:
            told = self._ray.get(answer)
        except self._ray.exceptions.RayActorError as error:
            self._lose(one, _first_line(error))
            return
        except self._ray.exceptions.RayError as error:
            self._failed(one, error)
            return
        self._heard = time.monotonic()
        cell, one.cell = one.cell, None
        if cell is None:
            self._welcome(one, told)
        else:
            self._queue.settle(one.name)
            if self._progress.end(cell, told):
                self._queue.put(cell)
        self._idle.append(one)

    def _welcome(self, one: _Hired, told: dict[str, Any]) -> None:
        """Check a worker that has answered for the first time; from now on it gets cells."""
        one.host = told["host"]
        check_worker(told, self._spec.results, self._code, self._probe)
        event("worker_ready", host=one.host, worker=one.name)

    def _lose(self, one: _Hired, why: str) -> None:
        """A worker is gone, with its machine maybe; its cell waits for another one."""
        with suppress(Exception):  # it may only be cut off: then this ends it when it is heard of again
            self._ray.kill(one.handle)
        event("worker_lost", level="warning", host=one.host, worker=one.name, reason=why)
        cell = self._queue.settle(one.name, gone=True)
        if cell is not None and self._progress.lost(cell, f"its worker on {one.host} has died"):
            self._queue.put(cell)

    def _failed(self, one: _Hired, error: Exception) -> None:
        """A worker could not even begin, or Ray itself has failed with its answer."""
        if one.cell is None:
            raise UserError(
                f"A worker can't be started: {_first_line(error)} The machines of the cluster need "
                "pdrop-eval and all of its packages."
            )
        self._lose(one, _first_line(error))

    def _check_heard(self) -> None:
        if self._room() < 1 or time.monotonic() - self._heard > _PATIENCE:
            raise self._no_room()

    def _no_room(self) -> UserError:
        there = {name: self._ray.cluster_resources().get(name, 0) for name in self._needs()}
        has = ", ".join(f"{int(count)} {name}s" for name, count in there.items())
        needs = ", ".join(f"{int(count)} {name}s" for name, count in self._needs().items() if count)
        return UserError(
            f"No worker has a place: one needs {needs}, and the cluster has {has}, some maybe taken by "
            "others. Use smaller cpus= or gpus=, or wait until there is room."
        )


@contextmanager
def _cluster(spec: SweepSpec) -> Iterator[Any]:
    """A cluster of this machine's own, or the one at an address; it reports its use to nobody."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # asked for by Ray's own warning
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a worker that is gone is told in our words
    import ray

    _silence()
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if spec.address is None:
        # actors have processes of their own: none is to wait for tasks
        settings |= {"_system_config": {"prestart_worker_first_driver": False}, "address": "local"}
        settings |= {"include_dashboard": False, "object_store_memory": _OBJECTS}
    else:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        settings |= {"address": spec.address, "runtime_env": {"env_vars": passed}}
    for left in reversed(range(1 if spec.address else _STARTS)):
        try:
            with _unheard():
                ray.init(**settings)
            break
        except Exception as error:  # a plain one where a busy machine takes more than Ray's 30 seconds
            ray.shutdown()
            if not left:
                raise UserError(f"Ray can't be started or joined: {_first_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _silence() -> None:
    """Let Ray tell nothing of its machines on our standard output, where log_to_driver=False lets it."""
    with suppress(ImportError):  # it is no public name
        from ray._private import worker

        worker._worker_logs_enabled = False


@contextmanager
def _unheard() -> Iterator[None]:
    """Without what C++ writes to standard error; a process without one is left as it is."""
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def _probe(results: Path) -> Iterator[str]:
    """A file in the results that every worker must see, and answer with one of its own."""
    name = f".seen-{secrets.token_hex(6)}"
    with writing_to(results):
        write_atomically(results / name, "seen?")
    try:
        yield name
    finally:
        for path in results.glob(f"{name}*"):
            path.unlink(missing_ok=True)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


ENGINE = Ray()
