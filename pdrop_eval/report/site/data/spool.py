"""Values that wait on the disk: a page of many samples is made in the memory of a few."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pdrop_eval.records.samples import load_samples

_BATCH = 500  # values that are in memory


class Heap:
    """A file of this process's own for the values of many spools; it is empty again when none has any."""

    def __init__(self, path: Path):
        self._path = path
        self._file: IO[bytes] | None = None
        self._end = self._held = 0

    def put(self, values: list[Any]) -> int:
        """Add a batch of values; return its place."""
        if self._file is None:
            self._file = open(self._path, "w+b")  # noqa: SIM115 (closed by `close`)
        place = self._file.seek(self._end)
        pickle.dump(values, self._file, pickle.HIGHEST_PROTOCOL)
        self._end, self._held = self._file.tell(), self._held + 1
        return place

    def get(self, place: int) -> list[Any]:
        """Return the batch at a place."""
        assert self._file is not None
        self._file.seek(place)
        found: list[Any] = pickle.load(self._file)
        return found

    def drop(self, batches: int) -> None:
        """Forget so many batches, which nobody will read again."""
        self._held -= batches
        if self._file is not None and not self._held:
            self._file.truncate(0)
            self._end = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Spool:
    """Values that are added while it is open, and read in their order afterwards."""

    def __init__(self, heap: Heap):
        self._heap = heap
        self._places: list[int] = []
        self._waiting: list[Any] = []

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        else:
            self.remove()

    def add(self, value: Any) -> None:
        """Add a value."""
        self._waiting.append(value)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def batches(self) -> Iterator[list[Any]]:
        """Give the values, some at a time."""
        for place in self._places:
            yield self._heap.get(place)

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def remove(self) -> None:
        """Forget the values."""
        self._heap.drop(len(self._places))
        self._places, self._waiting = [], []

    def _flush(self) -> None:
        if self._waiting:
            self._places.append(self._heap.put(self._waiting))
        self._waiting = []


class Spools:
    """The spools of a build, in a folder that goes with it."""

    def __init__(self, folder: Path):
        self._passing, self._kept = Heap(folder / "passing"), Heap(folder / "kept")
        self._samples: dict[tuple[Path, str], Spool] = {}

    def new(self) -> Spool:
        """A spool that is removed before long."""
        return Spool(self._passing)

    def lasting(self) -> Spool:
        """A spool that stays."""
        return Spool(self._kept)

    def keep(self, folder: Path, task: str, samples: Spool) -> None:
        """Keep what comparisons read of a run's samples of a task."""
        self._samples[Path(folder), task] = samples

    def samples(
        self, folder: Path, task: str, entry: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """What was kept of a run's samples; of others, all of them. Raises UserError for damaged ones."""
        kept = self._samples.get((Path(folder), task))
        return load_samples(folder, task, entry) if kept is None else list(kept)

    def close(self) -> None:
        """Close the files."""
        self._passing.close()
        self._kept.close()
