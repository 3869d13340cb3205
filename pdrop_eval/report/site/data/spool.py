"""Values that wait on the disk: a page of many samples is made in the memory of a few."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pdrop_eval.records.store import load_samples

_BATCH = 500  # values that are in memory


class Spool:
    """A file of this process's own: values are added while it is open, and read in their order afterwards."""

    def __init__(self, path: Path):
        self.path = path
        self._file: IO[bytes] | None = None
        self._waiting: list[Any] = []

    def __enter__(self) -> "Spool":
        self._file = open(self.path, "wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._file is not None
        if kind is None:
            self._flush()
        self._file.close()
        if kind is not None:
            self.remove()

    def add(self, value: Any) -> None:
        """Add a value."""
        self._waiting.append(value)
        if len(self._waiting) >= _BATCH:
            self._flush()

    def batches(self) -> Iterator[list[Any]]:
        """Give the values, some at a time."""
        with open(self.path, "rb") as file:
            while True:
                try:
                    yield pickle.load(file)
                except EOFError:
                    return

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches():
            yield from batch

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def _flush(self) -> None:
        assert self._file is not None
        if self._waiting:
            pickle.dump(self._waiting, self._file, pickle.HIGHEST_PROTOCOL)
        self._waiting = []


class Spools:
    """The spools of a build, in a folder that goes with it."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._made = 0
        self._samples: dict[tuple[Path, str], Spool] = {}

    def new(self) -> Spool:
        """A spool of its own."""
        self._made += 1
        return Spool(self._folder / str(self._made))

    def keep(self, folder: Path, task: str, samples: Spool) -> None:
        """Keep what comparisons read of a run's samples of a task."""
        self._samples[Path(folder), task] = samples

    def samples(self, folder: Path, task: str) -> list[dict[str, Any]]:
        """What was kept of a run's samples; of others, all of them. Raises UserError for damaged ones."""
        kept = self._samples.get((Path(folder), task))
        return load_samples(folder, task) if kept is None else list(kept)
