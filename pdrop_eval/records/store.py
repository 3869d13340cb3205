"""Versioned records of runs: one folder a run, written safely, readable without torch.

A run lives in `<root>/<model>/<strategy>-<id>/`, where the id hashes what decides its numbers. Its
`record.json` is written first with the status `started` and replaced atomically whenever a task is finished,
so a run that is interrupted keeps every finished task (and, in its journal, what was answered of the task it
was at), and the next call with the same identity goes on from there.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pdrop_eval.records.journal import drop_journal
from pdrop_eval.records.json_text import parsed
from pdrop_eval.records.migration import SCHEMA, migrate
from pdrop_eval.records.samples import checksum, content_of, load_samples, plain_name, samples_path, tally_of
from pdrop_eval.records.schema import TASK_STATUSES, find_fault
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import LARGEST_TEXT, Lock, remove_unfinished, write_atomically, writing_to
from pdrop_eval.utils.validation import is_finite_number, to_plain

__all__ = ["Run", "load_records", "load_samples", "read_record", "run_folder", "run_id"]


class Run:
    """One run on disk, from `Run.open`. Holds the folder's lock until `complete`, `fail` or `close`."""

    def __init__(self, folder: Path, record: dict[str, Any], lock: Lock):
        self.folder = folder
        self.record = record
        self._lock = lock
        self._resumed: dict[str, Any] = {}

    @classmethod
    def open(
        cls, root: Path, model: str, strategy: str, identity: dict, header: dict, *, shared: bool = False
    ) -> "Run":
        """Starts a run, or takes up the one of the same identity where it stopped.

        `identity` is everything that decides the numbers (it names the folder); `header` is merged into a new
        record and needs at least the dicts `model` and `strategy`. Of a run whose tasks several processes
        compute (`shared`), the record says that it was resumed only where that was on another machine, or
        with other code or packages.

        Raises:
            UserError: The folder can't be written, another process holds it, or its record can't be read.
        """
        identity = to_plain(identity)
        folder = run_folder(root, model, strategy, identity)
        with writing_to(folder):
            (folder / "samples").mkdir(parents=True, exist_ok=True)
        run = cls(folder, {}, Lock(folder))
        try:
            with writing_to(folder):
                remove_unfinished(folder)
            if (folder / "record.json").exists():
                run.record = read_record(folder / "record.json")
                run._take_up(identity, to_plain(header), shared)
            else:
                run.record = _new_record(folder, identity, to_plain(header))
                run._write()
        except BaseException:
            run.close()
            raise
        return run

    @property
    def done(self) -> set[str]:
        """The names of the finished tasks."""
        return set(self.record["tasks"])

    @property
    def completed(self) -> bool:
        """Whether nothing is left to do."""
        return self.record["status"] == "completed"

    def add_task(
        self, task: str, result: dict, samples: list[dict], predictions: dict | None = None,
        order: Sequence[str] = (), tally: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Stores a finished task: its samples first, then the record that says that they are there.

        The result's `status` is "scored" (if it says nothing) or "needs_judge": then there is no score, and
        `predictions`, the answers in the form in which they are judged, become a file that the result names.
        A task that is there already is replaced. The tasks in `order` stand in the record as there, behind
        all others: they may be finished in any order. `tally` is what the samples add up to
        (`benchmarks.stored_tally`), which comparisons take in their place. Raises ValueError for a
        result that is no measurement (no finite score, no samples): it would become a number in a table.

        Raises:
            UserError: It can't be written; the tasks before it stay as they were.
        """
        result = {"status": "scored", **to_plain(result)}
        _check_result(task, result, predictions)
        if predictions is not None:
            result["predictions"] = f"predictions/{plain_name(task)}.json"
            answers = _json(to_plain(predictions), indent=1) + "\n"
            with writing_to(self.folder):
                write_atomically(self.folder / result["predictions"], answers)
        lines = "".join(_json(to_plain(sample)) + "\n" for sample in samples)
        result["samples_sha256"] = checksum(lines.encode())
        result.pop("tally", None)
        if tally is not None:
            result["tally"] = tally_of(result["samples_sha256"], tally)
        others, old = {**self.record["tasks"]}, self.record["tasks"].get(task, {})
        if old.get("samples_sha256"):  # a kill between the two files leaves what the record vouches for
            self._write(tasks={**others, task: {**old, "next_samples_sha256": result["samples_sha256"]}})
        with writing_to(self.folder):
            write_atomically(samples_path(self.folder, task), lines)
        result.pop("next_samples_sha256", None)
        tasks = _ordered({**others, task: result}, order)
        self._write(tasks=tasks, status="started", **self._resumed, **measured_efficiency(self.record, tasks))
        with writing_to(self.folder):
            drop_journal(self.folder, task)

    def complete(self) -> None:
        """Marks the run as completed and lets go of its folder."""
        self._write(status="completed")
        self.close()

    def fail(self, message: str) -> None:
        """Marks the run as failed, with the reason, and lets go of its folder; finished tasks are kept."""
        try:
            self._write(status="failed", error=message)
        finally:
            self.close()

    def close(self) -> None:
        """Lets go of the folder. Harmless when called twice."""
        self._lock.release()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _take_up(self, identity: dict, header: dict, shared: bool) -> None:
        if self.record.get("identity") != identity:
            raise UserError(
                f"{self.folder / 'record.json'} belongs to another run than its folder's name says. "
                "Was it copied or edited? Move the folder away and run again."
            )
        # The tasks to come may be measured elsewhere than the ones that are there: the record will say so.
        here = {key: header[key] for key in ("command", "code", "packages", "hardware") if key in header}
        if not (shared and self._was_here(here)):
            self._resumed = {"resumed": [*self.record.get("resumed", []), {"at": _now(), **here}]}
        if not self.completed:  # a completed run stays as it is, unless a task is added
            self.record.pop("error", None)
            self._write(status="started", **self._resumed)

    def _was_here(self, here: Mapping[str, Any]) -> bool:
        """Whether the record says already that tasks were computed like this: code, packages, machine."""
        keys = here.keys() - {"command"}
        return any(
            all(one.get(key) == here[key] for key in keys)
            for one in (self.record, *self.record.get("resumed", []))
        )

    def _write(self, **changes: Any) -> None:
        record = {**self.record, **changes, "updated": _now()}
        with writing_to(self.folder):
            write_atomically(self.folder / "record.json", record_text(record))
        self.record = record  # only now: what is in memory is what is on disk


def record_text(record: Mapping[str, Any]) -> str:
    """A record as its file has it."""
    return _json(record, indent=2) + "\n"


def run_folder(root: Path, model: str, strategy: str, identity: dict) -> Path:
    """Where the run of an identity lives."""
    return Path(root) / plain_name(model) / f"{plain_name(strategy)}-{run_id(identity)}"


def run_id(identity: dict) -> str:
    """The first ten hex digits of the SHA-256 of the identity's canonical JSON (sorted keys, no spaces)."""
    canonical = json.dumps(to_plain(identity), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def load_records(root: Path) -> list[dict]:
    """All records beneath `root`, oldest first, each with its `folder` (a path, not stored in the file).

    An empty or missing root gives an empty list.

    Raises:
        UserError: A record that can't be read.
    """
    paths = sorted(Path(root).glob("*/*/record.json"))
    records = [{**read_record(path), "folder": str(path.parent)} for path in paths]
    return sorted(records, key=lambda record: (record["created"], record["run_id"]))


def read_record(path: Path) -> dict:
    """One record, checked, in the present schema.

    Raises:
        UserError: It is damaged, of a schema newer than this version knows, or of an older one that can't be
            brought to the present.
    """
    try:
        record = parsed(content_of(str(path), LARGEST_TEXT).decode("utf-8"))
    except OSError as error:
        raise UserError(
            f"The record {path} can't be read: {error.strerror}. Check its permissions."
        ) from error
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    if not isinstance(record, dict) or "schema" not in record:
        raise _damaged(path, "it has no schema number")
    if type(record["schema"]) is not int or record["schema"] < 1:  # true and false are no numbers here
        raise _damaged(path, f"its schema is {record['schema']!r}, no whole number from 1 to {SCHEMA}")
    if record["schema"] > SCHEMA:
        raise UserError(
            f"The record {path} has schema {record['schema']}; this version reads up to {SCHEMA}. "
            "Update pdrop-eval, or use another results folder."
        )
    if fault := find_fault(record):
        raise _damaged(path, fault)
    try:
        return migrate(record)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"The record {path} was written by an earlier version (schema {record['schema']}) and can't be "
            f"read as one of schema {SCHEMA}: {error}. Move its folder away and run it again."
        ) from error


def _new_record(folder: Path, identity: dict, header: Mapping) -> dict[str, Any]:
    now = _now()
    fixed = {"schema": SCHEMA, "run_id": folder.name, "status": "started", "created": now, "updated": now}
    clash = sorted(header.keys() & {*fixed, "identity", "tasks"})
    if clash:
        raise ValueError(f"the header may not set {', '.join(clash)}")
    record = {**fixed, **header, "identity": identity, "tasks": {}}
    for key in ("model", "strategy"):
        if not isinstance(record.get(key), dict):
            raise ValueError(f"the header needs {key!r} as a dict")
    return record


def _ordered(tasks: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    places = {name: place for place, name in enumerate(order)}
    return dict(sorted(tasks.items(), key=lambda one: places.get(one[0], -1)))


def measured_efficiency(record: dict[str, Any], tasks: dict[str, Any]) -> dict[str, Any]:
    """The efficiency of a strategy without a schedule: the mean over the samples that are there."""
    efficiency = record.get("efficiency") or {}
    found = [task for task in tasks.values() if task.get("retained_tokens_per_layer")]
    if not efficiency.get("measured") or not found:
        return {}
    n = sum(task["n"] for task in found)
    layers = zip(*(task["retained_tokens_per_layer"] for task in found), strict=True)
    mean = [sum(count * task["n"] for count, task in zip(layer, found, strict=True)) / n for layer in layers]
    tflops = sum(task["tflops_mean"] * task["n"] for task in found) / n
    return {"efficiency": {**efficiency, "image_tokens_per_layer": mean, "tflops": tflops}}


def _check_result(task: str, result: dict, predictions: dict | None) -> None:
    score, n = result.get("score"), result.get("n")
    if result["status"] not in TASK_STATUSES:
        raise ValueError(
            f"task {task}: the status is {result['status']!r}, not one of {', '.join(TASK_STATUSES)}"
        )
    if result["status"] == "needs_judge":
        if score is not None or not (predictions or result.get("predictions")):
            raise ValueError(f"task {task}: what needs a judge has predictions and no score")
    elif not is_finite_number(score):
        raise ValueError(f"task {task}: the score is {score!r}, not a finite number")
    if not isinstance(n, int) or n < 1:
        raise ValueError(f"task {task}: n is {n!r}; a score needs at least one sample")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(
        f"The record {path} is damaged: {why}. Restore it from a copy, or move its folder away and run again."
    )


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
