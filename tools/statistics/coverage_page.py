"""The page of `tools/statistics/coverage.py`: how often intervals hold the truth."""

import math
from typing import Any

from pdrop_eval.benchmarks.scoring.difference import LEVEL
from pdrop_eval.report.formats.markdown import pipes

ENOUGH = 60  # effective clusters from which an interval should be covered as it promises

_HOW = """Made by `make coverage`: {number:,} simulations a cell. The binomial error of a share of 95% is
{error:.1f} points. The baseline has {base:.0f}% right; in {shared:.0f}% of the clusters (in all of
MMBench's) the questions come out alike. Of all questions, the candidate loses 5% and gains 5% ("no
difference"), 5% and 3% ("few change"), 20% and 15% ("many change"), or 12% and 2% ("most are losses"); ANLS
weighs each by a mark from 0.5 to 1. Of unequal subcategories, each has two thirds of the questions of the one
before.

There is one interval of a difference in this project, for `make compare`, figures, findings and the results
page alike (`pdrop_eval/benchmarks/scoring/difference.py` says how it is made). Truth and width are in points.
Too high: the whole interval lies above the truth. False alarm: it lies below, so that a gate (`gate=shown`)
whose limit is just the true drop says that more is lost; nominally 2.5%, one side of a 95% interval. No
change: in so many simulations no question came out differently. Effective: the number of clusters that would
be as good if all of them weighed the same."""
_SUITES = """The mean of sixteen benchmarks of the kinds above, with its interval. Then how often a gate
(`gate=shown`) gives a false alarm where each loses just its limit: with a limit for each of the sixteen, and
with one for their mean as well. The checks of a gate share its level, so either is nominally at most 2.5%;
{worst:.1f}% and {gate:.1f}% are the most seen here. (The simulations are those of the cells above, shuffled
for each benchmark.)"""
_DUOS = """The mean of two benchmarks with few questions: MME, of which many categories then have a single
picture, and one of accuracy with two questions a picture."""
_PICTURES = """The mean of two benchmarks of accuracy that ask one question each about the same pictures, as
MMBench and MMBench-CN do. On a share of the pictures both questions come out the same. The last column is
what it would be if they were taken to be about different pictures."""

_ABOVE = """**Where it is conservative:** with few clusters or few changes. With one or two changed
questions only a few intervals can come out, and none of them holds the truth in just 95% of the cases; where
no question changed, the bound takes each cluster to change as a whole; MME's categories and MMStar's
subcategories of a single picture are taken together. So an interval of eight or twelve pictures is wider than
it need be."""


def coverage_page(found: dict[str, Any]) -> str:
    """The page."""
    cells, number = found["cells"], found["simulations"]
    error = 100 * math.sqrt(LEVEL * (1 - LEVEL) / number)
    many = [cell for cell in cells if round(cell["effective"]) >= ENOUGH]
    few = [cell for cell in cells if round(cell["effective"]) < ENOUGH]
    alarms = [100 * cell["below"] for cell in cells]
    heads = [
        "Benchmark", "Questions", "Clusters", "Effective", "Changes", "Truth", "Covered %", "Too high %",
        "False alarm %", "Width", "No change %",
    ]  # fmt: skip
    rows = [
        [
            cell["kind"], str(cell["questions"]), str(cell["clusters"]),
            f"{cell['effective']:.0f}", cell["changes"], f"{cell['truth']:+.1f}",
            *(f"{100 * cell[name]:.1f}" for name in ("covered", "above", "below")), f"{cell['width']:.1f}",
            f"{100 * cell['unchanged']:.1f}",
        ]
        for cell in cells
    ]  # fmt: skip
    suites = found["suites"]
    worst, gate = (100 * max(suite[name] for suite in suites) for name in ("family", "gate"))
    return "\n\n".join([
        "# How often the intervals hold the truth",
        _HOW.format(number=number, error=error, base=100 * found["base"], shared=100 * found["shared"]),
        f"{_within(f'{len(many)} cells with {ENOUGH} effective clusters or more', many)}. "
        f"{_within(f'{len(few)} cells with fewer', few)}. False alarms: {min(alarms):.1f} to "
        f"{max(alarms):.1f}%, in the mean {sum(alarms) / len(alarms):.1f}%.",
        _ABOVE,
        pipes(heads, rows, set(range(1, 11)) - {4}),
        "## Sixteen benchmarks together", _SUITES.format(worst=worst, gate=gate),
        _together(suites, [], {"family": "Any of 16 %", "gate": "Any, or the mean %"}),
        "## Two benchmarks with few questions", _DUOS,
        _together(found["duos"], ["kind"], {}),
        "## Two benchmarks about the same pictures", _PICTURES,
        _together(found["pictures"], ["alike"], {"apart": "Covered if apart %"}),
    ]) + "\n"  # fmt: skip


def _within(name: str, cells: list[dict[str, Any]]) -> str:
    """How many of some cells hold the truth as often as they should."""
    under = sum(cell["covered"] < 0.93 for cell in cells)
    above = sum(cell["covered"] > 0.97 for cell in cells)
    return f"Of {name}, {len(cells) - under - above} lie between 93 and 97%, {above} above and {under} below"


def _together(found: list[dict[str, Any]], named: list[str], more: dict[str, str]) -> str:
    """The table of means over several benchmarks; `named`: what else tells rows apart, `more`: columns."""
    words = {"kind": "Beside accuracy", "alike": "Alike"}
    shown = {"covered": "Covered %", "above": "Too high %", "below": "False alarm %", **more}
    heads = ["Changes", "Questions each", *(words[name] for name in named), "Truth", *shown.values()]
    rows = [
        [
            row["changes"], str(row["questions"]),
            *(row[name] if name == "kind" else f"{row[name]:.0%}" for name in named), f"{row['truth']:+.1f}",
            *(f"{100 * row[name]:.1f}" for name in shown),
        ]
        for row in found
    ]  # fmt: skip
    return pipes(heads, rows, set(range(1, len(heads))) - ({2} if "kind" in named else set()))
