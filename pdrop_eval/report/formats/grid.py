"""What a report consists of, before it has a format: sections with text, grids of shown cells, and notes."""

from dataclasses import dataclass, field

from pdrop_eval.report.tables.cells import JUDGE, PUBLISHED, Cell
from pdrop_eval.report.tables.commands import Note
from pdrop_eval.utils.numbers import NONE, count, score

DELTA = "Δ"
CHANGED = "*"
LAYERS = "Image tokens x layers"
# Marks of a benchmark whose number isn't simply comparable with the published one.
CARE, NOT_COMPARABLE = "†", "‡"


@dataclass(frozen=True)
class Shown:
    """A cell as text, with its state (a word of `cells`) and a hint for formats that can show one."""

    text: str
    state: str = ""
    hint: str = ""


@dataclass
class Line:
    """A line of a grid; `apart` sets it apart from the lines above it."""

    cells: list[Shown]
    apart: bool = False


@dataclass
class Band:
    """Lines that belong together, under a name of their own (empty for none)."""

    name: str
    lines: list[Line]


@dataclass
class Grid:
    """A table: its title, the heads of its columns, and bands of lines.

    labels: how many of the first columns say what a line is. left: whether the last column is text.
    """

    title: str
    heads: list[str]
    bands: list[Band]
    labels: int = 1
    left: bool = False


@dataclass
class Section:
    """A part of the report."""

    title: str
    text: list[str]
    grids: list[Grid]
    notes: list[Note] = field(default_factory=list)


def plain(texts: list[str], apart: bool = False) -> Line:
    """A line of texts that have no state."""
    return Line([Shown(text) for text in texts], apart)


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
    if cell.interval:
        low, high = cell.interval
        facts.append(f"95% interval {score(low)} to {score(high)}")
    return Shown(score(cell.score), cell.state, ", ".join(fact for fact in facts if fact))
