"""What `pdrop-eval-import` prints."""

import textwrap
from collections.abc import Mapping
from typing import Any

from pdrop_eval.benchmarks.registry import benchmark_of
from pdrop_eval.benchmarks.scoring.interval import interval_95
from pdrop_eval.benchmarks.scoring.rules import score_range
from pdrop_eval.records.imported import WORDS
from pdrop_eval.utils.terminal.console import script
from pdrop_eval.utils.text import numbers
from pdrop_eval.utils.text.escape import visible


def import_text(record: Mapping[str, Any], new: bool, width: int = 80) -> str:
    """Return what was imported: a line a task, how it can be paired, and what isn't known.

    Args:
        record: The record, with its folder.
        new: Whether it was made now.
        width: Columns of the terminal; what can be copied is not folded.
    """
    name = visible(record["strategy"]["display_name"])
    limit = f", at most {record['limit']} questions a task" if record.get("limit") else ""
    head = f"{name} on {visible(record['model']['name'])}, suite {visible(record['suite']['name'])}{limit}"
    said = "Imported: " if new else "Nothing to do, this is imported already: "
    tasks = [_task(task, entry) for task, entry in record["tasks"].items()]
    notes = ["Unknown, and shown as such: FLOPs, retained tokens, time, hardware.", *_notes(record)]
    folded = [line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)]
    last = [
        f"record: {record['folder']}/record.json",
        f"next: {script('pdrop-eval-compare')} baseline=<folder of a run> candidate={record['folder']}",
    ]
    return "\n".join([*textwrap.wrap(said + head, width), "", *tasks, "", *folded, *last])


def _task(task: str, entry: Mapping[str, Any]) -> str:
    said = entry.get("definition") or {}  # of one that is known from this record alone
    rule = str(said.get("scoring") or benchmark_of(entry["benchmark"]).scoring)
    ends = interval_95(entry["score"], entry.get("stderr"), *score_range(rule))
    interval = f"[{numbers.score(ends[0])}, {numbers.score(ends[1])}]" if ends else "no interval"
    return f"  {task:<26} {numbers.score(entry['score']):>7}  {interval:<18} n {entry['n']}"


def _notes(record: Mapping[str, Any]) -> list[str]:
    entries = [entry["imported"] for entry in record["tasks"].values()]
    by = sorted({str(entry["scored_by"]) for entry in entries})
    ways = sorted({WORDS[entry["pairs_by"][0]] for entry in entries})
    notes = [f"Scored by {'; '.join(by)}.", f"Pairs with other runs by {' or '.join(ways)}."]
    if not all(entry["pictures_known"] for entry in entries):
        notes.append(
            "Which questions are about one picture isn't known: intervals take them as independent. "
            "like=<folder of a run> or suite=<name> says it."
        )
    others = sorted({entry["other_version"] for entry in entries if entry.get("other_version")})
    notes += [f"Prompt or scoring may be another one: lmms-eval's {one}." for one in others]
    reasons = sorted({entry["unconfirmed"] for entry in entries if entry.get("unconfirmed")})
    return notes + [f"Not confirmed to be all questions: {reason}." for reason in reasons]
