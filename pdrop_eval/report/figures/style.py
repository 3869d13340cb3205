"""One style for all drawings: for a paper's columns, for print in grey, and for the colour-blind.

matplotlib is imported when something is drawn, and draws the same bytes for the same input.
"""

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pdrop_eval.strategies.registry import StrategyInfo, info_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Style = dict[str, Any]
COLUMN, TEXT_WIDTH = 3.25, 6.875  # inches: a column, and both with what is between, of a two-column paper
SIZE, SMALL = 8.0, 7.0  # points, as printed; nothing is smaller
SEQUENTIAL = "cividis"  # of heat maps: lighter is more, in colour, in grey and for the colour-blind
DPI = 200
REFERENCE = "#404040"  # what others are measured against
FADED = "#505050"  # words that go with a drawing
# Of strategies without a style of their own, in turn, after Okabe and Ito, as the colour-blind can tell them
# apart; markers and dashes say the same again. `dark`: on a dark ground.
OTHERS = (
    {"color": "#00805E", "dark": "#2fc79b", "marker": "^", "linestyle": "-."},
    {"color": "#B0528A", "dark": "#e3a0c8", "marker": "D", "linestyle": ":"},
    {"color": "#A66F00", "dark": "#f0b429", "marker": "v", "linestyle": "-"},
)
_STEPS, _LIGHTEST = "viridis", 0.58  # beyond it, a line has less than 3:1 of contrast to white paper
_DRAWN = ("color", "marker", "linestyle")
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


def series_styles(names: Iterable[str], known: Mapping[str, StrategyInfo] | None = None) -> dict[str, Style]:
    """Return the style of each strategy: its own, or the next free one.

    Args:
        names: The strategies, in the order of the legend.
        known: What records say of them; of the others, what their files say.
    """
    listed = list(names)
    others = itertools.cycle(OTHERS)
    own = {name: (known or {}).get(name) or info_of(name) for name in listed}
    return {name: dict(info.series_style or next(others)) for name, info in own.items()}


def looks(names: Iterable[str], known: Mapping[str, StrategyInfo] | None = None) -> dict[str, Style]:
    """Return colour, marker and dashes of each strategy for matplotlib; see `series_styles`."""
    styles = series_styles(names, known)
    return {name: {key: style[key] for key in _DRAWN} for name, style in styles.items()}


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
