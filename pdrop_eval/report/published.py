"""The numbers that the PyramidDrop paper prints: data to compare with, never measured here."""

from pathlib import Path

import pandas as pd

CITATION = (
    "PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy Reduction, "
    "arXiv 2410.17247"
)
# One row a printed score of its Tables 1 to 5: table, model, train (the strategy in training), infer (the
# strategy at inference), lam (PyramidDrop's ratio), patches (images the picture is cut into), gpu_hours,
# infer_tflops, benchmark (or avg) and score as printed. Taken from the version under double-blind review.
FILE = Path(__file__).with_name("published.csv")
MODEL_NAMES = {"llava-next-7b": "LLaVA-NeXT-7B", "llava-1.5-7b": "LLaVA-1.5-7B"}


def published(table: int) -> pd.DataFrame:
    """One table of the paper, a row a printed number, in the paper's order."""
    numbers = pd.read_csv(FILE)
    return numbers[numbers["table"] == table].reset_index(drop=True)
