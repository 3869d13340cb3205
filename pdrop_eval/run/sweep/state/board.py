"""A sweep on disk, in `.sweep` beneath its results: what it is, what happens, and who may write which cell.

    sweep.json      the runs and their cells, as the command planned them
    events/         one file a writer, a line an event: {"at": .., "cell": .., "state": "done", ..}
    claims/, workers/   which worker has which cell where there is no driver, see `claims`
    leases/         one file for each time that a cell was handed out: its last one names who may commit it

A worker that was cut off (its node was thought dead, its cell handed out again) finds a later lease than its
own when it comes to commit, and lets go: it can't overwrite what its successor has written.
"""

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to
from pdrop_eval.utils.validation import to_plain

FOLDER = ".sweep"
SCHEMA = 1
RUNNING, DONE, RETRIED, FAILED, LOST = "running", "done", "retried", "failed", "lost"
REFUSED = "refused"  # a worker that may not begin: it belongs to no cell


class FencedError(RuntimeError):
    """The cell was handed to another worker: what this one has computed isn't written."""


@dataclass(frozen=True)
class Lease:
    """The right to commit a cell, until it is handed out again.

    Attributes:
        cell: Its name, `mini/fastv-0123456789/gqa`.
        epoch: How often it has been handed out.
        token: Which of those that say they have this epoch is meant.
    """

    cell: str
    epoch: int
    token: str

    @property
    def writer(self) -> int:
        """Whose file of the cell's journal is appended to: no other lease has it."""
        return int(self.token, 16)

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict, for another process."""
        return asdict(self)


class Board:
    """The folder of a sweep; any process that sees the results may open it."""

    def __init__(self, results: Path):
        self.results = Path(results)
        self.folder = self.results / FOLDER

    @property
    def exists(self) -> bool:
        """Whether there has been a sweep in these results."""
        return (self.folder / "sweep.json").is_file()

    def begin(self, definition: dict[str, Any]) -> None:
        """Write down a new sweep in the place of the one before. Raises UserError if that fails."""
        with writing_to(self.folder):
            for name in ("events", "leases", "claims", "workers"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            text = json.dumps(to_plain({"schema": SCHEMA, "begun": time.time(), **definition}))
            write_atomically(self.folder / "sweep.json", text)

    def definition(self) -> dict[str, Any]:
        """Return what `begin` has written. Raises UserError where there is none."""
        path = self.folder / "sweep.json"
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(
                f"There is no sweep in {self.results}. Start one, or "
                "name the folder of another one, results=<folder>."
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{path} can't be read: {error}. Remove {self.folder}; the records stay, and the same "
                "command again goes on from them."
            ) from error
        return found

    def claim(self, cell: str) -> Lease:
        """Hand a cell out: whoever had it before may no longer commit it."""
        epoch = 1
        token = secrets.token_hex(6)
        with writing_to(self.folder):
            while True:
                try:
                    with open(self._lease(cell, epoch), "x", encoding="ascii") as file:
                        file.write(token)
                    return Lease(cell, epoch, token)
                except FileExistsError:
                    epoch += 1

    def check(self, lease: Lease) -> None:
        """Raise FencedError if the cell has been handed out again since, or the sweep is another one."""
        try:
            token = self._lease(lease.cell, lease.epoch).read_text(encoding="ascii")
        except FileNotFoundError:
            token = ""
        if token != lease.token or self._lease(lease.cell, lease.epoch + 1).exists():
            raise FencedError(f"{lease.cell} was handed to another worker")

    def _lease(self, cell: str, epoch: int) -> Path:
        name = hashlib.sha256(cell.encode()).hexdigest()[:24]
        return self.folder / "leases" / f"{name}.{epoch}"

    def writer(self, name: str) -> "Events":
        """Return the events of one writer, to append to."""
        return Events(self.folder / "events" / f"{name}.jsonl")

    def events(self) -> Iterator[dict[str, Any]]:
        """All events in the order of their times; a line that was cut off isn't there."""
        found = []
        for path in sorted((self.folder / "events").glob("*.jsonl")):
            for line in path.read_bytes().split(b"\n"):
                try:
                    found.append(json.loads(line))
                except ValueError:
                    continue
        found.sort(key=lambda event: event["at"])
        return iter(found)


class Events:
    """A file of events that one process appends to."""

    def __init__(self, path: Path):
        self._path = path
        self._write(b"\n")  # what a killed process left unfinished ends here

    def note(self, cell: str, state: str, **more: Any) -> None:
        """Append an event of a cell: RUNNING, DONE, RETRIED, FAILED or LOST."""
        event = {"at": time.time(), "cell": cell, "state": state, **to_plain(more)}
        self._write(json.dumps(event).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with writing_to(self._path.parent), open(self._path, "ab", buffering=0) as file:
            file.write(line)
