"""The rows of a board compared on the same questions: with vanilla, the controls, and each other."""

from collections.abc import Sequence
from typing import TypeVar

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.benchmarks.scoring.difference import LEVEL
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.paired.answers import Answers, scores_of
from pdrop_eval.report.paired.effect import Mean, Scores, mean_of
from pdrop_eval.report.paired.known import Known
from pdrop_eval.report.paired.stored_samples import CannotCompareError
from pdrop_eval.report.tables.cells import average, relative

Found = TypeVar("Found")


_HELD = 100_000  # samples in memory


class Pairing:
    """Compares runs; what was compared before isn't read again.

    Args:
        keys: The benchmarks.
        known: Comparisons of earlier tables.
    """

    def __init__(self, keys: Sequence[str], known: Known | None = None) -> None:
        self._keys = keys
        self._known = known or Known(None)
        self._answers: dict[tuple[str, str], Answers | CannotCompareError] = {}
        self._held = 0
        self._scores: dict[tuple[str, str], Mean | CannotCompareError] = {}

    def mean(self, baseline: Run, candidate: Run) -> Mean:
        """The candidate against the baseline, over all benchmarks of the table.

        Raises:
            CannotCompareError: They can't be paired; it says why.
        """
        which = baseline.folder, candidate.folder
        if which not in self._scores:
            try:
                self._scores[which] = self._mean(baseline, candidate)
            except CannotCompareError as error:
                self._scores[which] = error
        return _given(self._scores[which])

    def forget(self) -> None:
        """Let go of the samples that were read; what was compared stays."""
        self._answers, self._held = {}, 0

    def _mean(self, baseline: Run, candidate: Run) -> Mean:
        name = self._known.name(baseline, candidate, self._keys)
        found = self._known.get(name)
        if found is None:
            found = mean_of([self._of(baseline, candidate, key) for key in self._keys])
            self._known.put(name, found)
        return found

    def _of(self, baseline: Run, candidate: Run, key: str) -> Scores:
        return scores_of(*(self._read(run, key) for run in (baseline, candidate)))

    def _read(self, run: Run, key: str) -> Answers:
        which = run.folder, key
        found = self._answers.pop(which, None)
        if found is None:
            try:
                found = Answers.of(run, key)
                self._held += len(found.samples)
            except CannotCompareError as error:
                found = error
        self._answers[which] = found  # the last to be dropped
        while self._held > _HELD and len(self._answers) > 2 * len(self._keys):
            dropped = self._answers.pop(next(iter(self._answers)))
            self._held -= 0 if isinstance(dropped, CannotCompareError) else len(dropped.samples)
        return _given(found)


def compare(board: Board, pairing: Pairing) -> None:
    """Give the rows their means against vanilla and against the controls."""
    if board.vanilla is not None and not _lacking(board.vanilla):
        board.vanilla.percent = 100.0
    for block in board.blocks:
        for row in block.rows:
            _compare_row(board, block, row, pairing)
        if board.table.form == "field":
            _compare_with_best(block, pairing)


def _compare_row(board: Board, block: Block, row: Row, pairing: Pairing) -> None:
    if row.run is None:
        return
    _compare_with_vanilla(board, row, pairing)
    for name in board.table.controls:
        control = block.row_of(name)
        if control is None or control.run is None or control is row:
            continue
        try:
            row.against[name] = pairing.mean(control.run, row.run)
        except CannotCompareError:
            row.against[name] = None


def _compare_with_vanilla(board: Board, row: Row, pairing: Pairing) -> None:
    """Give a row its mean in percent of vanilla's, with its interval, or say why it has none."""
    if row.run is None:
        return
    if board.vanilla is None or board.vanilla.run is None:
        row.why = "vanilla was not run"
        return
    for whose, one in (("its", row), ("vanilla's", board.vanilla)):
        if lacking := _lacking(one):
            row.why = f"{whose} record has no score of {', '.join(names(lacking).values())}"
            return
    shares = {name: relative(cell, board.vanilla.cells[name]) for name, cell in row.cells.items()}
    mean = average(shares, board.table.benchmarks, in_percent=True)
    row.percent = mean.score if mean else None
    try:
        row.mean = pairing.mean(board.vanilla.run, row.run)
    except CannotCompareError as error:
        row.why = str(error)


def _compare_with_best(block: Block, pairing: Pairing) -> None:
    """Give the rows of a block their difference from its best at the budget, corrected by Holm's procedure.

    With r rows left, those whose interval at the level 1 - alpha / r excludes zero differ; they leave, and r
    falls. That is Holm's sequence of tests, with the project's interval in the place of a p-value.
    """
    best = block.best
    if best is None or best.run is None:
        return
    left: list[Row] = []
    for row in block.rows:
        if row is best or row.run is None or row.percent is None:
            continue
        try:
            row.best = pairing.mean(best.run, row.run)
        except CannotCompareError:
            continue
        row.verdict = 0
        left.append(row)
    while left:
        level = 1 - (1 - LEVEL) / len(left)
        differ = [row for row in left if row.best and _sign(row.best, level)]
        for row in differ:
            assert row.best is not None
            row.verdict = _sign(row.best, level)
        left = [row for row in left if row not in differ] if differ else []


def _sign(mean: Mean, level: float) -> int:
    """1 or -1 where the whole interval of a level lies on that side of zero, else 0."""
    low, high = mean.found.interval_at(level)
    return 1 if low > 0 else -1 if high < 0 else 0


def _lacking(row: Row) -> list[str]:
    """The benchmarks of which a row has no score."""
    return [name for name, cell in row.cells.items() if cell.score is None]


def _given(found: Found | CannotCompareError) -> Found:
    if isinstance(found, CannotCompareError):
        raise found
    return found
