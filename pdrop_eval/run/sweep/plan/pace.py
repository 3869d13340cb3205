"""How long cells take, by the records that are there: seconds a question of the same task, or the nearest."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from pdrop_eval.benchmarks.subset import SUBSETS
from pdrop_eval.run.sweep.plan.runs import PlannedRun

_READ = 300  # records, the newest first: more of them tell nothing more


class Pace:
    """Seconds a question takes, and how many questions a task has."""

    def __init__(self, records: Iterable[Mapping[str, Any]]):
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        self._questions: dict[tuple[str, str], int] = {}
        self.records = 0
        for record in records:
            self.records += 1
            self._take(record)

    def seconds(self, run: PlannedRun, task: str) -> float | None:
        """Return the seconds that a cell takes with one worker; None where nothing is known."""
        questions = self.questions(run, task)
        model, strategy = run.asked.model, run.plan.strategy
        for key in ((model, task, strategy), (model, task), (model,)):
            if questions is not None and key in self._seconds:
                return median(self._seconds[key]) * questions
        return None

    def questions(self, run: PlannedRun, task: str) -> int | None:
        """Return how many questions a cell has at most."""
        config = run.plan.config
        limit = SUBSETS.get(config.subset or "", config.limit)
        whole = self._questions.get((run.asked.suite, task))
        return limit if whole is None else min(whole, limit or whole)

    def _take(self, record: Mapping[str, Any]) -> None:
        model, strategy = str(record["model"].get("name")), str(record["strategy"].get("name"))
        for task, entry in record["tasks"].items():
            n, wall = entry.get("n"), entry.get("wall_seconds")
            recalled = (entry.get("usage") or {}).get("recalled", 0)
            if not n or not wall or recalled >= n:
                continue
            for key in ((model, task, strategy), (model, task), (model,)):
                self._seconds.setdefault(key, []).append(wall / (n - recalled))
            if not record.get("limit") and not record.get("subset"):
                self._questions[str((record.get("suite") or {}).get("name")), task] = n


def pace_of(results: Path) -> Pace:
    """Return the pace of the records in a folder; what can't be read tells nothing."""
    paths = sorted(results.glob("*/*/record.json"), key=lambda path: -path.stat().st_mtime)[:_READ]
    return Pace(record for path in paths if (record := _read(path)) is not None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["model"].get, found["strategy"].get, found["tasks"].items
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return found
