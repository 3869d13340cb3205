"""What a record says of a benchmark that runs from lmms-eval's own files, without an entry here."""

from typing import Any

from pdrop_eval.benchmarks.registry import NO_INTERVAL, WHOLE
from pdrop_eval.benchmarks.task_files import TaskInfo


def definition_of_numbers(info: TaskInfo, rule: str, scale: str) -> dict[str, Any] | None:
    """What a record says of a benchmark that the registry doesn't have; None of one that it has."""
    if info.registered:
        return None
    return {
        "name": info.name,
        "split": info.split,
        "scale": scale,
        "direction": info.direction,
        "scoring": rule,
        "cluster": info.cluster,
        "why": NO_INTERVAL if rule == WHOLE else "lmms-eval's own number; the registry has no entry.",
    }
