"""The numbers that the PyramidDrop paper prints: data to compare with, never measured here."""

import csv
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from pdrop_eval.records.row_key import RowKey

CITATION = (
    "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction, "
    "arXiv 2410.17247"
)
# One row a printed score of its Tables 1 to 5: table, model, train (the strategy in training), infer (the
# strategy at inference), lam (PyramidDrop's ratio), patches (images the picture is cut into), gpu_hours,
# infer_tflops, benchmark (or avg) and score as printed. Taken from the version under double-blind review.
FILE = Path(__file__).with_name("published.csv")
SIZE = "7b"
# The λ of a model that was trained with PyramidDrop, where the table doesn't vary it.
DEFAULT_RATIO = 0.5


@dataclass
class PublishedRow:
    """One row of a table as printed: scores by benchmark in the table's order, and the printed average."""

    key: RowKey
    gpu_hours: float | None
    tflops: float
    scores: dict[str, float] = field(default_factory=dict)
    average: float | None = None


@cache
def published(table: int) -> tuple[PublishedRow, ...]:
    """One table of the paper, in its order of rows and columns."""
    rows: dict[RowKey, PublishedRow] = {}
    with open(FILE, encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            if int(line["table"]) != table:
                continue
            key = _key(line)
            hours = float(line["gpu_hours"]) if line["gpu_hours"] else None
            row = rows.setdefault(key, PublishedRow(key, hours, float(line["infer_tflops"])))
            if line["benchmark"] == "avg":
                row.average = float(line["score"])
            else:
                row.scores[line["benchmark"]] = float(line["score"])
    return tuple(rows.values())


def _key(line: dict[str, str]) -> RowKey:
    lam = float(line["lam"]) if line["lam"] else DEFAULT_RATIO
    return RowKey(
        architecture=line["model"].removesuffix(f"-{SIZE}"),
        patches=int(line["patches"]),
        train=line["train"],
        train_ratio=lam if line["train"] == "pdrop" else None,
        strategy=line["infer"],
        ratio=lam if line["infer"] == "pdrop" else None,
    )
