"""A benchmark's record: `<results>/<model>/<id>/record.json`, written whole whenever a batch size is done."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pdrop_eval.records.store import run_id
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import Lock, read_text, write_atomically, writing_to
from pdrop_eval.utils.validation import to_plain

SCHEMA = 1


class Benchmark:
    """One record, held for this process until `close`."""

    def __init__(self, root: Path, model: str, identity: dict[str, Any]):
        self.folder = root / model / run_id(identity)
        self.path = self.folder / "record.json"
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.folder)
        self.record: dict[str, Any] = {"identity": to_plain(identity), "batches": {}}

    def start(self, header: dict[str, Any], anew: bool) -> None:
        """Begin, or go on with what is there; `anew` forgets what was measured."""
        before = read(self.path) if self.path.is_file() and not anew else None
        kept = {
            "created": _now() if before is None else before["created"],
            "auto": None if before is None else before.get("auto"),
            "batches": {} if before is None else before["batches"],
        }
        self._write({"schema": SCHEMA, "status": "started", **header, **kept})

    def add(self, rows: int, result: dict[str, Any]) -> None:
        """Keep what was measured at a batch size."""
        self._write({"batches": {**self.record["batches"], str(rows): result}})

    def found(self, rows: int) -> None:
        """Keep the batch size that batch_sizes=auto has come to."""
        self._write({"auto": rows})

    def complete(self) -> dict[str, Any]:
        """Mark it as completed; returns the record."""
        self._write({"status": "completed"})
        return self.record

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.release()

    def _write(self, changes: dict[str, Any]) -> None:
        record = {**self.record, **to_plain(changes), "updated": _now()}
        with writing_to(self.folder):
            write_atomically(self.path, json.dumps(record, indent=1, allow_nan=False) + "\n")
        self.record = record


def existing(root: Path, model: str, identity: Any) -> dict[str, Any] | None:
    """The record of the same identity, if there is one."""
    path = root / model / run_id(identity) / "record.json"
    return read(path) if path.is_file() else None


def read(path: Path) -> dict[str, Any]:
    """A record. Raises UserError if it is damaged or of a newer schema."""
    try:
        record = json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(record, dict) or not isinstance(record.get("batches"), dict):
        raise _unreadable(path, "it holds no benchmark")
    if record.get("schema") != SCHEMA:
        raise UserError(
            f"The record {path} has schema {record.get('schema')}; this version reads {SCHEMA}. Update "
            "pdrop-eval, or move the folder away and measure again."
        )
    return record


def _unreadable(path: Path, why: str) -> UserError:
    return UserError(f"The record {path} is damaged: {why}. Move its folder away and measure again.")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
