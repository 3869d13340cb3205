"""Joins results folders of several machines, run by run and task by task; what differs is refused.

Everything is read, compared and checked before anything is written. A task's files are written before the
record that vouches for them, each atomically, so a merge that is cut off leaves whole runs, and the same
command again does the rest. The folders that are joined stay as they are.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.left_out import LeftOut, note_left_out, read_left_out
from pdrop_eval.records.samples import checksum, plain_name, samples_path
from pdrop_eval.records.store import measured_efficiency, read_record, record_text
from pdrop_eval.report.share.cells import Stored, difference, preferred
from pdrop_eval.report.site.names import public as without_paths
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import Lock, write_atomically, writing_to

_MOST = 5  # differences that an error names


class _Held(Lock):
    """A lock with the method that `closing` calls."""

    def close(self) -> None:
        self.release()


@dataclass
class Merged:
    """What a merge came to.

    Attributes:
        runs: Runs in the folder.
        tasks: Their finished tasks.
        written: Runs that were new, or got tasks.
        same: Tasks that several folders had, alike.
        unfinished: Runs that are not completed.
    """

    runs: int = 0
    tasks: int = 0
    written: int = 0
    same: int = 0
    unfinished: int = 0


@dataclass
class _Plan:
    """A run as it will be.

    Attributes:
        folder: Where it will be.
        record: The record; the one that is there already, if nothing changes.
        tasks: Where each of its tasks comes from.
        changed: Whether that is another one than is there.
    """

    folder: Path
    record: dict[str, Any]
    tasks: dict[str, Stored]
    changed: bool


def merge(sources: Sequence[Path], into: Path, public: bool = False) -> Merged:
    """Write all runs of some results folders to one.

    Args:
        sources: Folders of records, as `results=` names them.
        into: The folder; it may have runs already, which count as those of the first source.
        public: Without secrets and the folders of the machines in the records.

    Raises:
        UserError: A folder without records, a damaged record or file, two records of one task that differ, or
            a disk that can't be written to. Nothing was written then but for the last.
    """
    found: dict[tuple[str, str], list[tuple[Path, dict[str, Any]]]] = defaultdict(list)
    for source in [into, *(source for source in sources if source.resolve() != into.resolve())]:
        records = _records(source, needed=source is not into or into in sources)
        for folder, record in records:
            found[str(record["model"]["name"]), str(record["run_id"])].append((folder, record))
    counts, faults, plans = Merged(), list[str](), list[_Plan]()
    for (model, name), members in sorted(found.items()):
        plan, wrong = _plan(into / plain_name(model) / plain_name(name), members, counts, public)
        faults += wrong
        plans.append(plan)
    if faults:
        more = f"\n  and {len(faults) - _MOST} more" if len(faults) > _MOST else ""
        listed = "\n  ".join(faults[:_MOST])
        raise UserError(
            f"Nothing was merged: what several folders have isn't the same.\n  {listed}{more}\n"
            "Move the one that you don't trust elsewhere, and merge again."
        )
    for members in found.values():
        for folder, record in members:
            for task, entry in record["tasks"].items():
                _check_files(Stored(folder, task, entry))
    for plan in plans:
        counts.written += plan.changed
        _write(plan)
    _merge_left_out(sources, into, public)
    counts.runs = len(plans)
    counts.tasks = sum(len(plan.tasks) for plan in plans)
    counts.unfinished = sum(plan.record["status"] != "completed" for plan in plans)
    return counts


def _records(root: Path, needed: bool) -> list[tuple[Path, dict[str, Any]]]:
    """The records of a folder; one that is named must have some."""
    paths = sorted(root.glob("*/*/record.json"))
    if not paths and needed:
        if not root.is_dir():
            raise UserError(f"from={root} is no folder. Give one with <model>/<run>/record.json beneath it.")
        level = "It is a run" if (root / "record.json").is_file() else (
            "It has the runs of one model" if any(root.glob("*/record.json")) else "There is no record in it"
        )  # fmt: skip
        raise UserError(f"from={root}: {level}. Name the folder with <model>/<run>/record.json beneath it.")
    return [(path.parent, read_record(path)) for path in paths]


def _plan(
    folder: Path, members: list[tuple[Path, dict[str, Any]]], counts: Merged, public: bool
) -> tuple[_Plan, list[str]]:
    """How one run will be, and what speaks against it."""
    first, record = members[0]
    faults, tasks = [], dict[str, Stored]()
    for place, other in members:
        if without_paths(other.get("identity")) != without_paths(record.get("identity")):
            both = f"{first} and {place}"
            faults.append(f"{record['run_id']}: {both} have different identities: one was edited.")
            continue
        for task, entry in other["tasks"].items():
            stored = Stored(place, task, entry)
            if task not in tasks:
                tasks[task] = stored
            elif unlike := difference(tasks[task], stored):
                faults.append(f"{record['run_id']}, {task}: {tasks[task].folder} and {place}: {unlike}.")
            else:
                counts.same += 1
                tasks[task] = preferred(tasks[task], stored)
    whole = _joined(members, tasks)
    whole = without_paths(whole) if public else whole
    here = record if first.resolve() == folder.resolve() else None
    return _Plan(folder, whole, tasks, changed=whole != here), faults


def _joined(members: list[tuple[Path, dict[str, Any]]], tasks: dict[str, Stored]) -> dict[str, Any]:
    """The record of all tasks: that of the first, with what the others add; it says where that was made."""
    _, record = members[0]
    entries = {task: dict(stored.entry) for task, stored in tasks.items()}
    others = [other for _, other in members[1:]]
    if entries == record["tasks"] and not (
        record["status"] != "completed" and any(other["status"] == "completed" for other in others)
    ):
        return record
    resumed = list(record.get("resumed") or [])
    for place, other in members[1:]:
        added = [task for task, stored in tasks.items() if stored.folder == place]
        if added:
            known = {key: other[key] for key in ("command", "code", "packages", "hardware") if key in other}
            resumed.append({"at": other.get("updated"), "merged": added, **known})
    statuses = {record["status"], *(other["status"] for other in others)}
    status = "completed" if "completed" in statuses else record["status"]
    found = {**record, "tasks": entries, "status": status, "resumed": resumed}
    if status == "completed":
        found.pop("error", None)
    return {**found, **measured_efficiency(found, entries)}


def _check_files(stored: Stored) -> None:
    """Refuses a file that isn't the one that its record vouches for, also where another copy is whole."""
    for path in _files(stored):
        _content(path, stored if path == samples_path(stored.folder, stored.task) else None)


