"""The registry of the paper's sixteen benchmarks, read from `benchmarks.yaml`. No torch, no pandas."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import yaml

from pdrop_eval.benchmarks.scoring.rules import score_range, scoring_rule
from pdrop_eval.utils.paths import PACKAGE
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.scoring.metric import Metric

ADD = (
    "A new benchmark is an entry in pdrop_eval/benchmarks/benchmarks.yaml and a file in tasks/hub: "
    'see "Add a benchmark" in CONTRIBUTING.md.'
)
IMAGES = "images"  # the cluster of questions about the same pictures


@dataclass(frozen=True)
class Benchmark:
    """One benchmark; the fields are explained at the top of `benchmarks.yaml`."""

    key: str
    name: str
    task: str
    split: str
    metric: str
    scale: str
    direction: str
    scoring: str
    columns: tuple[str, ...]
    comparable: str
    why: str
    unique: tuple[str, ...] = ()
    judge: bool = False
    cluster: str = IMAGES

    @property
    def rule(self) -> "Metric":
        """How its score is made."""
        return scoring_rule(self.scoring)

    @property
    def divisor(self) -> float:
        """What brings a score to the 0-100 scale of the others, in averages and differences: 20 for MME."""
        low, high = score_range(self.scoring)
        return (high - low) / 100

    @property
    def factor(self) -> float:
        """From lmms-eval's number to the one in records and tables."""
        return 100.0 if self.scale == "percent_of_one" else 1.0


@cache
def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by key, in the order of the file."""
    entries = yaml.safe_load((PACKAGE / "benchmarks" / "benchmarks.yaml").read_text(encoding="utf-8"))
    made = [
        Benchmark(**{**entry, "columns": tuple(entry["columns"]), "unique": _listed(entry.get("unique"))})
        for entry in entries
    ]
    return {benchmark.key: benchmark for benchmark in made}


def _listed(columns: str | list[str] | None) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns or ())


@cache
def by_task() -> dict[str, Benchmark]:
    """All benchmarks by lmms-eval task."""
    return {benchmark.task: benchmark for benchmark in benchmarks().values()}


def check_benchmark(what: str, name: str, allowed: Iterable[str], fix: str = "") -> None:
    """Raises UserError for a benchmark or a task that there isn't, with the nearest and how to add one.

    Args:
        what: What it is called in the message.
        name: What was asked for.
        allowed: What there is to choose from.
        fix: What else would help; said before how to add one.
    """
    check_choice(what, name, allowed, f"{fix} {ADD}".strip())


@cache
def divisors() -> dict[str, float]:
    """The divisor of every benchmark, by key."""
    return {key: benchmark.divisor for key, benchmark in benchmarks().items()}


def names(keys: Iterable[str]) -> dict[str, str]:
    """The paper's abbreviations of some benchmarks, by key."""
    return {key: benchmarks()[key].name for key in keys}
