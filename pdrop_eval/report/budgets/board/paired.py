"""The rows of a board compared on the same questions: with vanilla, the controls, and each other."""

from collections.abc import Iterator, Sequence

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.benchmarks.scoring.difference import LEVEL
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.paired.effect import Mean, Scores, mean_of
from pdrop_eval.report.paired.known import Known
from pdrop_eval.report.paired.many import Many, Questions
from pdrop_eval.report.paired.pairing import pair
from pdrop_eval.report.paired.stored_samples import CannotCompareError
from pdrop_eval.report.tables.cells import average, relative


class Pairing:
    """Compares runs; what was compared before isn't read again.

    Args:
        keys: The benchmarks.
        known: Comparisons of earlier tables.
        asked: Questions that were read, where several tables share them.
    """

    def __init__(
        self, keys: Sequence[str], known: Known | None = None, asked: Questions | None = None
    ) -> None:
        self._keys = keys
        self._known = known or Known(None)
        self._asked: Questions = {} if asked is None else asked
        self._many = Many(keys, self._asked)
        self._means: dict[tuple[str, str], Mean | CannotCompareError] = {}

    def mean(self, baseline: Run, candidate: Run) -> Mean:
        """The candidate against the baseline, over all benchmarks of the table.

        Raises:
            CannotCompareError: They can't be paired; it says why.
        """
        which = baseline.folder, candidate.folder
        if which not in self._means:
            self.prepare([(baseline, candidate)])
        found = self._means[which]
        if isinstance(found, CannotCompareError):
            raise found
        return found

    def prepare(self, pairs: Sequence[tuple[Run, Run]]) -> None:
        """Compare many pairs of a baseline and a candidate: those that were asked the same at once."""
        names: dict[tuple[str, str], str | None] = {}
        left: dict[tuple[str, str], tuple[Run, Run]] = {}
        for baseline, candidate in pairs:
            which = baseline.folder, candidate.folder
            if which in self._means or which in left:
                continue
            names[which] = self._known.name(baseline, candidate, self._keys)
            if (found := self._known.get(names[which])) is not None:
                self._means[which] = found
            else:
                left[which] = baseline, candidate
        for (one, other), mean in self._many.means(list(left.values())):
            self._means[one.folder, other.folder] = mean
        for which, both in left.items():
            made = self._means[which] if which in self._means else _one_by_one(*both, self._keys)
            self._means[which] = made
            if isinstance(made, Mean):
                self._known.put(names[which], made)

    def forget(self) -> None:
        """Let go of the samples that were read; what was compared stays."""
        self._many = Many(self._keys, self._asked)


def _one_by_one(baseline: Run, candidate: Run, keys: Sequence[str]) -> Mean | CannotCompareError:
    """Pair two runs question by question; whatever forbids it is told."""
    try:
        return mean_of([Scores.of(pair(baseline, candidate, key)) for key in keys])
    except CannotCompareError as error:
        return error


def compare(board: Board, pairing: Pairing) -> None:
    """Give the rows their means against vanilla and against the controls."""
    if board.vanilla is not None and not _lacking(board.vanilla):
        board.vanilla.percent = 100.0
    for row in board.rows:
        if row.run is not None:
            _in_percent(board, row)
    pairing.prepare(list(_pairs(board)))
    for block in board.blocks:
        for row in block.rows:
            _compare_row(board, block, row, pairing)
        if board.table.form == "field":
            _compare_with_best(block, pairing)


def _pairs(board: Board) -> Iterator[tuple[Run, Run]]:
    """What is compared: rows with vanilla, with the controls, and with the best of their block."""
    for block in board.blocks:
        best = block.best if board.table.form == "field" else None
        for row in block.rows:
            if row.run is None:
                continue
            others = [control for _, control in _controls(board, block, row)]
            others += [board.vanilla] if board.vanilla is not None and not row.why else []
            others += [best] if best is not None and best is not row and row.percent is not None else []
            yield from ((other.run, row.run) for other in others if other.run is not None)


def _controls(board: Board, block: Block, row: Row) -> Iterator[tuple[str, Row]]:
    for name in board.table.controls:
        control = block.row_of(name)
        if control is not None and control is not row:
            yield name, control


def _compare_row(board: Board, block: Block, row: Row, pairing: Pairing) -> None:
    if row.run is None:
        return
    if not row.why and board.vanilla is not None and board.vanilla.run is not None:
        try:
            row.mean = pairing.mean(board.vanilla.run, row.run)
        except CannotCompareError as error:
            row.why = str(error)
    for name, control in _controls(board, block, row):
        assert control.run is not None
        try:
            row.against[name] = pairing.mean(control.run, row.run)
        except CannotCompareError:
            row.against[name] = None


def _in_percent(board: Board, row: Row) -> None:
    """Give a row its mean in percent of vanilla's, or say why it has none."""
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
        for row in left:
            row.verdict = row.best.found.sign_at(level) if row.best else 0
        same = [row for row in left if not row.verdict]
        left = same if len(same) < len(left) else []


def _lacking(row: Row) -> list[str]:
    """The benchmarks of which a row has no score."""
    return [name for name, cell in row.cells.items() if cell.score is None]
