"""One style for all drawings: for a paper's columns, for print in grey, and for the colour-blind.

matplotlib is imported when something is drawn, and draws the same bytes for the same input.
"""

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN, TEXT_WIDTH = 3.25, 6.875  # inches: a column, and both with what is between, of a two-column paper
SIZE, SMALL = 8.0, 7.0  # points, as printed; nothing is smaller
SEQUENTIAL = "cividis"  # of heat maps: lighter is more, in colour, in grey and for the colour-blind
DPI = 200
REFERENCE = "#404040"  # what others are measured against
FADED = "#505050"  # words that go with a drawing
# Okabe and Ito's colours, which colour-blind readers can tell apart; markers and dashes say the same again.
LOOKS: Mapping[str, Mapping[str, Any]] = {
    "vanilla": {"color": REFERENCE, "marker": "*", "linestyle": "-"},
    "pdrop": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "fastv": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
}
_OTHERS = (
    {"color": "#009E73", "marker": "^", "linestyle": "-."},
    {"color": "#CC79A7", "marker": "D", "linestyle": ":"},
    {"color": "#E69F00", "marker": "v", "linestyle": "-"},
)
_STEPS, _LIGHTEST = "viridis", 0.58  # beyond it, a line has less than 3:1 of contrast to white paper
_SHAPES = (("o", "-"), ("s", "--"), ("^", "-."), ("D", ":"))
_RC = {
    "svg.hashsalt": "pdrop-eval",
    "svg.fonttype": "path",  # the same everywhere, whatever fonts a reader has
    "pdf.fonttype": 42,  # TrueType, within the file: journals refuse Type 3
    "font.size": SIZE,
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 4.0,
    "axes.labelsize": SIZE,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "image.cmap": SEQUENTIAL,
    "text.parse_math": False,  # a name with a dollar is no formula
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style, for as long as the context lasts: a figure is made, drawn and saved within it."""
    from matplotlib import style

    with style.context(["default", _RC]):
        yield


def saved(figure: "Figure") -> dict[str, bytes]:
    """A figure by suffix: "svg", "pdf" and "png", without dates or the names of programs' versions."""
    metadata: dict[str, dict[str, Any]] = {
        "svg": {"Date": None, "Creator": "pdrop-eval"},
        "pdf": {"CreationDate": None, "Creator": "pdrop-eval", "Producer": None},
        "png": {"Software": None},
    }
    files = {}
    for kind, known in metadata.items():
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, dpi=DPI, metadata=known)
        files[kind] = stream.getvalue()
    return files


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour, marker and dashes of each strategy; those of a user's own take the next that are free."""
    listed = list(names)
    others = iter(_OTHERS * (len(listed) + 1))
    return {name: dict(LOOKS.get(name) or next(others)) for name in listed}


def steps(count: int) -> list[dict[str, Any]]:
    """Colour, marker and dashes for things in an order, such as layers: from dark to lighter."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = [to_hex(colormaps[_STEPS](_LIGHTEST * i / max(count - 1, 1))) for i in range(count)]
    shapes = [_SHAPES[i % len(_SHAPES)] for i in range(count)]
    return [
        {"color": shade, "marker": marker, "linestyle": line}
        for shade, (marker, line) in zip(shades, shapes, strict=True)
    ]
