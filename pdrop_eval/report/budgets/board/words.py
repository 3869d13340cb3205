"""What a board shows, said from its numbers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pdrop_eval.benchmarks.registry import names
from pdrop_eval.report.budgets.board.blocks import Block, Board
from pdrop_eval.report.budgets.board.order import Order, order_of
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.budgets.board.rows import Row
from pdrop_eval.report.budgets.published import title
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.text import numbers

_BEST = 3  # so many are named
_NAMED = 6  # of pairs


def shows(board: Board, pairing: Pairing) -> list[str]:
    """A paragraph a block: who is best, who beats the controls, how the order differs from the printed."""
    said = []
    for block in board.blocks:
        rows = [row for row in block.rows if row.run and row.percent is not None]
        if rows:
            told = [
                _best(rows),
                *(_beaten(rows, name) for name in board.table.controls if block.row_of(name)),
            ]
            order = order_of(board, block, pairing)
            told += [_ordered(board, order)] if order else []
            said.append(f"{budget(block)}: {' '.join(told)}")
    return said


def asked(board: Board) -> str:
    """How many questions a cell has: `120 a benchmark`, with those that have another number."""
    found: dict[int, list[str]] = defaultdict(list)
    for key in board.table.benchmarks:
        counts = {
            row.cells[key].n for row in [board.vanilla, *board.rows] if row and row.cells[key].n is not None
        }
        for count in counts:
            found[int(count or 0)].append(key)
    if len(found) == 1:
        return f"{next(iter(found))} of each benchmark for every strategy"
    return "; ".join(f"{count} of {', '.join(names(keys).values())}" for count, keys in sorted(found.items()))


def reasons(board: Board) -> list[str]:
    """Why rows are empty, and why others have no interval; each reason once, after all that have it."""
    missing: dict[str, list[tuple[str, str]]] = defaultdict(list)
    unpaired: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for block in board.blocks:
        for row in block.rows:
            if row.run is None:
                missing[row.reason].append((row.name, "" if row.own else f"{block.tokens:.6g}"))
            elif row.mean is None:
                unpaired[row.why].append((row.name, f"{block.tokens:.6g}"))
    said = [f"Not run, {_at_budgets(rows)}: {_ended(reason)}" for reason, rows in missing.items()]
    return said + [f"No interval, {_at_budgets(rows)}: {_ended(reason)}" for reason, rows in unpaired.items()]


def _ended(text: str) -> str:
    """A text that ends as a sentence does."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _at_budgets(rows: Iterable[tuple[str, str]]) -> str:
    """`CDPruner at 48, 32, 16; FastV at 16`."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, tokens in rows:
        found[name] += [tokens] if tokens else []
    return "; ".join(f"{name} at {', '.join(all_)}" if all_ else name for name, all_ in found.items())


def _best(rows: Sequence[Row]) -> str:
    best = sorted(rows, key=lambda row: -(row.percent or 0))[:_BEST]
    told = [f"{row.name} {numbers.score(row.percent)}%" for row in best]
    return f"the highest means are {_listed(told)} of vanilla's scores." if len(told) > 1 else f"{told[0]}."


def _beaten(rows: Sequence[Row], control: str) -> str:
    """Who is above a control, and below it, beyond the interval."""
    signs = {row.name: mean.found.sign for row in rows if (mean := row.against.get(control)) is not None}
    named = display_name(control)
    if not signs:
        return f"Nothing could be compared with {named}."
    above = [name for name, sign in signs.items() if sign > 0]
    below = [name for name, sign in signs.items() if sign < 0]
    worse = f", {len(below)} below it ({_listed(below)})" if below else ""
    which = _which(above, list(signs))
    return f"Beyond the interval, {len(above)} of {len(signs)} are above {named}{which}{worse}."


def _which(some: Sequence[str], every: Sequence[str]) -> str:
    """Which of all, in brackets: by their names, or by those of the others where these are fewer."""
    others = [name for name in every if name not in some]
    if not some or not others:
        return ""
    return f" (all but {_listed(others)})" if len(others) < len(some) else f" ({_listed(some)})"


def _ordered(board: Board, order: Order) -> str:
    lead = (
        f"Printed order of {title(board.published or '')} at this share: {' > '.join(order.printed)}; "
        f"here: {' > '.join(order.measured)}."
    )
    if not order.turned:
        return f"{lead} All {order.pairs} pairs stand as printed."
    certain = [f"{better} above {worse}" for better, worse in order.certain]
    more = f" and {len(certain) - _NAMED} more" if len(certain) > _NAMED else ""
    beyond = (
        f"{len(certain)} of these beyond the interval ({', '.join(certain[:_NAMED])}{more})"
        if certain
        else ("none of these beyond the interval")
    )
    return (
        f"{lead} Of {order.pairs} pairs {order.kept} stand as printed and {len(order.turned)} the other way "
        f"round, {beyond}; Spearman's rank correlation is {order.rho:.2f}."
    )


def budget(block: Block) -> str:
    """A budget in words: `48 tokens a layer (33.3%)`, or `33.3% of each picture's tokens`."""
    if block.varies and block.share is not None:
        return f"{100 * block.share:.1f}% of each picture's tokens"
    share = "" if block.share is None else f" ({100 * block.share:.1f}%)"
    return f"{block.tokens:.6g} tokens a layer{share}"


def undropped(board: Board) -> str:
    """What vanilla processes, in words: `All 144 tokens`."""
    return "All tokens" if board.varies else f"All {numbers.count(board.image_tokens)} tokens"


def _listed(found: Sequence[str]) -> str:
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
