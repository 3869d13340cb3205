"""A Ray cluster of two simulated nodes on this machine, whose workers and nodes can be killed."""

import contextlib
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psutil

_OBJECTS = 100 << 20  # bytes of shared memory, of each node
_NODE = {"num_cpus": 1, "object_store_memory": _OBJECTS}
_STARTS = 4  # tries
# A dead node is found within seconds; Ray's own settings take half a minute.
_CHECKS = {
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 10000,
    "health_check_failure_threshold": 3,
}


class TwoNodes:
    """The head and one more node, with a place for one worker each.

    Attributes:
        address: Where the cluster answers.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {**_NODE, "include_dashboard": False, "_system_config": _CHECKS}
        self._cluster = _tried(partial(Cluster, initialize_head=True, head_node_args=head))
        self._second = self._joined()
        self.address = str(self._cluster.address)

    def kill_worker(self, chance: random.Random) -> bool:
        """SIGKILL a worker that computes a cell; whether there was one."""
        workers = list(_workers())
        if not workers:
            return False
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(workers).kill()
            return True
        return False

    def replace_node(self) -> None:
        """Take the second node away, with all of its processes, and let a new one join."""
        self._cluster.remove_node(self._second, allow_graceful=False)
        self._second = self._joined()

    def _joined(self) -> Any:
        return _tried(partial(self._cluster.add_node, **_NODE))

    def end(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


@contextlib.contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """A cluster that is there as long as the block, and that `address=auto` of nobody else finds."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder  # short: paths of sockets have a limit
        nodes = TwoNodes()
        try:
            yield nodes
        finally:
            nodes.end()


def _tried(start: Callable[[], Any]) -> Any:
    """What a start gives: on a busy machine a node may take longer than Ray's 30 seconds."""
    for left in reversed(range(_STARTS)):
        before = {*psutil.Process().children(recursive=True)}
        try:
            return start()
        except Exception:  # Ray's is a plain one
            for process in {*psutil.Process().children(recursive=True)} - before:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if not left:
                raise
    return None


def _workers() -> Iterator[Any]:
    """The processes of this cluster that compute a cell."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::Actor.compute"):
                yield process
