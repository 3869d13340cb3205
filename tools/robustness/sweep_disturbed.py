"""A sweep on a cluster that kills hit while it computes, and what has to hold of it afterwards."""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pdrop_eval.records.journal import read_answers
from pdrop_eval.run.sweep.state.board import RUNNING, Board
from tools.robustness.compared import content, differences, entries
from tools.robustness.sweep_cluster import TwoNodes

KINDS = ("worker", "driver", "node")
SWEEP = [
    "models=[mini]", "strategies=[vanilla,fastv,pdrop]", "budgets=[64]", "tasks=[gqa,pope,mme,chartqa]",
    "batch_size=8", "limit=48",
]  # fmt: skip
_PATIENCE = 1800.0  # seconds until a sweep is taken to hang: other programs may run beside it
_DAMAGED = "pope"
_EARLY = 0.2  # of the kills hit workers that may still load their model


@dataclass
class Tally:
    """What came of the kills.

    Attributes:
        kills: Of which kind each was that hit a sweep at work.
        sweeps: How many they were.
        finished: Cells that were finished when a kill came.
        again: Of these, computed again.
        cut: Cells that were cut by a kill and handed out again.
        kept: Their answers that were in a journal.
        asked_again: Of these, asked again.
        failed: Cells with a damaged sample.
        others: Cells beside them.
        wrong: What was wrong, in words.
    """

    kills: list[str] = field(default_factory=list)
    sweeps: int = 0
    finished: int = 0
    again: int = 0
    cut: int = 0
    kept: int = 0
    asked_again: int = 0
    failed: int = 0
    others: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, right: bool, what: str) -> None:
        """Notes what went wrong."""
        if not right:
            self.wrong.append(what)


@dataclass(frozen=True)
class Seen:
    """What a sweep had on the disk when a kill had come: finished tasks, answers in journals of others."""

    at: float
    finished: dict[str, dict[str, Any]]
    kept: dict[str, int]

    @property
    def answers(self) -> int:
        """How many answers were there."""
        return sum(self.kept.values()) + sum(entry["n"] for entry in self.finished.values())


