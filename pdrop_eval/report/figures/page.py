"""What the pages and sheets of all figures have in common: the frame of a page, notes, and columns."""

from collections.abc import Callable, Sequence
from typing import Any

from pdrop_eval.report.figures.chart import Chart, Point, cost
from pdrop_eval.report.formats.grid import Grid, Note, Section
from pdrop_eval.report.formats.markdown import escaped, markdown
from pdrop_eval.report.tables.cells import Cell
from pdrop_eval.report.tables.commands import FOLDER
from pdrop_eval.report.tables.notes import alike_notes, questions
from pdrop_eval.utils.text import numbers

_FIRST = ("figure", "model", "train", "train_ratio", "size", "suite", "limit", "benchmark", "strategy")
_LAST = (
    "image_tokens_share", "tflops", "tflops_mean", "share_of_vanilla_flops", "score", "state", "stderr",
    "low", "high", "n", "run_id", "commit",
)  # fmt: skip


def page(
    chart: Chart, picture: str, said: Sequence[str], grids: Sequence[Grid], notes: Sequence[Note]
) -> str:
    """A figure as Markdown. picture: it in words. said: what it shows, and what made it."""
    head = f"# Figure {chart.number}, measured: {escaped(chart.title)}, suite {escaped(chart.suite)}"
    made = (
        f"Made by `make figures` from the records of `make experiment EXPERIMENT={chart.experiment}`; no "
        "number here is written by hand."
    )
    shown = f"![{escaped(picture)}]({chart.name}.svg)"
    first, *others = said
    texts = [escaped(words) for words in (first, f"Questions: {questions(chart.runs)}", *others) if words]
    section = Section("Numbers", [], [grid for grid in grids if grid.bands], list(notes))
    return "\n\n".join([head, made, shown, *texts, markdown([section]).strip()]) + "\n"


def notes(chart: Chart, tokens: str, told: Callable[[Point], str]) -> list[Note]:
    """What has to be said beneath the numbers, the missing points with their commands last.

    Args:
        tokens: What the columns of tokens and FLOPs are.
        told: A point in words.
    """
    cells = [point.cell(key) for point in chart.measured for key in chart.benchmarks]
    records = "; ".join(f"{told(point)} {point.run.id}" for point in chart.measured if point.run)
    found = [Note(tokens), *alike_notes(cells), Note(f"Records: {records}.")]
    found += [Note(f"Not in the figure: {why}.") for why in chart.refused]
    if len({(cell.n, cell.data) for cell in cells}) > len({cell.data for cell in cells}):
        found.append(Note("Not all points answered the same number of questions: don't compare those."))
    if chart.missing:
        which = "; ".join(told(point) for point, _ in chart.missing)
        commands = chart.commands
        needed = any(FOLDER in text for text in commands)
        folder = f" {FOLDER} stands for where the model's checkpoint is." if needed else ""
        found.append(Note(f"Not measured yet: {which}.{folder}", commands))
    return found


def columns(*own: str) -> list[str]:
    """The columns of a figure's sheet; its own are in the middle."""
    return [*_FIRST, *own, *_LAST]


def line(chart: Chart, point: Point, key: str) -> dict[str, Any]:
    """What a sheet says of a point and a benchmark, with every digit; missing is what isn't known."""
    cell, run, model = point.cell(key), point.run, chart.facts[point.model]
    found: dict[str, Any] = {
        "figure": chart.number,
        "model": point.model,
        "train": model["train"],
        "train_ratio": model["train_ratio"],
        "size": chart.size,
        "suite": chart.suite,
        "benchmark": key,
        "strategy": point.strategy,
        "image_tokens_share": point.share,
        "tflops_mean": point.tflops(key),
        "share_of_vanilla_flops": cost(point, chart.vanilla_of(point.model), [key]),
        "score": cell.score,
        "state": cell.state,
        "stderr": 0.0 if cell.alike else cell.stderr,
        "n": cell.n,
    }
    if cell.interval:
        found |= dict(zip(("low", "high"), cell.interval, strict=True))
    if run:
        found |= {
            "limit": run.limit,
            "tflops": run.of("efficiency", "tflops"),
            "run_id": run.id,
            "commit": run.of("code", "commit"),
        }
    return found


def short(point: Point) -> str:
    """A point by its strategy and settings: `FastV share=0.9`."""
    return f"{point.info.display_name} {point.label}".strip()


def percent(share: float | None) -> str:
    """A share without decimals."""
    return numbers.NONE if share is None else f"{share:.0%}"


def interval(cell: Cell) -> str:
    """Its ends: `56.1 to 63.9`."""
    if cell.interval is None:
        return numbers.NONE
    low, high = cell.interval
    return f"{numbers.score(low)} to {numbers.score(high)}"
