"""Table 5 of the paper: inference-only strategies side by side, measured and as published.

Rules, checked against every number that the paper prints: `avg` is the mean of the eight benchmarks with MME
divided by 20, and the delta row is PyramidDrop minus FastV, with MME divided by 20 there too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from pdrop_eval.report.frame import pick_runs
from pdrop_eval.report.published import MODEL_NAMES, published

BENCHMARKS = {
    "mme": "MME",
    "scienceqa_image": "SQA-I",
    "mmbench_cn": "MMB-CN",
    "gqa": "GQA",
    "pope": "POPE",
    "textvqa": "TextVQA",
    "chartqa": "ChartQA",
    "docvqa": "DocVQA",
}
LABELS = {"vanilla": "vanilla", "fastv": "FastV", "pdrop": "PDrop"}
# The divisor that brings a benchmark to the 0-100 scale of the others, in averages and differences.
DIVISOR = {"mme": 20.0}


@dataclass(frozen=True)
class Cell:
    """A score on the paper's scale, with the standard error and the number of questions if known."""

    score: float
    stderr: float | None = None
    n: int | None = None
    data: str | None = None  # the content hash of the questions' file

    @property
    def questions(self) -> tuple[int | None, str | None]:
        """What was asked: how many of which."""
        return self.n, self.data


@dataclass
class Row:
    """One strategy. `cells` has what was measured; `run` is empty for a published row."""

    strategy: str
    cells: dict[str, Cell]
    tflops: float | None = None
    tflops_mean: float | None = None  # at the image tokens that the questions really had
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The strategy's name as the paper prints it."""
        return LABELS.get(self.strategy, self.strategy)

    @property
    def average(self) -> Cell | None:
        """The mean over the eight benchmarks; None if one is missing: a mean over fewer is no Avg."""
        if set(self.cells) != set(BENCHMARKS):
            return None
        scaled = [_scaled(name, cell) for name, cell in self.cells.items()]
        errors = [cell.stderr for cell in scaled]
        stderr = None
        if all(error is not None for error in errors):  # the benchmarks ask different questions: independent
            stderr = math.sqrt(sum(error**2 for error in errors if error is not None)) / len(errors)
        return Cell(sum(cell.score for cell in scaled) / len(scaled), stderr)


@dataclass
class Group:
    """One model on one suite: a row a strategy, and what a reader has to know about them."""

    model: str
    suite: str | None
    rows: list[Row]
    others: list[dict[str, Any]] = field(default_factory=list)

    @property
    def delta(self) -> dict[str, float]:
        """PyramidDrop minus FastV, a benchmark or `avg` each; only where both answered the same questions."""
        rows = {row.strategy: row for row in self.rows}
        if not {"pdrop", "fastv"} <= rows.keys():
            return {}
        pdrop, fastv = rows["pdrop"], rows["fastv"]
        if pdrop.run.get("checkpoint") != fastv.run.get("checkpoint"):
            return {}
        same = pdrop.cells.keys() & fastv.cells.keys() - set(self.other_questions(pdrop, fastv))
        difference = {
            name: (pdrop.cells[name].score - fastv.cells[name].score) / DIVISOR.get(name, 1.0)
            for name in BENCHMARKS
            if name in same
        }
        if len(difference) == len(BENCHMARKS):
            difference["avg"] = sum(difference.values()) / len(difference)
        return difference

    @staticmethod
    def other_questions(one: Row, other: Row) -> list[str]:
        """The benchmarks that both rows have, but with other questions: no scores to subtract."""
        both = [name for name in BENCHMARKS if name in one.cells and name in other.cells]
        return [name for name in both if one.cells[name].questions != other.cells[name].questions]


def published_groups() -> list[Group]:
    """The paper's Table 5."""
    numbers = published(5)
    numbers = numbers[numbers["benchmark"] != "avg"]
    groups = []
    for model, of_model in numbers.groupby("model", sort=False):
        rows = []
        for strategy, of_row in of_model.groupby("infer", sort=False):
            scores = zip(of_row["benchmark"], of_row["score"], strict=True)
            cells = {name: Cell(float(score)) for name, score in scores}
            rows.append(Row(str(strategy), cells, float(of_row["infer_tflops"].iloc[0])))
        groups.append(Group(MODEL_NAMES[str(model)], None, rows))
    return groups


def measured_groups(frame: pd.DataFrame) -> list[Group]:
    """A group for each model and suite with a finished benchmark, and in it a row a strategy of the paper.

    Strategies beyond the paper's three follow in alphabetical order. Benchmarks outside Table 5 are left out.
    """
    used, others = pick_runs(frame[frame["benchmark"].isin(BENCHMARKS)])
    groups = []
    for (model, suite), of_group in used.groupby(["model", "suite"], sort=True):
        rows = {str(name): _row(str(name), of_row) for name, of_row in of_group.groupby("strategy")}
        order = [*LABELS, *sorted(rows.keys() - LABELS.keys())]
        left = others[(others["model"] == model) & (others["suite"] == suite)].drop_duplicates("folder")
        full = [rows.get(name) or Row(name, {}) for name in order]
        groups.append(Group(str(model), str(suite), full, _records(left)))
    return groups


def _row(strategy: str, of_row: pd.DataFrame) -> Row:
    results = _records(of_row)
    cells = {r["benchmark"]: Cell(r["score"], r["stderr"], int(r["n"]), r["data_sha256"]) for r in results}
    counted = [r for r in results if r["tflops_mean"] is not None]
    mean = sum(r["tflops_mean"] * r["n"] for r in counted) / sum(r["n"] for r in counted) if counted else None
    return Row(strategy, cells, results[0]["tflops"], mean, results[0])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dicts, with None where pandas marks a missing value."""
    return [
        {key: None if _missing(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NaT


def _scaled(name: str, cell: Cell) -> Cell:
    divisor = DIVISOR.get(name, 1.0)
    return Cell(cell.score / divisor, None if cell.stderr is None else cell.stderr / divisor)


def as_frame(groups: Mapping[str, list[Group]]) -> pd.DataFrame:
    """The table with every digit, a row a strategy: `groups` by their source (measured, published).

    Columns: source, model, suite, strategy, run_id, limit, tflops, a column a benchmark, avg, and for each
    benchmark its standard error and number of questions.
    """
    rows = []
    for source, of_source in groups.items():
        for group in of_source:
            head = {"source": source, "model": group.model, "suite": group.suite}
            for row in group.rows:
                numbers: dict[str, float | None] = {name: cell.score for name, cell in row.cells.items()}
                average = row.average
                numbers |= {"avg": average.score, "avg_stderr": average.stderr} if average else {}
                numbers |= {f"{name}_stderr": cell.stderr for name, cell in row.cells.items()}
                numbers |= {f"{name}_n": cell.n for name, cell in row.cells.items()}
                run = {key: row.run.get(key) for key in ("run_id", "limit", "changes")}
                rows.append({**head, "strategy": row.strategy, **run, "tflops": row.tflops, **numbers})
            rows.append({**head, "strategy": "pdrop-fastv", **group.delta})
    wide = [*BENCHMARKS, "avg"]
    columns = ["source", "model", "suite", "strategy", "run_id", "limit", "changes", "tflops", *wide]
    columns += [f"{name}_stderr" for name in wide] + [f"{name}_n" for name in BENCHMARKS]
    whole = dict.fromkeys(("limit", *(f"{name}_n" for name in BENCHMARKS)), "Int64")
    return pd.DataFrame(rows, columns=columns).astype(whole)
