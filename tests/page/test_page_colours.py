"""The page's colours: enough contrast in light and dark, by the formula of WCAG 2.2."""

import re

import pytest

from pdrop_eval.report.figures.style import OTHERS
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.paths import PACKAGE

CSS = (PACKAGE / "report" / "site" / "assets" / "page.css").read_text()
TEXT, MARK = 4.5, 3.0  # the least contrast of text, and of lines and shapes that mean something
GROUNDS = ("ground", "surface", "raised")
PAIRS = [
    *((ink, ground) for ink in ("ink", "quiet", "accent", "published") for ground in GROUNDS),
    *((f"{name}", f"{name}-ground") for name in ("right", "wrong", "partly", "problem")),
    ("accent-ink", "accent"), ("accent", "soft"), ("ink", "soft"), ("quiet", "soft"), ("ground", "ink"),
]  # fmt: skip
SERIES = [
    f"series-{name}"
    for name in (
        "other",
        *(f"step-{i}" for i in range(1, 6)),
    )
]


def properties(theme):
    """The custom properties of a theme: those of the light page, and what the dark one changes."""
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in _blocks())
    return light if theme == "light" else {**light, **dark}


def _blocks():
    return [
        re.search(re.escape(name) + r" \{(.*?)\}", CSS, re.S)[1]
        for name in (":root", ':root[data-theme="dark"]')
    ]


def luminance(colour):
    """Relative luminance of #rrggbb."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """From 1 (the same) to 21 (black on white)."""
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_knows_black_on_white_and_the_grey_at_the_limit():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_ground_it_stands_on(theme):
    colours = properties(theme)
    low = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in PAIRS}
    assert {pair: ratio for pair, ratio in low.items() if ratio < TEXT} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_lines_marks_and_the_focus_can_be_seen(theme):
    colours = properties(theme)
    seen = [(name, ground) for name in (*SERIES, "edge", "focus") for ground in ("ground", "surface")]
    assert {pair for pair in seen if contrast(colours[pair[0]], colours[pair[1]]) < MARK} == set()


def test_the_dark_page_changes_every_colour():
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in _blocks())
    assert light.keys() == dark.keys()


@pytest.mark.parametrize(("theme", "colour"), [("light", "color"), ("dark", "dark")])
def test_the_colours_of_strategies_can_be_seen(theme, colour):
    grounds = [properties(theme)[ground] for ground in ("ground", "surface")]
    styles = [info.series_style for info in installed().values() if info.series_style]
    seen = [style[colour] for style in (*styles, *OTHERS)]
    assert len(seen) >= 6
    assert [one for one in seen for ground in grounds if contrast(one.lower(), ground) < MARK] == []
