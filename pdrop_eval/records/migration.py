"""What a record must say, and records of earlier versions brought to the present schema when they are read.

The files stay as they are.

Schema 2 knows more of a model (architecture, tiles, size, how it was trained) and the state of a task
(`scored`, or `needs_judge`).
"""

from datetime import datetime
from typing import Any

from pdrop_eval.records.schema import RECORD, TASK
from pdrop_eval.utils.validation import find_wrong_kind, is_finite_number, shortened

SCHEMA = 2
STATUSES = ("started", "completed", "failed")
TASK_STATUSES = ("scored", "needs_judge")

_ARCHITECTURES = {"llava": ("llava-1.5", 1), "llava_next": ("llava-next", 5)}
_SIZES = {"mini": "mini", "llava_1_5_7b": "7b", "llava_next_7b": "7b"}


def find_fault(record: dict[str, Any]) -> str | None:
    """What is wrong with a record of a schema that is known, in words after "it is damaged:"; or None."""
    if "status" in record and record["status"] not in STATUSES:
        return f"its status is {shortened(record['status'])}, not one of {', '.join(STATUSES)}"
    if fault := find_wrong_kind(record, RECORD):
        return fault
    try:
        datetime.fromisoformat(record["created"]).timestamp()
    except (ValueError, OverflowError):
        return f"its field 'created' is {shortened(record['created'])}, no time in ISO form"
    faults = (_fault_of_task(name, entry, record["schema"]) for name, entry in record["tasks"].items())
    return next((fault for fault in faults if fault), None)


def _fault_of_task(name: str, entry: Any, schema: int) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("benchmark"), str):
        return f"its field 'tasks.{name}' is no result of a benchmark"
    if fault := find_wrong_kind(entry, TASK, f"tasks.{name}."):
        return fault
    status = entry.get("status", "scored" if schema == 1 else None)  # schema 1 had no other
    score, n = entry.get("score"), entry.get("n")
    if status not in TASK_STATUSES:
        return f"its field 'tasks.{name}.status' is {status!r}, not one of {', '.join(TASK_STATUSES)}"
    if not (score is None if status == "needs_judge" else is_finite_number(score)):
        return f"its field 'tasks.{name}.score' is {score!r}, although the task is {status}"
    if type(n) is not int or n < 1:
        return f"its field 'tasks.{name}.n' is {n!r}, no whole number from 1"
    return None


def migrate(record: dict[str, Any]) -> dict[str, Any]:
    """The record in the present schema. Raises ValueError with the reason if it can't be had."""
    return _from_1(record) if record["schema"] == 1 else record


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """What schema 1 left out is known: all of its models were trained without dropping."""
    model = record["model"]
    if model.get("family") not in _ARCHITECTURES:
        raise ValueError(f"it doesn't name the model's family (found: {model.get('family')!r})")
    architecture, patches = _ARCHITECTURES[model["family"]]
    known = {
        "architecture": architecture,
        "patches": patches,
        "size": _SIZES.get(model["name"], model["name"]),
        "train": "vanilla",
        "train_ratio": None,
        "anyres": None,
        "system_prompt": None,
        "training": None,
    }
    tasks = {name: {"status": "scored", **entry} for name, entry in record["tasks"].items()}
    return {**record, "schema": SCHEMA, "migrated_from": 1, "model": {**known, **model}, "tasks": tasks}