class Disturbed:
    """A sweep in a folder of its own."""

    def __init__(self, nodes: TwoNodes, results: Path, chance: random.Random, tally: Tally):
        self._nodes, self._results, self._chance, self._tally = nodes, results, chance, tally
        self._log = results.with_suffix(".log")
        self._seen: list[Seen] = []
        self._given: dict[str, set[float]] = {}  # cell: when it was handed out
        self._until = time.monotonic() + _PATIENCE
        self._driver = self._start()

    def run(self, kinds: Sequence[str], whole: dict[str, str], hit: Callable[[], object]) -> None:
        """Kill what `kinds` names, in this order, while the sweep computes; then check what it leaves."""
        self._tally.sweeps += 1
        for kind in kinds:
            if not self._at_work():
                break
            if self._kill(kind):
                self._tally.kills.append(kind)
                hit()
        status = self._end()
        name = self._results.name
        self._tally.check(status == 0, f"{name}: the command ended with {status}, see {self._log}")
        differ = differences(content(self._results), whole)
        self._tally.check(not differ, f"{name}: {', '.join(differ[:3])} are others, see {self._results}")
        self._note_given()
        self._check_seen()

    def _start(self) -> subprocess.Popen[bytes]:
        return started([*SWEEP, "engine=ray", f"address={self._nodes.address}"], self._results, self._log)

    def _at_work(self) -> bool:
        """Wait for a moment after an answer since the last kill; at times, until a cell is begun."""
        last = self._seen[-1] if self._seen else Seen(0.0, {}, {})
        before = 0 if self._chance.random() > _EARLY else -1
        while self._driver.poll() is None and time.monotonic() < self._until:
            self._note_given()
            begun = any(at > last.at for times in self._given.values() for at in times)
            now = Seen(0.0, dict(entries(self._results)), kept_answers(self._results))
            if begun and now.answers - last.answers > before:
                time.sleep(self._chance.uniform(0.2, 3.0))
                return self._driver.poll() is None
            time.sleep(0.2)
        return False

    def _kill(self, kind: str) -> bool:
        """Kill one; whether it was there. What had been finished before is noted."""
        finished = dict(entries(self._results))
        self._note_given()
        if kind == "worker" and not self._nodes.kill_worker(self._chance):
            return False
        if kind == "node":
            self._nodes.replace_node()
        if kind == "driver":
            self._driver.kill()
            if self._driver.wait() != -signal.SIGKILL:
                self._driver = self._start()
                return False
        self._seen.append(Seen(time.time(), finished, kept_answers(self._results)))
        if kind == "driver":
            self._driver = self._start()
        return True

    def _end(self) -> int | None:
        """The status of the command; None where it hangs."""
        try:
            return self._driver.wait(max(1.0, self._until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._driver.kill()
            return None

    def _note_given(self) -> None:
        """Note when which cell was handed out: a driver that is started again forgets it."""
        board = Board(self._results)
        for event in board.events():
            if event["state"] == RUNNING:
                self._given.setdefault(event["cell"], set()).add(event["at"])

    def _check_seen(self) -> None:
        """No finished cell was computed again, and of those that were cut no answer that was kept."""
        last = dict(entries(self._results))
        cut: dict[str, int] = {}
        for seen in self._seen:
            again = [cell for cell, entry in seen.finished.items() if last.get(cell) != entry]
            self._tally.check(not again, f"{self._results.name}: computed again: {', '.join(again)}")
            self._tally.finished += len(seen.finished)
            self._tally.again += len(again)
            for cell, kept in seen.kept.items():
                if any(at > seen.at for at in self._given.get(cell, ())):
                    cut[cell] = max(kept, cut.get(cell, 0))
        for cell, kept in cut.items():
            lost = max(0, kept - last[cell]["usage"]["recalled"]) if cell in last else kept
            self._tally.check(not lost, f"{self._results.name}: {lost} answers of {cell} were asked again")
            self._tally.cut, self._tally.kept = self._tally.cut + 1, self._tally.kept + kept
            self._tally.asked_again += lost


def kept_answers(results: Path) -> dict[str, int]:
    """How many answers of unfinished tasks are in journals, by cell."""
    done = {cell for cell, _ in entries(results)}
    keys: dict[str, set[str]] = {}
    for path in sorted(results.glob("*/*/journal/*.jsonl")):
        run = path.parent.parent.relative_to(results).as_posix()
        cell = f"{run}/{path.name.split('.')[0]}"
        if cell not in done:
            keys.setdefault(cell, set()).update(read_answers(path))
    return {cell: len(found) for cell, found in keys.items()}


def started(arguments: Sequence[str], results: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start `pdrop-eval-sweep`, with its output in a file."""
    command = [sys.executable, "-m", "pdrop_eval.run.sweep.cli", *arguments, f"results={results}"]
    with open(log, "ab") as output:
        return subprocess.Popen(command, stdout=output, stderr=output)


def alone(results: Path) -> tuple[int, Path]:
    """Run the sweep with engine=local, undisturbed; returns its status and its log."""
    log = results.with_suffix(".log")
    return started(SWEEP, results, log).wait(), log


def with_damaged_sample(nodes: TwoNodes, work: Path, tally: Tally) -> None:
    """Run a sweep whose data have a picture that can't be read: its task fails, the others are done."""
    work.mkdir(parents=True, exist_ok=True)
    log = work / "sweep.log"
    few = [*SWEEP[:-1], "limit=8", f"data.root={damaged_suite(work / 'data')}"]
    ray = ["engine=ray", f"address={nodes.address}"]
    status = started([*few, *ray], work / "results", log).wait()
    board = Board(work / "results")
    states = {event["cell"]: event for event in board.events()}
    failed = [cell for cell, event in states.items() if event["state"] == "failed"]
    done = [cell for cell, event in states.items() if event["state"] == "done"]
    said = log.read_text(encoding="utf-8")
    tally.failed, tally.others = len(failed), len(done)
    right = status == 1 and len(failed) == 3 and len(done) == 9
    right = right and all(cell.endswith(f"/{_DAMAGED}") for cell in failed)
    tally.check(right, f"damaged: status {status}, {len(failed)} failed, {len(done)} done, see {log}")
    tally.check("3 cells have failed" in said and "Traceback" not in said, f"damaged: not told, see {log}")
    written = {cell for cell, _ in entries(work / "results")}
    tally.check(written == {*done}, f"damaged: other cells in records than done, see {work}")


def damaged_suite(folder: Path) -> Path:
    """The rendered suite, in which a task has a picture that can't be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pdrop_eval.benchmarks.rendered.suite import ensure_suite

    suite = Path(shutil.copytree(ensure_suite(), folder))
    path = suite / f"{_DAMAGED}.parquet"
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[4] = {**images[4], "bytes": b"no picture"}
    place = table.schema.get_field_index("image")
    damaged = pa.array(images, type=table.schema.field("image").type)
    pq.write_table(table.set_column(place, table.schema.field("image"), damaged), path)
    return folder
