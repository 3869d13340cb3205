"""What an engine is: it computes the cells that wait, and tells of each how it went."""

import abc
from typing import ClassVar

from pdrop_eval.run.sweep.spec import SweepSpec
from pdrop_eval.run.sweep.state.progress import Progress
from pdrop_eval.run.sweep.state.queue import Queue


class Engine(abc.ABC):
    """Computes the cells of a sweep, in this process or with workers elsewhere.

    Attributes:
        name: What `engine=` calls it; its file is called so, too.
    """

    name: ClassVar[str] = ""

    def check(self, spec: SweepSpec) -> None:  # noqa: B027 - most have nothing to refuse
        """Refuse settings that this engine can't have, in seconds and before anything is planned.

        Raises:
            UserError: A package that is missing, an address that doesn't answer, and the like.
        """

    @abc.abstractmethod
    def run(self, spec: SweepSpec, queue: Queue, progress: Progress) -> list[str] | None:
        """Compute all cells of a queue. Each that ends is told to `progress`, whose word on retries holds.

        Returns:
            The names of the jobs that go on after the command, of an engine that doesn't wait.

        Raises:
            UserError: The sweep can't go on at all.
        """