def _files(stored: Stored) -> list[Path]:
    """The files of a task: its samples, and the answers that a judge reads."""
    found = [samples_path(stored.folder, stored.task)]
    if stored.entry.get("predictions"):
        found.append(stored.folder / str(stored.entry["predictions"]))
    return found


def _content(path: Path, stored: Stored | None) -> bytes:
    """The bytes of a file, which must be those that the entry of its task vouches for, if it does."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} can't be read: {error.strerror or error}. Its record says that it is there: merge the "
            "whole folder of the run, or run it again."
        ) from error
    if stored is not None:
        vouched = [stored.entry.get(name) for name in ("samples_sha256", "next_samples_sha256")]
        if any(vouched) and checksum(content) not in vouched:
            raise UserError(
                f"{path} is not what was written with its record (its checksum differs): it was changed or "
                "damaged since. Restore it from a copy, or move the run's folder away and run it again."
            )
    return content


def _write(plan: _Plan) -> None:
    """Write a run: the files of its tasks, then its record."""
    if not plan.changed:
        return
    with writing_to(plan.folder):
        plan.folder.mkdir(parents=True, exist_ok=True)
    with closing(_Held(plan.folder)):
        for stored in plan.tasks.values():
            if stored.folder.resolve() == plan.folder.resolve():
                continue
            for path in _files(stored):
                target = plan.folder / path.relative_to(stored.folder)
                content = _content(path, stored if path == samples_path(stored.folder, stored.task) else None)
                with writing_to(plan.folder):
                    write_atomically(target, content)
        with writing_to(plan.folder):
            write_atomically(plan.folder / "record.json", record_text(plan.record))


def _merge_left_out(sources: Sequence[Path], into: Path, public: bool) -> None:
    """What couldn't be run anywhere: of one run the first reason stays."""
    found: dict[tuple, LeftOut] = {}
    for root in [into, *sources]:
        for one in read_left_out(root):
            told = replace(one, reason=without_paths(one.reason)) if public else one
            found.setdefault(one.run, told)
    if found:
        note_left_out(into, found.values(), list(found))
