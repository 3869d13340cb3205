"""A comparison for a terminal, at most 80 columns; the Markdown and the JSON hold what is left out here."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.report.compare.output import format
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.text.numbers import difference, score

HEADS = ("", "n", "baseline", "candidate", "diff", "95% interval", "MDE", "p Holm", "agree")
_CHECKS = 3  # that have passed are shown with their numbers, more of them only by name
_NOTES = 12  # lines of differences between the records


def terminal(document: Mapping[str, Any], width: int = 80) -> str:
    """All of it; lines are folded at `width`, but for the names of files."""
    width = max(width, 60)
    runs = document["runs"]
    lines = [
        *_fold(
            f"{runs['candidate']['name']} (candidate) against {runs['baseline']['name']} (baseline)", width
        ),
        *_fold(format.setting(document), width),
        "",
        *_table([HEADS, *map(_row, document["benchmarks"]), _mean(document)], width),
        "",
        *_fold(
            f"{format.UNITS} MDE: the smallest difference that 4 of 5 such comparisons would detect.", width
        ),
        *_fold(_whole(document), width),
        *_groups(document, width),
        *_notes(document, width),
        "",
        *_verdict(document["verdict"], width),
        *_files(document),
    ]
    return "\n".join(lines)


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["name"],
        str(one["n"]),
        score(one["baseline"]),
        score(one["candidate"]),
        difference(one["difference"]),
        format.interval(one["interval"]),
        format.points(one["smallest"]),
        format.probability(one["p_holm"]),
        format.percent(one["agreement"], 0),
    )


def _mean(document: Mapping[str, Any]) -> tuple[str, ...]:
    whole = document["overall"]
    found = difference(whole["difference"]), format.interval(whole["interval"])
    p, agreement = format.probability(whole["p"]), format.percent(whole["agreement"], 0)
    return ("Mean", str(whole["n"]), "", "", *found, format.points(whole["smallest"]), p, agreement)


def _table(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = "  " if sum(widths) + 2 * (len(widths) - 1) <= width else " "
    lines = []
    for row in rows:
        cells = [cell.rjust(size) if index else cell.ljust(size)
                 for index, (cell, size) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
        lines.append(gap.join(cells).rstrip())
    rule = "-" * max(map(len, lines))
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def _whole(document: Mapping[str, Any]) -> str:
    whole = document["overall"]
    relative = format.percent(whole["relative"])
    if ends := whole["relative_interval"]:
        relative += f" ({ends[0]:.1f} to {ends[1]:.1f})"
    return f"Relative performance {relative}. {format.changes(document)}."


def _groups(document: Mapping[str, Any], width: int) -> list[str]:
    found = document["groups"]
    if not found:
        return []
    return ["", *_fold(format.groups(found), width)]


def _notes(document: Mapping[str, Any], width: int) -> list[str]:
    notes = [f"Not compared: {one['name']}: {one['why']}" for one in document["left_out"]]
    notes += [f"Warning: {text}" for text in document["warnings"]]
    more = [f"... and {len(notes) - _NOTES} more, in the Markdown"] if len(notes) > _NOTES else []
    lines = [line for note in [*notes[:_NOTES], *more] for line in _fold(note, width, "  ")]
    return ["", *lines] if lines else []


def _verdict(verdict: Mapping[str, Any], width: int) -> list[str]:
    passed = [check for check in verdict["checks"] if check["passed"]]
    if len(passed) > _CHECKS:
        lines = _fold(f"ok   {', '.join(check['title'] for check in passed)}", width, "     ")
    else:
        lines = [line for check in passed for line in _fold(f"ok   {check['words']}", width, "     ")]
    for check in verdict["checks"]:
        lines += [] if check["passed"] else _fold(f"FAIL {check['words']}", width, "     ")
    return [*lines, *_fold(f"{format.VERDICTS[verdict['status']].upper()}: {verdict['words']}", width)]


def _files(document: Mapping[str, Any]) -> list[str]:
    files = document["files"]
    return [f"Written: {', '.join(files['kinds'])} of", f"  {visible(files['stem'])}.*"] if files else []


def _fold(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(visible(text), width, subsequent_indent=indent, break_on_hyphens=False)
