"""The page of what it costs to start."""

from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.report.formats.markdown import pipes


def page_of(result: Mapping[str, Any]) -> str:
    """The figures of `tools.speed.answering.startup` as Markdown."""
    code, rows = result["code"], result["rows"]
    changed = " with changes" if code["dirty"] else ""
    missed = [row["command"] for row in rows if not row["met"]]
    two = rows[0]
    lines = [
        "# What it costs to start", "",
        f"**Two questions take {two['now'][1]:.1f} s of processor time, {two['ratio'][1]:.2f} times what "
        f"they took at {result['before']}** ({two['before'][1]:.1f} s). "
        + (f"Goals missed: {', '.join(missed)}." if missed else "All goals are met."), "",
        f"`make startup`: user and system time of each command's whole process, from its start to its end, "
        f"with byte code; medians of {result['rounds']} rounds with quartiles, in which both codes ran in "
        f"turn (code {code['version']} at {str(code['commit'])[:10]}{changed} against {result['before']}; "
        f"{result['hardware']}).", "",
        pipes(
            ["Command", f"At {result['before']}, s", "Now, s", "Ratio", "Goal, s", ""],
            [
                [row["command"], _of(row["before"]), _of(row["now"]), _of(row["ratio"]), f"{row['goal']:g}",
                 "met" if row["met"] else "missed"]
                for row in rows
            ],
            {1, 2, 3, 4},
        ), "",
        "- Two questions: `pdrop-eval model=mini strategy=pdrop 'tasks=[gqa]' limit=2`; nothing to do: the "
        "same command again. The typo is in the name of a setting.",
        "- What is left of the two questions: torch, transformers with torch's distributed tensors, compiler "
        "and scipy, which it imports, and lmms-eval with datasets and pandas.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _of(values: Sequence[float]) -> str:
    low, median, high = values
    return f"{median:.2f} [{low:.2f}, {high:.2f}]"
