"""Which cell is computed next, and by whom: a worker keeps its model, and its task as long as there are some.

Strategies of one model and task come one after the other, so that the images that the first of them has
encoded are there for all others.
"""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Cell:
    """A strategy at a setting, on a model and a task.

    Attributes:
        id: Its run's folder and its task: `mini/fastv-0123456789/gqa`.
        model: The model's name.
        task: The task.
        words: What it is, for people.
        failures: How often it has failed.
        losses: How often its worker has died.
    """

    id: str
    model: str
    task: str
    words: str = ""
    failures: int = 0
    losses: int = 0

    @property
    def run(self) -> str:
        """The run's folder."""
        return self.id.rpartition("/")[0]


class Queue:
    """The cells that wait, and those that are being computed, by worker."""

    def __init__(self, cells: Iterable[Cell]):
        self._waiting: dict[str, dict[str, deque[Cell]]] = {}
        self._serving: dict[str, Cell] = {}
        self._last: dict[str, Cell] = {}
        for cell in cells:
            self.put(cell)

    def __len__(self) -> int:
        return sum(len(cells) for tasks in self._waiting.values() for cells in tasks.values())

    @property
    def running(self) -> int:
        """How many cells are being computed."""
        return len(self._serving)

    def put(self, cell: Cell) -> None:
        """Let a cell wait, behind the others of its model and task."""
        self._waiting.setdefault(cell.model, {}).setdefault(cell.task, deque()).append(cell)

    def take(self, worker: str) -> Cell | None:
        """Return what a worker computes next; None if nothing waits."""
        last = self._last.get(worker)
        model = last.model if last and last.model in self._waiting else self._model()
        if model is None:
            return None
        tasks = self._waiting[model]
        task = last.task if last and last.model == model and last.task in tasks else self._task(model)
        cell = tasks[task].popleft()
        if not tasks[task]:
            del tasks[task]
        if not tasks:
            del self._waiting[model]
        self._serving[worker] = self._last[worker] = cell
        return cell

    def settle(self, worker: str, gone: bool = False) -> Cell | None:
        """Return what a worker was at, if anything; `gone`: the worker is no more, nor is its model."""
        if gone:
            self._last.pop(worker, None)
        return self._serving.pop(worker, None)

    def _model(self) -> str | None:
        """The model with the most that waits for each worker that has it already; the first of equals."""
        served = Counter(cell.model for cell in self._last.values())
        sizes = {
            model: sum(map(len, tasks.values())) / (1 + served[model])
            for model, tasks in self._waiting.items()
        }
        return max(sizes, key=lambda model: sizes[model], default=None)

    def _task(self, model: str) -> str:
        """The first task of a model that fewest workers are at."""
        at = Counter(cell.task for cell in self._serving.values() if cell.model == model)
        return min(self._waiting[model], key=lambda task: at[task])
