"""Cells: a score that knows where it comes from, and the paper's averages and differences of them.

Rules, checked against every number that the paper prints: an average is the mean of a table's benchmarks with
MME divided by 20, and a difference of MME is divided by 20 too.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from pdrop_eval.benchmarks.registry import benchmark_of, divisors
from pdrop_eval.benchmarks.scoring.interval import half_width, interval_95, is_alike
from pdrop_eval.records.rows.run import NEEDS_JUDGE, Run
from pdrop_eval.report.formats.grid import Shown
from pdrop_eval.utils.text.numbers import NONE, count, score

MEASURED, PARTIAL, PUBLISHED = "measured", "partial", "published"
MISSING, JUDGE = "missing", "needs judge"
IMPORTED = "imported"  # a measurement of another program's


@dataclass(unsafe_hash=True)  # not frozen: that takes four times as long, and a table may have 100,000
class Cell:
    """One place in a table. Everything but the state and why it is so is missing where nothing is known.

    It isn't changed once it is made.
    """

    state: str
    score: float | None = None
    stderr: float | None = None
    n: int | None = None
    data: str | None = None  # the content hash of the questions' file
    why: str = ""  # it isn't a plain measurement
    most: float | None = None  # the end of the scale, where it has one

    @property
    def half_width(self) -> float | None:
        """Half the width of the 95% interval; None where the bootstrap can't see one."""
        return half_width(self.stderr)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval, cut at the ends of the scale."""
        return interval_95(self.score, self.stderr, 0.0, self.most)

    @property
    def alike(self) -> bool:
        """Whether all that was drawn came out alike: a standard error of 0 is no certainty."""
        return is_alike(self.stderr)

    @property
    def questions(self) -> tuple[int | None, str | None]:
        """What was asked: how many of which."""
        return self.n, self.data


def measured_cell(run: Run | None, benchmark: str) -> Cell:
    """What a run says of a benchmark."""
    if run is None:
        return Cell(MISSING, why="not measured yet")
    entry = run.results.get(benchmark)
    if entry is None:
        error = str(run.record.get("error") or "").strip().split("\n")[0]
        return Cell(MISSING, why=f"{run.id} stopped before it: {error}" if error else f"not in {run.id} yet")
    n, data = entry.get("n"), entry.get("data_sha256")
    if entry.get("status") == NEEDS_JUDGE or entry.get("score") is None:
        why = f"the answers are in {run.folder}/{entry.get('predictions', 'samples')}"
        return Cell(JUDGE, n=n, data=data, why=why)
    part, about = run.part, benchmark_of(benchmark)
    state = IMPORTED if run.imported else PARTIAL if part else MEASURED
    why = ", ".join(filter(None, [part, about.no_interval]))
    most = None if about.scale in ("sum", "own") else 100.0
    return Cell(state, float(entry["score"]), entry.get("stderr"), n, data, why, most)


def relative(cell: Cell, vanilla: Cell) -> Cell:
    """A score in percent of vanilla's; without one, where vanilla has none or answered other questions."""
    if cell.score is None:
        return cell
    if not vanilla.score or vanilla.questions != cell.questions:
        why = "vanilla has no score" if not vanilla.score else "vanilla answered other questions"
        return replace(cell, score=None, stderr=None, why=why)
    return Cell(cell.state, 100 * cell.score / vanilla.score, n=cell.n, data=cell.data, why=cell.why)


def average(cells: Mapping[str, Cell], benchmarks: Iterable[str], in_percent: bool = False) -> Cell | None:
    """The mean over a table's benchmarks; None if one has no score: a mean over fewer is no average.

    Args:
        cells: the scores by benchmark.
        benchmarks: the table's.
        in_percent: they are all in percent, of vanilla's, whatever the benchmarks' own scales.
    """
    by = {} if in_percent else divisors()
    chosen = {name: cells[name] for name in benchmarks if name in cells}
    scores = [cell.score / by.get(name, 1.0) for name, cell in chosen.items() if cell.score is not None]
    if len(scores) < len(list(benchmarks)):
        return None
    errors = [cell.stderr / by.get(name, 1.0) for name, cell in chosen.items() if cell.stderr is not None]
    known = len(errors) == len(scores)  # the benchmarks ask different questions: independent
    stderr = math.sqrt(sum(error**2 for error in errors)) / len(errors) if known else None
    states = {cell.state for cell in chosen.values()}
    state = PARTIAL if PARTIAL in states else states.pop()
    return Cell(state, sum(scores) / len(scores), stderr, most=100.0)


def difference(
    one: Mapping[str, Cell], other: Mapping[str, Cell], benchmarks: Iterable[str]
) -> dict[str, float]:
    """Scores of one row minus another's, by benchmark and as `avg`, where the questions were the same."""
    found = {}
    for name in benchmarks:
        first, second = one.get(name), other.get(name)
        if first is None or second is None or first.score is None or second.score is None:
            continue
        if first.questions == second.questions:
            found[name] = (first.score - second.score) / benchmark_of(name).divisor
    if found and len(found) == len(list(benchmarks)):
        found["avg"] = sum(found.values()) / len(found)
    return found


def other_questions(one: Mapping[str, Cell], other: Mapping[str, Cell]) -> list[str]:
    """The benchmarks that both rows have, but with other questions: no scores to subtract."""
    both = [name for name in one if name in other and one[name].n is not None and other[name].n is not None]
    return [name for name in both if one[name].questions != other[name].questions]


def shown_score(cell: Cell | None) -> Shown:
    """A score with one decimal; where there is none, why."""
    if cell is None:
        return Shown(NONE, "missing", "needs every benchmark of the row")
    if cell.score is None:
        return Shown(JUDGE if cell.state == JUDGE else NONE, cell.state, cell.why)
    if cell.state == PUBLISHED:
        return Shown(score(cell.score), cell.state)
    facts = [cell.state, cell.why]
    if cell.n is not None:
        facts.append(f"n {count(cell.n)}")
    if cell.alike:
        facts.append("no 95% interval: nothing varied")
    if interval := cell.interval:
        low, high = interval
        facts.append(f"95% interval {score(low)} to {score(high)}")
    return Shown(score(cell.score), cell.state, ", ".join(filter(None, facts)))
