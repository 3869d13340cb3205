"""What a folder of results holds, without what tells of time and place: two such folders can be compared."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# All else of a record is the same bytes, whoever computes it. A commit meanwhile is no other code.
TIMED = ("created", "updated", "command", "hardware", "resumed", "code")
TIMED_TASK = ("wall_seconds", "usage")


def content(results: Path) -> dict[str, str]:
    """Return the files of all runs beneath a folder, with what a killed process has left there."""
    found = {}
    for path in sorted(results.glob("*/*/**/*")):
        if path.is_file() and path.name != ".lock" and ".sweep" not in path.parts:
            found[path.relative_to(results).as_posix()] = _content(path)
    return found


def differences(found: dict[str, str], right: dict[str, str]) -> list[str]:
    """Return the files that only one of two folders has, or that are others there."""
    names = sorted(found.keys() | right.keys())
    return [name for name in names if found.get(name) != right.get(name)]


def entries(results: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks that records have, by their cells: `mini/fastv-0123456789/gqa`."""
    for path in sorted(results.glob("*/*/record.json")):
        run = path.parent.relative_to(results).as_posix()
        for task, entry in json.loads(path.read_text(encoding="utf-8"))["tasks"].items():
            yield f"{run}/{task}", entry


def _content(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.name != "record.json":
        return text
    record = {key: value for key, value in json.loads(text).items() if key not in TIMED}
    record["config"].pop("results")
    for entry in record["tasks"].values():
        for name in TIMED_TASK:
            entry.pop(name)
    return json.dumps(record)
