"""Whether strategies stand in the order in which papers print them."""

from dataclasses import dataclass
from itertools import combinations

from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.budgets.published import Printed
from pdrop_eval.report.paired.stored_samples import CannotCompareError


@dataclass(frozen=True)
class Order:
    """The strategies of a block that were measured and are printed with all benchmarks of the table.

    Attributes:
        printed: Their names, best first, as papers print them.
        measured: The same, as they were measured.
        kept: How many of the pairs stand in the printed order.
        turned: The pairs that stand the other way round, the better one here first.
        certain: Those of them whose difference here is beyond its 95% interval.
        rho: Spearman's rank correlation of both orders.
    """

    printed: list[str]
    measured: list[str]
    kept: int
    turned: list[tuple[str, str]]
    certain: list[tuple[str, str]]
    rho: float

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return self.kept + len(self.turned)


def order_of(board: Board, block: Block, pairing: Pairing) -> Order | None:
    """Return how a block stands to the printed order.

    None where fewer than three strategies can be compared, or none of them differ. Vanilla, and what stands
    at its own setting, is no part of it.
    """
    published = {row.strategy: row for row in board.printed(block)}
    rows = [
        (row, one)
        for row in block.rows
        if row.run and not row.own and not row.words and row.percent is not None
        if (one := published.get(row.info.name)) is not None and one.percent is not None
    ]
    if len(rows) < 3:
        return None
    kept, turned, certain = 0, [], []
    for (row, one), (other, another) in combinations(rows, 2):
        if _value(one) == _value(another) or row.percent == other.percent:
            continue  # no order to keep
        if (_value(one) > _value(another)) == ((row.percent or 0) > (other.percent or 0)):
            kept += 1
            continue
        better, worse = (row, other) if (row.percent or 0) > (other.percent or 0) else (other, row)
        turned.append((better.info.display_name, worse.info.display_name))
        try:
            assert better.run is not None
            assert worse.run is not None
            if pairing.mean(worse.run, better.run).found.sign > 0:
                certain.append(turned[-1])
        except CannotCompareError:
            continue
    if not kept and not turned:
        return None
    return Order(
        [row.info.display_name for row, _ in sorted(rows, key=lambda pair: -_value(pair[1]))],
        [row.info.display_name for row, _ in sorted(rows, key=lambda pair: -(pair[0].percent or 0))],
        kept, turned, certain,
        _spearman([row.percent or 0 for row, _ in rows], [_value(one) for _, one in rows]),
    )  # fmt: skip


def _value(row: Printed) -> float:
    assert row.percent is not None
    return row.percent


def _spearman(one: list[float], other: list[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
