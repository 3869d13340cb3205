"""How well the miniature's order of strategies predicts that of LLaVA-1.5-7B: `make rank`.

    python -m tools.mini.rank --root results/rank --out results/figures

The records are those of one model without dropping and under the strategies that are compared, as each is
published; whatever else the folder has is passed over.
A cell is a strategy at a budget, 192, 128 or 64 of 576 tokens or the same share of another number. What is
compared is the mean over benchmarks of the score in percent of the model's own without dropping: measured
here, and published for the 7B model, over the benchmarks that both have. Where a source prints that mean
alone, it is taken as it is. A cell that isn't published, or can't be run here, doesn't enter.

Spearman's rank correlation is over all cells; its interval resamples strategies, each with all its cells.
The recipe of the model's start may be chosen on the strategies of `CHOSEN_ON` alone; the others are the
test.
"""

import argparse
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pdrop_eval.records.rows.run import Run, to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.budgets.board.blocks import Board, boards
from pdrop_eval.report.budgets.board.rows import Row, row_of
from pdrop_eval.report.budgets.board.words import asked
from pdrop_eval.report.budgets.published import AVERAGE, Printed, printed_rows
from pdrop_eval.report.tables.notes import questions, settings
from pdrop_eval.report.tables.spec import Table, find_table
from pdrop_eval.strategies.registry import VANILLA, info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.terminal.cli import ending

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINIATURE = "mini576"
MODEL, WHOLE, BUDGETS = "llava-1.5-7b", 576, (192, 128, 64)
CLOSE = 0.01  # budgets whose shares differ by no more are the same
# Fixed before any of them was measured on the miniature of 576 tokens: of each kind one half.
CHOSEN_ON = ("fastv", "sparsevlm", "visionzip", "divprune", "prumerge_plus")
TESTED_ON = ("pdrop", "dart", "vispruner", "hired", "cdpruner")
# One marker a strategy, as there are no lines to tell apart those whose colours are near.
MARKERS = dict(zip((*CHOSEN_ON, *TESTED_ON), "sDPvXo^p*<", strict=True))
SIZES = {"D": 4.0, "P": 5.5, "p": 5.5, "*": 7.5}  # of markers that are drawn larger or smaller than others
# Benchmarks by what they ask.
RECOGNITION = ("gqa", "mmbench_en", "mme", "pope", "scienceqa_image", "vqav2")
READING = ("textvqa",)
GROUPS = {"all": (*RECOGNITION, *READING), "recognition": RECOGNITION, "reading": READING}
NEEDED = "text_tower"  # a setting that says where something is, and no variation
# Who keeps more than whom, as the papers of the first print (PyramidDrop: table 5).
CLAIMS = (
    ("pdrop", "fastv"), ("sparsevlm", "fastv"), ("visionzip", "fastv"), ("visionzip", "sparsevlm"),
    ("visionzip", "pdrop"), ("divprune", "visionzip"),
)  # fmt: skip
RESAMPLES, SEED = 2_000, 0
NAME = "rank_mini_vs_7b"


@dataclass(frozen=True)
class Cell:
    """A strategy at a budget: both means in percent of no dropping, and where the published one is from."""

    strategy: str
    tokens: int
    measured: float
    published: float
    benchmarks: int
    source: str


@dataclass(frozen=True)
class Correlation:
    """Spearman's over cells, with its 95% interval over strategies."""

    value: float
    low: float
    high: float
    cells: int
    strategies: int


def published(group: str) -> dict[tuple[str, int], list[Printed]]:
    """What is printed of each strategy at each budget, by source; a mean without its parts counts for all."""
    keys = (*GROUPS[group], AVERAGE) if group == "all" else GROUPS[group]
    made: dict[tuple[str, int], list[Printed]] = {}
    for row in printed_rows(MODEL, keys):
        if row.tokens in BUDGETS:
            made.setdefault((row.strategy, row.tokens), []).append(row)
    return made


