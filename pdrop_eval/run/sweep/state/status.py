"""How far the sweep in a folder is, from its board alone: while it runs, from any shell, and afterwards."""

import textwrap
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pdrop_eval.run.sweep.plan.text import duration, numbered
from pdrop_eval.run.sweep.state.board import DONE, FAILED, LOST, REFUSED, RETRIED, RUNNING, Board
from pdrop_eval.run.sweep.state.holder import holder_of
from pdrop_eval.utils.text.escape import visible

_SHOWN = 20  # cells that are named; of more, the number is told


@dataclass(frozen=True)
class State:
    """A sweep at a moment.

    Attributes:
        total: Its cells.
        there: Those that were there when it began.
        done: Those that it has computed.
        running: Those that are being computed, each with its worker and since when.
        failed: Those that failed for good, with reasons.
        retried: How often a cell was tried again.
        words: What each cell that is named is.
        rate: Cells a second, over the last ones.
        alive: Whether somebody is at it.
        holder: Who, or who was.
        begun: When.
        left_out: Runs that can't be made.
        refused: Why workers without a driver may not begin.
    """

    total: int
    there: int
    done: int
    running: dict[str, tuple[str, float]]
    failed: dict[str, str]
    retried: int
    words: Mapping[str, str]
    rate: float | None
    alive: bool
    holder: Mapping[str, Any] | None
    begun: float
    left_out: int
    about: str = ""
    engine: str = "local"
    hosts: tuple[str, ...] = field(default=())
    refused: tuple[str, ...] = ()

    @property
    def waiting(self) -> int:
        """Cells that nobody has begun."""
        return self.total - self.there - self.done - len(self.running) - len(self.failed)

    @property
    def remaining(self) -> float | None:
        """Seconds until all is done, at this rate."""
        left = self.waiting + len(self.running)
        return left / self.rate if self.rate and left else None


def state_of(board: Board) -> State:
    """Read how far a sweep is.

    Raises:
        UserError: There is none.
    """
    definition = board.definition()
    last: dict[str, dict[str, Any]] = {}
    ended: list[float] = []
    retried = 0
    refused = {}
    for event in board.events():
        if event["state"] == REFUSED:
            refused[event["worker"]] = str(event["reason"])
            continue
        last[event["cell"]] = event
        retried += event["state"] in (RETRIED, LOST)
        if event["state"] == DONE:
            ended.append(event["at"])
    states = Counter(event["state"] for event in last.values())
    running = {
        cell: (str(event.get("worker")), event["at"])
        for cell, event in last.items()
        if event["state"] == RUNNING
    }
    failed = {cell: str(event["reason"]) for cell, event in last.items() if event["state"] == FAILED}
    holder = holder_of(board)
    return State(
        total=sum(len(run["tasks"]) for run in definition["runs"]),
        there=sum(len(run["done"]) for run in definition["runs"]),
        done=states[DONE],
        running=running,
        failed=failed,
        retried=retried,
        words={run["id"]: run["words"] for run in definition["runs"]},
        rate=_rate(definition["begun"], ended),
        alive=bool(holder and holder["alive"]),
        holder=holder,
        begun=definition["begun"],
        left_out=len(definition["left_out"]),
        about=definition["about"],
        engine=definition["engine"],
        hosts=tuple(sorted({worker for worker, _ in running.values()})),
        refused=tuple(refused.values()),
    )


def _rate(begun: float, ended: list[float]) -> float | None:
    """Cells a second: of the last fifty, or since the beginning, up to now."""
    recent = ended[-50:]
    if not recent:
        return None
    since = begun if len(recent) == len(ended) else ended[-len(recent) - 1]
    until = max(time.time(), recent[-1]) if len(recent) < 5 else recent[-1]
    return len(recent) / max(until - since, 1e-3)


def status_text(state: State) -> str:
    """Return a state in words, at most 80 columns."""
    at = "running" if state.alive else ("ended" if not state.running and not state.waiting else "stopped")
    return "\n".join(
        [
            *textwrap.wrap(
                f"{at}, engine={state.engine}: {visible(state.about)}", 80, subsequent_indent="  "
            ),
            f"{state.there + state.done} of {state.total} cells done"
            + (f" ({state.there} were there before)" if state.there else "")
            + f", {len(state.running)} running, {state.waiting} waiting, {len(state.failed)} failed",
            *_pace(state),
            *_running(state),
            *_failed(state),
            *(line for one in state.refused for line in textwrap.wrap(f"  refused  {visible(one)}", 80)),
            *([f"tried again: {numbered(state.retried, 'time')}"] if state.retried else []),
            *([f"left out: {numbered(state.left_out, 'run')}; plan=true says why"] if state.left_out else []),
            *_stopped(state),
        ]
    )


def _pace(state: State) -> Iterator[str]:
    if state.rate is None:
        return
    pace = f"{state.rate * 60:.3g} cells a minute" if state.rate < 1 else f"{state.rate:.3g} cells a second"
    left = f", about {duration(state.remaining)} left" if state.alive and state.remaining else ""
    yield pace + left


def _running(state: State) -> Iterator[str]:
    now = time.time()
    for cell, (worker, since) in list(state.running.items())[:_SHOWN] if state.alive else ():
        yield f"  running  {_words(state, cell)} on {worker}, {duration(now - since)}"
    if state.alive and len(state.running) > _SHOWN:
        yield f"  and {len(state.running) - _SHOWN} more"


def _failed(state: State) -> Iterator[str]:
    for cell, reason in list(state.failed.items())[:_SHOWN]:
        text = f"failed   {_words(state, cell)}: {visible(reason)}"
        yield from textwrap.wrap(text, 80, initial_indent="  ", subsequent_indent="           ")
    if len(state.failed) > _SHOWN:
        yield f"  and {len(state.failed) - _SHOWN} more"


def _words(state: State, cell: str) -> str:
    run, _, task = cell.rpartition("/")
    return f"{state.words.get(run, run)}, {task}"


def _stopped(state: State) -> Iterator[str]:
    if not state.alive and (state.running or state.waiting or state.failed):
        yield "Nobody is at it. The same command again computes what is missing."
