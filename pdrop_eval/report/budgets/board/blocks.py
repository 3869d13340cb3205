"""Records sorted into blocks: one a budget, with a row for every strategy, and for what couldn't be run.

A budget is the mean of the image tokens that a layer processes. A run has the budget that it was asked for.
One of a strategy that takes none stands at its own setting, in the block nearest to its measured tokens.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pdrop_eval.records.rows.alike import largest, told
from pdrop_eval.records.rows.left_out import LeftOut
from pdrop_eval.records.rows.row_key import family_name
from pdrop_eval.records.rows.run import Run, pick
from pdrop_eval.report.budgets.board.narrow import narrowed
from pdrop_eval.report.budgets.board.rows import (
    BUDGET,
    DIGITS,
    Place,
    Row,
    image_tokens,
    order,
    place_of,
    row_of,
)
from pdrop_eval.report.budgets.published import Printed, model_of, printed
from pdrop_eval.report.tables.cells import MISSING, Cell
from pdrop_eval.report.tables.spec import Table
from pdrop_eval.strategies.registry import VANILLA, info_of


@dataclass
class Block:
    """The rows of a budget.

    Attributes:
        tokens: The budget.
        share: The same, as a share of all image tokens; None where their number isn't recorded.
        varies: Whether pictures have other numbers of image tokens than the one that the model is named with:
            a budget is then a share of each picture's own.
    """

    tokens: float
    share: float | None
    rows: list[Row]
    varies: bool = False

    @property
    def best(self) -> Row | None:
        """The row at this budget with the highest mean in percent of vanilla's."""
        able = [row for row in self.rows if not row.own and row.run and row.percent is not None]
        return max(able, key=lambda row: row.percent or 0, default=None)

    def row_of(self, strategy: str) -> Row | None:
        """The row of a strategy that was run at this budget."""
        return next((row for row in self.rows if row.info.name == strategy and row.run and not row.own), None)


@dataclass
class Board:
    """The blocks of one model, on one suite.

    Attributes:
        model: In words.
        patches: Images that its pictures are cut into.
        name: Its name in records.
        image_tokens: Those of an image before any drop.
        apart: Runs that are of another kind than the rows, see `records.alike`, in words.
        lacking: Benchmarks that are no columns because too few rows have them, with how many have.
    """

    table: Table
    size: str
    suite: str
    model: str
    name: str
    architecture: str
    image_tokens: float | None
    vanilla: Row | None
    blocks: list[Block]
    patches: int = 1
    apart: list[str] = field(default_factory=list)
    lacking: dict[str, int] = field(default_factory=dict)

    @property
    def published(self) -> str | None:
        """The model whose printed numbers stand beside it, by its name in `published.csv`; None for none."""
        return model_of(self.architecture, self.size, self.patches)

    def printed(self, block: "Block") -> list[Printed]:
        """What is printed of strategies at the budget of a block."""
        if block.share is None or self.published is None:
            return []
        return printed(self.architecture, block.share, self.table.benchmarks, self.size)

    @property
    def varies(self) -> bool:
        """Whether the pictures had other numbers of image tokens than `image_tokens`, as Qwen-VL's have."""
        measured = self.vanilla.tokens if self.vanilla else None
        return bool(measured and self.image_tokens and abs(measured - self.image_tokens) > 0.5)

    @property
    def rows(self) -> list[Row]:
        """All rows but vanilla's."""
        return [row for block in self.blocks for row in block.rows]

    @property
    def runs(self) -> list[Run]:
        """The runs of all rows."""
        return [row.run for row in [self.vanilla, *self.rows] if row and row.run]


def boards(table: Table, runs: Iterable[Run], left: Sequence[LeftOut] = ()) -> list[Board]:
    """The blocks of each model that was run at a budget; nothing is compared yet."""
    models: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        if run.key is not None and table.asks_for(run) and run.results.keys() & set(table.benchmarks):
            key = run.key
            models[
                run.size, run.suite, key.architecture, key.patches, key.train, key.train_ratio or 0
            ].append(run)
    found = [_board(table, models[key], left) for key in sorted(models)]
    return [board for board in found if board.blocks]