def cells(board: Board, group: str = "all") -> list[Cell]:
    """The cells that were measured on a model and are published of the 7B one."""
    if board.vanilla is None:
        raise UserError(f"{board.model} was not measured without dropping: run strategy=vanilla, too.")
    whole = {name: cell.score for name, cell in board.vanilla.cells.items() if cell.score}
    printed = published(group)
    found = []
    for block in board.blocks:
        near = [b for b in BUDGETS if block.share is not None and abs(block.share - b / WHOLE) <= CLOSE]
        for row in block.rows if near else ():
            sources = printed.get((row.info.name, near[0]), [])
            if row.run is None or not _is_compared(row):
                continue
            if row.own and (row.tokens is None or abs(row.tokens - near[0]) > CLOSE * WHOLE):
                continue  # its own setting is another budget, though this block is the nearest
            own = {
                name: 100 * cell.score / whole[name]
                for name, cell in row.cells.items()
                if cell.score is not None and name in whole
            }
            best = max(sources, key=lambda one: len(one.percents.keys() & own.keys()), default=None)
            if best is None:
                continue
            shared = sorted(best.percents.keys() & own.keys())
            average = None if shared else best.scores.get(AVERAGE)
            if average is not None:
                shared = sorted(own.keys() & {*GROUPS[group]})
            if shared:
                theirs = _mean(best.percents, shared) if average is None else average
                values = _mean(own, shared), theirs
                found.append(Cell(row.info.name, near[0], *values, len(shared), best.source))
    return found


def _is_compared(row: Row) -> bool:
    """Whether it is of a strategy of either half, with the settings that are published."""
    other = [word for word in row.words if not word.startswith(NEEDED)]
    return row.info.name in (*CHOSEN_ON, *TESTED_ON) and not other


def of_model(runs: Iterable[Run], model: str, table: Table) -> list[Run]:
    """The runs that are compared, of all that a folder has: those of the model, and vanilla's."""
    return [
        run
        for run in runs
        if run.model == model and (run.strategy == VANILLA or _is_compared(row_of(run, table, ())))
    ]


