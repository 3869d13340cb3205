"""`results/README.md`, written by `make readme`: what was measured on one page, with links to the rest."""

import os
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path

from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.bench.training_speed import load_speed, speed_lines
from pdrop_eval.report.findings.page import summary
from pdrop_eval.report.findings.questions import Comparison
from pdrop_eval.report.formats.grid import Section
from pdrop_eval.report.formats.markdown import markdown
from pdrop_eval.report.readme.blocks import compact
from pdrop_eval.report.readme.reports import figures_text
from pdrop_eval.report.tables.fill import measured_parts, published_part
from pdrop_eval.report.tables.layout import scores_grid
from pdrop_eval.report.tables.spec import TABLES, Table, shipped

FORMATS = ("md", "csv", "tex", "html")
PREDICTED = "rank_mini_vs_7b.md"  # from `make rank`
_INTRO = """# Results

`make readme` writes this page from the records of evaluations and of `make bench-train`; no number is written
by hand. Each model size and suite has its own tables. The miniatures answer rendered questions: compare their
scores only with each other, never with published ones; only their order of strategies is compared."""
_CLAIMS = """The PyramidDrop paper says yes to these questions, for its 7B models. That dropping
costs less the deeper in the decoder it happens is its Figure 1, and that PDrop beats FastV at equal budgets
its Figure 4: the figures below answer both for the miniatures, in a sentence of their own."""


def results_page(
    runs: Sequence[Run],
    found: Sequence[Comparison],
    folder: Path,
    tables: Path,
    written: Set[str],
) -> str:
    """The page that lies in `folder`, beside training/.

    Args:
        runs: What was run.
        found: What training changed.
        folder: Where the page lies.
        tables: Where the files of the tables are.
        written: The tables whose files are written beside the page.
    """
    parts = [_INTRO, _index(folder, tables, written)]
    answers = summary(found)
    if answers:
        parts += [
            "## Which of the paper's claims the miniatures show",
            _CLAIMS,
            answers,
            "Each benchmark, and what the paper prints: [findings](training/findings.md).",
        ]
    speed = load_speed(folder / "training" / "speed.json")
    if speed:
        parts += [
            "## Training speed",
            "Speed-up of a training step over vanilla (median, with the quartiles of the rounds), beside "
            "the theoretical bound:",
            speed_lines(speed),
            "Details: [speed](training/speed.md).",
        ]
    parts += predicted(folder / "figures" / PREDICTED, folder)
    for heading, text in figures_text(list(runs), folder / "figures", folder).values():
        parts += [f"## {heading}", text]
    parts.append("## Tables")
    parts += [_table(table, runs) for table in TABLES.values()]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def predicted(page: Path, folder: Path) -> list[str]:
    """What `make rank` found, as a section of the page in `folder`; nothing where it wasn't run."""
    if not page.is_file():
        return []
    _, _, text = page.read_text(encoding="utf-8").partition("\n")
    place = os.path.relpath(page.parent, folder).replace(os.sep, "/")
    shown = text.strip().replace("](rank_", f"]({place}/rank_")
    return [
        "## What the miniature predicts of a 7B model",
        shown,
        f"Figure and numbers: [{page.stem}]({place}/{page.name}).",
    ]


def _index(folder: Path, tables: Path, written: Set[str]) -> str:
    """Links to every file of the tables, also to those that are there of other records; and to the pages."""
    place = os.path.relpath(tables, folder).replace(os.sep, "/")

    def links(name: str) -> str:
        return ", ".join(f"[{kind}]({place}/{name}.{kind})" for kind in FORMATS)

    there = {path.stem for path in tables.glob("*.md")} | written
    made = [table for table in shipped().values() if table.name in there]
    lines = [f"- {table.label}, {table.title}: {links(table.name)}" for table in made]
    lines.append(f"- All benchmarks of all runs: {links('overview')}")
    lines.append("- The paper's claims, asked of the records: [findings](training/findings.md)")
    if (folder / "training" / "speed.md").is_file():
        lines.append("- Training speed: [speed](training/speed.md)")
    return "\n".join(lines)


def _table(table: Table, runs: Sequence[Run]) -> str:
    """What was measured of a table, and folded beneath it, what the paper prints."""
    measured = compact(measured_parts(table, runs)).strip()
    measured = measured or f"### {table.label}\n\nNothing measured yet."
    published = published_part(table)
    section = Section("", [], [replace(scores_grid(published), title="Published, not measured here")])
    printed = markdown([section]).partition("\n\n")[2].strip()
    title = f"<summary>{table.label} as the paper prints it</summary>"
    return f"{measured}\n\n<details>\n{title}\n\n{printed}\n\n</details>"
