"""Text of data sets and models in a drawing: visible, in letters that a font has, cut to lines of a width."""

from functools import cache
from typing import Any

from pdrop_eval.utils.text.escape import visible

MISSING, ELLIPSIS = "□", "…"
_POINTS, _LARGE = 72, 64  # of an inch; the size at which letters are measured
# Looked for on the machine, for Chinese, Japanese and Korean: the font that comes with matplotlib has none.
_EAST = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Heiti SC", "Microsoft YaHei", "SimHei",
)  # fmt: skip


@cache
def families() -> list[str]:
    """The fonts that are there, in the order in which a letter is looked for."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _EAST if name in there)]


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font

    files = [findfont(FontProperties(family=name)) for name in families()]
    return frozenset(code for file in files for code in FT2Font(file).get_charmap())


def printable(text: object, most: int | None = None) -> str:
    """On one line, cut behind `most` characters, with `MISSING` for each letter that no font has."""
    return "".join(letter if ord(letter) in _letters() else MISSING for letter in visible(text, most))


def wrapped(text: str, width: float, size: float, lines: int, first: float = 0.0) -> list[str]:
    """A printable text as at most `lines` lines of `width` inches in letters of `size` points.

    What doesn't fit is cut with an ellipsis. A line breaks at a space, or anywhere in a word that is longer
    than a line or has no spaces, as Chinese. first: inches that are taken already at the first line's start.
    """
    found, rest = list[str](), text.strip()
    while rest:
        room = width - (first if not found else 0.0)
        if len(found) == lines - 1 and length(rest, size) > room:
            while rest and length(rest + ELLIPSIS, size) > room:
                rest = rest[: -max(1, len(rest) // 50)]
            return [*found, rest.rstrip() + ELLIPSIS]
        end = _fits(rest, room, size)
        found.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return found


def _fits(text: str, width: float, size: float) -> int:
    """How many characters of a text make the next line; at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if length(text[:middle], size) <= width else (low, middle - 1)
    if low == len(text) or text[low] == " ":
        return low
    space = text.rfind(" ", 0, low)
    return space + 1 if space > low // 2 else low


def length(text: str, size: float, weight: str = "normal") -> float:
    """The printed length of a printable text, in inches; pairs of letters are not moved together in it."""
    return sum(_advance(letter, weight) for letter in text) * size


@cache
def _advance(letter: str, weight: str) -> float:
    """How far a letter advances the text, in inches at a size of one point."""
    return (_measured(f"x{letter}x", weight) - _measured("xx", weight)) / _LARGE


def _measured(text: str, weight: str) -> float:
    from matplotlib.font_manager import FontProperties

    properties = FontProperties(family=families(), size=_LARGE, weight=weight)
    return float(_renderer().get_text_width_height_descent(text, properties, False)[0]) / _POINTS


@cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg

    return RendererAgg(16, 16, _POINTS)
