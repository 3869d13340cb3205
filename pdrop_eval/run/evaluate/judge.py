"""Lets a judge score what a run has left to it, from the stored answers: nothing is generated again."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.judge_client import Judge
from pdrop_eval.run.config.spec import RunSpec
from pdrop_eval.utils.escape import visible
from pdrop_eval.utils.redact import redact_address


def left_to(judge: Judge | None, record: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    """Those of `tasks` that wait for a judge, or were scored by another one than this."""
    if judge is None:
        return []
    return [task for task in tasks if _waits(record["tasks"].get(task), judge)]


def judge_run(judge: Judge, record: dict[str, Any], tasks: Sequence[str], config: RunSpec) -> dict[str, Any]:
    """Scores `tasks` of a run on disk and returns the new record.

    Raises:
        JudgeError: The judge leaves an answer unscored: the scores that it gave wait in the run's folder for
            the next call, and all else is kept.
    """
    from pdrop_eval.benchmarks.mmvet import Judged, judge_entry
    from pdrop_eval.records.store import Run, load_samples

    folder = Path(record["folder"])
    with Run.open(
        Path(config.results), record["model"]["name"], record["strategy"]["name"], record["identity"], {}
    ) as run:
        was_completed = run.completed
        for task in tasks:
            entry = run.record["tasks"][task]
            print(f"{visible(judge.model)} judges {entry['n']} answers of {task}", file=sys.stderr)
            judged = Judged(folder / "predictions" / f"{task}.judged.jsonl")
            result, samples = judge_entry(
                entry, load_samples(folder, task), judge, config.bootstrap, config.seed, judged
            )
            run.add_task(task, result, samples)
            judged.drop()
        if was_completed:
            run.complete()
        return {**run.record, "folder": str(run.folder)}


def _waits(entry: dict[str, Any] | None, judge: Judge) -> bool:
    if entry is None or not (entry["status"] == "needs_judge" or "judge" in entry):
        return False
    by = entry.get("judge", {})
    # earlier versions stored the address as it was given
    return {key: redact_address(str(by.get(key))) for key in judge.describe()} != judge.describe()
