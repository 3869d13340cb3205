"""The registry of benchmarks, read from `benchmarks.yaml`: the paper's sixteen and others. No torch.

A benchmark that isn't in the file, another task of lmms-eval or data of a user's own, is described by the
records that have it (`definition`): reports know it from there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import yaml

from pdrop_eval.benchmarks.scoring.rules import rule_names, score_range, scoring_rule
from pdrop_eval.utils import definitions
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import PACKAGE
from pdrop_eval.utils.text.fast_yaml import FastLoader
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.scoring.metric import Metric

ADD = (
    "A new benchmark is an entry in pdrop_eval/benchmarks/benchmarks.yaml and a file in tasks/hub: "
    'see "Add a benchmark" in CONTRIBUTING.md.'
)
WHOLE = "whole"  # the rule of numbers that are no mean over questions
NO_INTERVAL = "no 95% interval: the metric is computed from all answers together"
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
    groups: tuple[str, ...] = ()
    judge: bool = False
    cluster: str = IMAGES
    item: str | None = None
    paper: bool = True

    @property
    def rule(self) -> "Metric":
        """How its score is made."""
        return scoring_rule(self.scoring)

    @property
    def no_interval(self) -> str:
        """Why its scores have no interval, in words; empty where they have one."""
        return NO_INTERVAL if self.scoring == WHOLE else ""

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
def registered() -> dict[str, Benchmark]:
    """All benchmarks of the file by key, in its order."""
    text = (PACKAGE / "benchmarks" / "benchmarks.yaml").read_text(encoding="utf-8")
    entries = yaml.load(text, FastLoader)
    made = [
        Benchmark(
            **{
                **entry,
                "columns": tuple(entry["columns"]),
                "unique": _listed(entry.get("unique")),
                "groups": _listed(entry.get("groups")),
            }
        )
        for entry in entries
    ]
    return {benchmark.key: benchmark for benchmark in made}


@cache
def benchmarks() -> dict[str, Benchmark]:
    """The paper's sixteen by key, in the order of the file."""
    return {key: benchmark for key, benchmark in registered().items() if benchmark.paper}


def is_known(key: str) -> bool:
    """Whether a benchmark is in the file, or was described by a record that was read."""
    return key in registered() or key in definitions.known()


def benchmark_of(key: str) -> Benchmark:
    """A benchmark of the file, or as a record that was read describes it. Raises UserError."""
    if key in registered():
        return registered()[key]
    described = definitions.known().get(key)
    if described is None:
        check_choice("benchmark", key, [*registered(), *definitions.known()])
    return _described(key, described or {})


def _described(key: str, said: Mapping[str, Any]) -> Benchmark:
    """A benchmark from a record's words on it; what they leave out is the plainest."""
    scoring = str(said.get("scoring") or "mean")
    if scoring not in rule_names():
        raise UserError(
            f"A record has the benchmark {key}, scored by {scoring!r}. This version has no such rule: "
            f"{', '.join(rule_names())}. Use the version that made the record."
        )
    return Benchmark(
        key=key,
        name=str(said.get("name") or key),
        task=str(said.get("task") or key),
        split=str(said.get("split") or ""),
        metric=str(said.get("metric") or ""),
        scale=str(said.get("scale") or "percent_of_one"),
        direction=str(said.get("direction") or "higher"),
        scoring=scoring,
        columns=(),
        comparable="no",
        why=str(said.get("why") or "It is no benchmark of the paper."),
        cluster=str(said.get("cluster") or IMAGES),
        paper=False,
    )


def of_task(task: str) -> Benchmark:
    """The benchmark of a task. Raises UserError for one that neither the file nor a record has."""
    found = registered_by_task().get(task)
    if found is not None:
        return found
    for key, said in definitions.known().items():
        if (said.get("task") or key) == task:
            return benchmark_of(key)
    return benchmark_of(task)


def key_of_task(task: str) -> str:
    """The key of a task's benchmark; of one that no record has described yet, the task's name is its key."""
    described = any((said.get("task") or key) == task for key, said in definitions.known().items())
    return of_task(task).key if task in registered_by_task() or described else task


def columns(found: Iterable[Iterable[str]]) -> list[str]:
    """The benchmarks of some runs as the columns of a table: the paper's sixteen, then the others.

    Where no run has one of the sixteen, they are left out.

    Args:
        found: of each run its benchmarks.
    """
    there = {key for keys in found for key in keys if is_known(key)}
    first = list(benchmarks()) if there & benchmarks().keys() or not there else []
    more = [key for key in registered() if key in there and key not in benchmarks()]
    return [*first, *more, *sorted(there - registered().keys())]


def _listed(columns: str | list[str] | None) -> tuple[str, ...]:
    return (columns,) if isinstance(columns, str) else tuple(columns or ())


@cache
def by_task() -> dict[str, Benchmark]:
    """The paper's sixteen by lmms-eval task."""
    return {benchmark.task: benchmark for benchmark in benchmarks().values()}


@cache
def registered_by_task() -> dict[str, Benchmark]:
    """All benchmarks of the file by lmms-eval task."""
    return {benchmark.task: benchmark for benchmark in registered().values()}


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
    """The divisor of the paper's sixteen, by key."""
    return {key: benchmark.divisor for key, benchmark in benchmarks().items()}


def names(keys: Iterable[str]) -> dict[str, str]:
    """The abbreviations of some benchmarks, by key."""
    return {key: benchmark_of(key).name for key in keys}
