"""What `pdrop-eval-import` prints."""

from collections.abc import Mapping
from typing import Any

from pdrop_eval.benchmarks.registry import registered
from pdrop_eval.benchmarks.scoring.interval import interval_95
from pdrop_eval.benchmarks.scoring.rules import score_range
from pdrop_eval.records.imported import WORDS
from pdrop_eval.utils import numbers
from pdrop_eval.utils.console import script
from pdrop_eval.utils.escape import visible


def import_text(record: Mapping[str, Any], new: bool) -> str:
    """Return what was imported: a line a task, how it can be paired, and what isn't known."""
    name = visible(record["strategy"]["display_name"])
    limit = f", {record['limit']} questions a task at most" if record.get("limit") else ""
    head = f"{name} on {visible(record['model']['name'])}, suite {visible(record['suite']['name'])}{limit}"
    lines = ["Nothing to do: this is imported already." if not new else "Imported.", head, ""]
    lines += [_task(task, entry) for task, entry in record["tasks"].items()]
    lines += ["", "Unknown, and shown as such: FLOPs, retained tokens, time, hardware."]
    lines += _notes(record)
    lines += [f"record: {record['folder']}/record.json"]
    lines += [f"next: {script('pdrop-eval-compare')} baseline=<folder of a run> candidate={record['folder']}"]
    return "\n".join(lines)


def _task(task: str, entry: Mapping[str, Any]) -> str:
    known = registered()[entry["benchmark"]]
    ends = interval_95(entry["score"], entry.get("stderr"), *score_range(known.scoring))
    interval = f"[{numbers.score(ends[0])}, {numbers.score(ends[1])}]" if ends else "no interval"
    return (
        f"  {task:<16} {numbers.score(entry['score']):>7} {interval:<16} n {entry['n']}, "
        f"scored by {entry['imported']['scored_by']}"
    )


def _notes(record: Mapping[str, Any]) -> list[str]:
    entries = [entry["imported"] for entry in record["tasks"].values()]
    ways = sorted({WORDS[entry["pairs_by"][0]] for entry in entries})
    notes = [f"Pairs with other runs by {' or '.join(ways)}."]
    if not all(entry["pictures_known"] for entry in entries):
        notes.append(
            "Which questions are about one picture isn't known: intervals take them as independent. "
            "like=<folder of a run> or suite=<name> says it."
        )
    reasons = sorted({entry["unconfirmed"] for entry in entries if entry.get("unconfirmed")})
    return notes + [f"Not confirmed to be all questions: {reason}." for reason in reasons]