def _mean(values: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(values[name] for name in names) / len(names)


def correlation(found: Sequence[Cell]) -> Correlation | None:
    """Spearman's of measured and published, with its 95% interval over strategies; None if there is none."""
    import numpy as np
    from scipy.stats import rankdata

    names = sorted({cell.strategy for cell in found})
    if len(found) < 4 or len(names) < 3:
        return None
    pairs = [np.array([(c.measured, c.published) for c in found if c.strategy == name]).T for name in names]

    def spearman(values: np.ndarray) -> float:
        """Pearson's correlation of the ranks; of values that are all the same there is none."""
        ranks = rankdata(values, axis=1)
        return float(np.corrcoef(ranks)[0, 1]) if np.ptp(ranks, axis=1).all() else float("nan")

    every = spearman(np.concatenate(pairs, 1))
    if np.isnan(every):
        return None
    rng = np.random.default_rng(SEED)
    draws = rng.integers(len(names), size=(RESAMPLES, len(names)))
    values = [spearman(np.concatenate([pairs[i] for i in draw], 1)) for draw in draws]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Correlation(every, float(low), float(high), len(found), len(names))


def drawn(found: Sequence[Cell], told: str) -> "Figure":
    """Published against measured, and both orders side by side."""
    from matplotlib.figure import Figure
    from scipy.stats import rankdata

    from pdrop_eval.report.figures.style import FADED, TEXT_WIDTH, looks

    names = [n for n in (*CHOSEN_ON, *TESTED_ON) if any(cell.strategy == n for cell in found)]
    styles = looks(names)
    figure = Figure(figsize=(TEXT_WIDTH, 3.4), layout="constrained")
    points, ranks = figure.subplots(1, 2)
    orders = {
        "published": rankdata([-cell.published for cell in found]),
        "measured": rankdata([-cell.measured for cell in found]),
    }
    for name in names:
        own = [i for i, cell in enumerate(found) if cell.strategy == name]
        marker = MARKERS[name]
        look = {"color": styles[name]["color"], "marker": marker, "markersize": SIZES.get(marker, 4.5)}
        fill = {} if name in CHOSEN_ON else {"markerfacecolor": "white"}
        for axes, x, y in (
            (points, [found[i].measured for i in own], [found[i].published for i in own]),
            (ranks, [orders["measured"][i] for i in own], [orders["published"][i] for i in own]),
        ):
            axes.plot(x, y, linestyle="", label=info_of(name).display_name, **look, **fill)
            for i, *at in zip(own, x, y, strict=True):
                axes.annotate(
                    str(found[i].tokens), at, (3, 2), textcoords="offset points", fontsize=5.5, color=FADED
                )
    points.set(xlabel="miniature, % of its own", ylabel="LLaVA-1.5-7B, published, % of its own")
    points.set_title(told)
    ranks.plot([1, len(found)], [1, len(found)], color=FADED, linewidth=0.7, zorder=0)
    ranks.set(xlabel="rank on the miniature (1: the best)", ylabel="published rank")
    ranks.invert_xaxis()
    ranks.invert_yaxis()
    ranks.set_title("The two orders")
    handles, labels = points.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _out(board: Board) -> str:
    """Which of the strategies that are compared have no cell, and why."""
    there = {cell.strategy for cell in cells(board)}
    rows = [row for row in board.rows if row.info.name in {*CHOSEN_ON, *TESTED_ON} - there]
    told = {
        row.info.display_name: f"it takes no budget, and its own setting retains {row.tokens:.0f} tokens"
        if row.own and row.tokens
        else row.reason or "nothing is published at these budgets"
        for row in rows
    }
    return "".join(f"\nNo cell: {name}, as {why}.\n" for name, why in told.items())


def _told(found: Correlation | None) -> str:
    if found is None:
        return "too few cells"
    return f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"


def claims(found: Sequence[Cell]) -> str:
    """Which of two strategies keeps more where papers say so, at each budget: a list in Markdown."""
    scores = {(cell.strategy, cell.tokens): cell for cell in found}
    lines = []
    for better, worse in CLAIMS:
        pairs = [
            (scores[better, tokens], scores[worse, tokens])
            for tokens in BUDGETS
            if {(better, tokens), (worse, tokens)} <= scores.keys()
        ]
        if not pairs:
            continue
        here = sum(a.measured > b.measured for a, b in pairs)
        there = sum(a.published > b.published for a, b in pairs)
        told = ", ".join(f"{a.measured:.1f} and {b.measured:.1f}% at {a.tokens}" for a, b in pairs)
        names = [info_of(name).display_name for name in (better, worse)]
        lines.append(
            f"- {names[0]} keeps more than {names[1]} at {here} of {len(pairs)} budgets here ({told}), and "
            f"as published at {there}."
        )
    for tokens in BUDGETS:
        own = [cell for cell in found if cell.tokens == tokens]
        pairs = [(a, b) for i, a in enumerate(own) for b in own[:i]]
        alike = sum((a.measured - b.measured) * (a.published - b.published) > 0 for a, b in pairs)
        if pairs:
            lines.append(
                f"- Of {len(pairs)} pairs of strategies at {tokens} tokens {alike} stand as published."
            )
    return "\n".join(lines) + "\n"


def summary(board: Board) -> str:
    """The correlations in Markdown: all, by group, and by the half on which the recipe was chosen."""
    lines = [
        "| Benchmarks | Strategies | Spearman, 95% interval | Cells | Strategies |",
        "|---|---|---|---|---|",
    ]
    halves = {"all": (*CHOSEN_ON, *TESTED_ON), "chosen on": CHOSEN_ON, "held out": TESTED_ON}
    for group in GROUPS:
        known = cells(board, group)
        for half, names in halves.items():
            own = correlation([cell for cell in known if cell.strategy in names])
            count = f"{own.cells} | {own.strategies}" if own else "- | -"
            lines.append(f"| {group} | {half} | {_told(own)} | {count} |")
    for tokens in BUDGETS:
        own = correlation([cell for cell in cells(board) if cell.tokens == tokens])
        count = f"{own.cells} | {own.strategies}" if own else "- | -"
        lines.append(f"| all | at {tokens} tokens | {_told(own)} | {count} |")
    return "\n".join(lines) + "\n"


def table(found: Iterable[Cell]) -> str:
    """The cells as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["strategy", "tokens", "measured_percent", "published_percent", "benchmarks", "half", "source"]
    )
    for cell in found:
        half = "chosen on" if cell.strategy in CHOSEN_ON else "held out"
        values = f"{cell.measured:.4f}", f"{cell.published:.4f}"
        writer.writerow([cell.strategy, cell.tokens, *values, cell.benchmarks, half, cell.source])
    return stream.getvalue()


def main() -> None:
    """Parse the command line, compare, and write the figure, its data and its page."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path("results/rank"), help="folder of the records")
    parser.add_argument("--model", default=MINIATURE, help="whose order is compared")
    parser.add_argument("--table", default="budgets", help="the table whose columns are compared")
    parser.add_argument("--out", type=Path, default=Path("results/figures"), help="where the figure goes")
    options = parser.parse_args()
    with ending("error"):
        write(options.root, options.model, options.table, options.out)


def board_of(root: Path, model: str, name: str) -> Board:
    """The model's runs of a folder, sorted into the blocks of a table.

    Raises:
        UserError: There are none, or they are of several suites or weights.
    """
    spec = find_table(name)
    found = boards(spec, of_model(to_runs(load_records(root)), model, spec))
    ours = [board for board in found if board.architecture == "llava-1.5"]
    if not ours:
        raise UserError(f"No run of {model}, a LLaVA-1.5, at a budget is in {root}. Run first: make rank")
    kinds = sorted({(board.model, board.suite) for board in ours})
    weights = {run.checkpoint for board in ours for run in board.runs}
    if len(ours) > 1 or len(weights) > 1:
        names = ", ".join(f"{model} on suite={suite}" for model, suite in kinds)
        raise UserError(
            f"{root} has runs of {model} that are not of one suite and one checkpoint: {names}, with "
            f"{len(weights)} checkpoints. Name a folder with those of one: --root DIR"
        )
    return ours[0]


def write(root: Path, model: str, name: str, out: Path) -> None:
    """What the command does. Raises UserError."""
    from pdrop_eval.report.figures.style import drawing, saved

    board = board_of(root, model, name)
    known = cells(board)
    page = (
        f"# The miniature's order of strategies and the published one\n\n{PAGE}\n{summary(board)}\n"
        f"What papers say of two strategies, on the miniature:\n\n{claims(known)}\n"
        f"{MEASURED} {board.model}, checkpoint {str(board.runs[0].checkpoint)[:12]}.\n\n"
        f"Settings: {settings(board.runs)}\n\nQuestions: {asked(board)}, {questions(board.runs)}\n"
        f"{_out(board)}"
    )
    with drawing():
        files: dict[str, str | bytes] = dict(saved(drawn(known, f"Spearman {_told(correlation(known))}")))
    for kind, content in {**files, "csv": table(known), "md": page}.items():
        write_atomically(out / f"{NAME}.{kind}", content)
    print(f"{page}\nWritten: {out / NAME}.{{{','.join([*files, 'csv', 'md'])}}}")


MEASURED = "Measured on"  # what the page says before the model and its checkpoint
PAGE = """\
A cell is a strategy at a budget: 192, 128 or 64 of 576 image tokens. Compared is the mean over benchmarks of
the score in percent of the model's own without dropping, on the miniature and as published of LLaVA-1.5-7B,
over the benchmarks that both have. A cell without a published number doesn't enter. The interval resamples
strategies. Cells of three budgets in one order agree in part by themselves, as fewer tokens score lower
everywhere: the last three lines are of one budget each. The recipe of the miniature's start may be chosen on
the first half of the strategies; the held-out half is the test. The last stage of that start was thought of
after an earlier measurement of both halves (the model's card says why), so the held-out half is no untouched
test of it.

Recognition is GQA, MMBench, MME, POPE, ScienceQA and VQAv2, reading is TextVQA. Some cells are means that a
source prints without their parts: they are in no group. Most published numbers are copies in other papers'
tables, and MME is published with its cognition part; the CSV has the source of each.

![Published against measured](rank_mini_vs_7b.svg)
"""


if __name__ == "__main__":
    main()
