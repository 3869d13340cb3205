"""The stored samples of a run that a comparison can rely on, and the reasons why it can't."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import NO_INTERVAL, benchmark_of
from pdrop_eval.benchmarks.scoring.tally import Tally
from pdrop_eval.benchmarks.stored_tally import sample_fault, scored
from pdrop_eval.records.imported import IMPORTED
from pdrop_eval.records.rows.run import NEEDS_JUDGE, Run
from pdrop_eval.records.store import load_samples
from pdrop_eval.utils.errors import UserError

_NEAR = 1e-6  # a score from its samples is the record's, but for rounding

Sample = dict[str, Any]
Read = Callable[[Path, str], list[Sample]]


class CannotCompareError(UserError):
    """Why two runs can't be compared; `kind` is one of the words beneath."""

    MISSING, JUDGE, SAMPLES, DATA, PROMPTS, TARGETS, LEFT_OVER, WHOLE = (
        "missing",
        "judge",
        "samples",
        "data",
        "prompts",
        "targets",
        "left over",
        "whole",
    )

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind

    @property
    def reason(self) -> str:
        """The message, where it isn't long known: a benchmark without a judge."""
        if self.kind == self.WHOLE:
            return NO_INTERVAL
        return "it needs a judge" if self.kind == self.JUDGE else str(self)


def why_of(error: CannotCompareError, benchmark: str) -> str:
    """The reason without the benchmark's name before it."""
    return error.reason.removeprefix(f"{name_of(benchmark)}: ")


def said_once(errors: Sequence[tuple[str, CannotCompareError]]) -> list[str]:
    """Why benchmarks can't be compared, each reason once, after the names of all that have it.

    Args:
        errors: The benchmarks' keys, each with its error. Reasons that differ in numbers of questions alone
            are one, told with the numbers of the first.
    """
    grouped: dict[str, list[tuple[str, CannotCompareError]]] = {}
    for benchmark, error in errors:
        why = _in_full(error, benchmark)
        same = error.kind if error.kind == CannotCompareError.LEFT_OVER else why
        grouped.setdefault(same, []).append((benchmark, error))
    told = []
    for found in grouped.values():
        named = ", ".join(name_of(benchmark) for benchmark, _ in found)
        first = _in_full(found[0][1], found[0][0])
        differ = len({_in_full(error, benchmark) for benchmark, error in found}) > 1
        told.append(f"{named}: {f'for one, {name_of(found[0][0])}: ' if differ else ''}{first}")
    return told


def _in_full(error: CannotCompareError, benchmark: str) -> str:
    """The whole message, with what mends it, without the benchmark's name before it."""
    return str(error).removeprefix(f"{name_of(benchmark)}: ")


def scored_samples(run: Run, benchmark: str, read: Read | None = None) -> list[Sample]:
    """A run's samples that count for the score of a benchmark, after making sure that they give its score.

    Args:
        run: The run.
        benchmark: The benchmark's key.
        read: Gives the samples of a run's folder and a task; None: those that the run's record vouches for.

    Raises:
        CannotCompareError: There are none, or they aren't what was scored.
    """
    return tallied_samples(run, benchmark, read)[0]


def tallied_samples(run: Run, benchmark: str, read: Read | None = None) -> tuple[list[Sample], Tally]:
    """The same, with what they add up to. Raises CannotCompareError as `scored_samples`."""
    entry = run.results.get(benchmark)
    if entry is None:
        there = ", ".join(name_of(key) for key in run.results) or "none"
        raise CannotCompareError(
            CannotCompareError.MISSING,
            f"{name_of(benchmark)} is not in {run.id} (it has {there}). Evaluate it, or compare fewer tasks.",
        )
    if entry.get("status") == NEEDS_JUDGE or entry.get("score") is None:
        raise CannotCompareError(
            CannotCompareError.JUDGE,
            f"{name_of(benchmark)}: the answers of {run.id} wait for a judge. Set judge.model, or compare "
            "without it.",
        )
    if no_interval := benchmark_of(benchmark).no_interval:
        raise CannotCompareError(
            CannotCompareError.WHOLE,
            f"{name_of(benchmark)}: {no_interval}, so no difference of two runs is tested. Compare without "
            "it: tasks=[...].",
        )
    samples = load(run, benchmark, read)
    if len(samples) != entry["n"]:
        raise damaged(run, benchmark, f"{len(samples)} scored samples for {entry['n']} questions")
    tally = benchmark_of(benchmark).rule.tally(samples)
    value, told = tally.value, float(entry["score"])
    if not is_near(value, told):
        raise damaged(run, benchmark, f"they give {value:.4f} and its record says {told:.4f}")
    return samples, tally


def is_near(value: Any, told: Any) -> Any:
    """Whether scores from samples are the records', but for rounding: of numbers, or of arrays of them."""
    return abs(value - told) <= _NEAR + _NEAR * abs(told)


def load(run: Run, benchmark: str, read: Read | None = None) -> list[Sample]:
    """The samples that have a score, each checked for what a comparison reads, by doc_id."""
    folder, task = Path(run.folder), benchmark_of(benchmark).task
    try:
        samples = (
            load_samples(folder, task, run.results.get(benchmark)) if read is None else read(folder, task)
        )
    except UserError as error:
        raise CannotCompareError(CannotCompareError.SAMPLES, f"{name_of(benchmark)}: {error}") from error
    own = benchmark_of(benchmark).scale == "own"
    foreign = bool((run.results.get(benchmark) or {}).get(IMPORTED))
    for place, sample in enumerate(samples, 1):
        if not isinstance(sample, dict):
            raise damaged(run, benchmark, f"line {place} is no sample")
        fault = sample_fault(sample, own, foreign)
        if fault:
            raise damaged(run, benchmark, f"line {place} {fault}")
    return scored(samples)


def damaged(run: Run, benchmark: str, why: str) -> CannotCompareError:
    """The error for samples that aren't what the record says."""
    return CannotCompareError(
        CannotCompareError.SAMPLES,
        f"{name_of(benchmark)}: the samples of {run.id} are damaged or of an earlier version: {why}. Move "
        "its folder away and evaluate it again.",
    )


def name_of(benchmark: str) -> str:
    """The paper's abbreviation of a benchmark."""
    return benchmark_of(benchmark).name
