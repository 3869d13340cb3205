"""What a record says of a plan: which batch sizes it lacks, and whether anything fits. Needs no torch."""

import re
from collections.abc import Mapping
from typing import Any

from pdrop_eval.run.bench.settings import Plan
from pdrop_eval.utils.errors import UserError

# How torch words a failed allocation: "Tried to allocate 2.00 GiB", "you tried to allocate 1024 bytes".
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def lacks(record: Mapping[str, Any], rows: int) -> bool:
    """Whether a batch size is still to be measured: unknown, or something in it ran out of memory.

    Memory may be free the next time, so what ran out of it is tried again.
    """
    batch = record["batches"].get(str(rows))
    return batch is None or bool(batch["out_of_memory"])


def finished(plan: Plan, record: Mapping[str, Any]) -> bool:
    """Whether a record has all batch sizes that are asked for; with auto, the one that was found."""
    if plan.auto:
        return record.get("auto") is not None and not lacks(record, record["auto"])
    return not any(lacks(record, rows) for rows in plan.batch_sizes)


def nothing_fits(record: Mapping[str, Any]) -> UserError | None:
    """The error of a benchmark in which no batch size fits at all; None where one does."""
    batches = list(record["batches"].values())
    if any(batch["variants"] for batch in batches):
        return None
    smallest = min(batches, key=lambda batch: batch["batch_size"], default=None)
    least = 1 if smallest is None else smallest["batch_size"]
    fix = "smaller sizes or dtype=bfloat16" if least == 1 else "batch_sizes=auto or [1]"
    return UserError(f"Not even a batch of {least} fits the memory{_needed(smallest or {})}. Try {fix}.")


def _needed(batch: Mapping[str, Any]) -> str:
    """What was free, and what the allocation asked for that failed, as far as they are known."""
    parts = []
    if batch.get("free_bytes") is not None:
        parts.append(f"{gib(batch['free_bytes'])} were free beside the weights")
    found = [asked for text in batch.get("out_of_memory", {}).values() if (asked := asked_for(text))]
    if found:
        parts.append(f"{gib(min(found))} more at one time were asked for when it was full")
    return f": {', and '.join(parts)}" if parts else ""


def asked_for(message: str) -> float | None:
    """The bytes that the allocation asked for of which an error tells; None where it doesn't say."""
    found = _ASKED.search(message)
    if found is None:
        return None
    unit = next(name for name in _UNITS if name.lower() == found[2].lower())
    return float(found[1].rstrip(".")) * _UNITS[unit]


def gib(size: float) -> str:
    """Bytes for people: "13.2 GiB", "512 MiB"."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