def _board(table: Table, runs: list[Run], left: Sequence[LeftOut]) -> Board:
    named: dict[Place, list[Run]] = defaultdict(list)
    seeds: dict[Place, set[int | None]] = defaultdict(set)
    for run in runs:
        place = place_of(run)
        named[place].append(run)
        seeds[place._replace(seed=None)].add(place.seed)
    entries = [(row, run) for row, found in named.items() for run in found if _counts(row, named)]
    alike = {id(run): run for run in largest(entries, table.benchmarks)}
    ours = [run for run in alike.values() if not run.imported]  # of others the image tokens aren't known
    first = next(iter(ours or alike.values()), runs[0])
    board = Board(
        table, first.size, first.suite, _model(first), first.model, str(first.of("model", "architecture")),
        image_tokens(first), None, [], first.key.patches if first.key else 1,
    )  # fmt: skip
    rows: dict[float, list[Row]] = defaultdict(list)
    own: list[Row] = []
    for place, found in named.items():
        chosen, _others = pick([run for run in found if id(run) in alike], table.benchmarks)
        if chosen is None:
            continue
        row = row_of(chosen, table, seeds[place._replace(seed=None)])
        if place.strategy == VANILLA:
            board.vanilla = row
        elif place.tokens is not None:
            rows[place.tokens].append(row)
        else:
            own.append(row)
    ids = {run.id for run in alike.values()}
    board.apart = [
        f"{run.id} ({told(run, first) or 'the default'})" for _, run in entries if run.id not in ids
    ]
    mine = [one for one in left if (one.model, one.suite) == (board.name, board.suite)]
    return narrowed(_placed(board, rows, own, mine))


def _placed(board: Board, rows: dict[float, list[Row]], own: list[Row], left: Sequence[LeftOut]) -> Board:
    """The board with its blocks; what stands at its own setting, or couldn't be run, is among the others."""
    made = {(row.info.name, row.words, tokens) for tokens, found in rows.items() for row in found}
    names = {row.info.name for row in own}
    for one in left:
        missing, tokens = _missing(one, board)
        if tokens is not None and (missing.info.name, missing.words, tokens) not in made:
            rows[tokens].append(missing)
        elif tokens is None and one.strategy not in names and one.strategy != VANILLA:
            own.append(missing)
    ordered = sorted(rows, reverse=True)
    if not rows and board.table.layout == "frontier":  # it needs no budgets, only costs
        rows[next((row.tokens for row in own if row.tokens is not None), 0.0)] = []
        ordered = [*rows]
    for row in own:
        row.own = True
        if ordered:
            measured = row.tokens
            near = ordered if measured is None else [min(ordered, key=lambda one: (abs(one - measured), one))]
            rows[near[-1]].append(row)
    whole = board.image_tokens
    board.blocks = [
        Block(tokens, tokens / whole if whole else None, sorted(rows[tokens], key=order), board.varies)
        for tokens in ordered
    ]
    return board


def _counts(row: Place, named: dict[Place, list[Run]]) -> bool:
    """Whether runs are rows here: those at a budget, vanilla, and what was run at no budget at all."""
    fitted = {place.strategy for place in named if place.tokens is not None}
    measured = any(run.of("efficiency", "measured") for run in named[row])
    return row.tokens is not None or row.strategy == VANILLA or measured or row.strategy not in fitted


def _missing(one: LeftOut, board: Board) -> tuple[Row, float | None]:
    """The row of a run that couldn't be made, and its budget; its settings are told as those of a run."""
    tokens: float | None = None
    own, others, info = dict[str, Any](), list[str](), info_of(one.strategy)
    for setting in one.settings:
        name, _, value = setting.partition("=")
        if name == "budget.tokens":
            tokens = round(float(value), DIGITS)
        elif name == "budget.share" and board.image_tokens:
            tokens = round(float(value) * board.image_tokens, DIGITS)
        elif name.startswith(BUDGET):
            others.append(setting.removeprefix(BUDGET))
        else:
            own[name.removeprefix("strategy.")] = {"true": True, "false": False}.get(value, value)
    words = (*(info.label(own, own) if own else ()), *others)
    cells = {name: Cell(MISSING, why=one.reason) for name in board.table.benchmarks}
    return Row(info, words, reason=one.reason, cells=cells), tokens


def _model(run: Run) -> str:
    assert run.key is not None
    patches = f" p{run.key.patches}" if run.key.patches > 1 else ""
    return f"{family_name(run.key.architecture, run.size)}{patches}"
