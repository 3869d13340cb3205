"""What a report consists of, before it has a format: sections with text, grids of shown cells, and notes."""

from dataclasses import dataclass, field

DELTA = "Δ"
CHANGED = "*"
LAYERS = "Image tokens x layers"
# Marks of a benchmark whose number isn't simply comparable with the published one.
CARE, NOT_COMPARABLE = "†", "‡"


@dataclass(unsafe_hash=True)  # not frozen: that takes longer, and a table may have 100,000
class Shown:
    """A cell as text, with its state (a word of `cells`) and a hint for formats that can show one.

    It isn't changed once it is made.
    """

    text: str
    state: str = ""
    hint: str = ""

    @property
    def kind(self) -> str:
        """The state as the name of a class in a style sheet."""
        return self.state.replace(" ", "-")


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

    Attributes:
        labels: How many of the first columns say what a line is.
        left: Whether the last column is text.
        across: Whether the names of bands stand above their lines, across all columns, in every format.
    """

    title: str
    heads: list[str]
    bands: list[Band]
    labels: int = 1
    left: bool = False
    across: bool = False


@dataclass
class Note:
    """Something to be said beneath a table, and the commands that go with it."""

    text: str
    commands: list[str] = field(default_factory=list)


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
