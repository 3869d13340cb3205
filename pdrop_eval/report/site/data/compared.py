"""The comparisons that are computed for the page: their differences and intervals are `pdrop-eval-compare`'s.

Each run against vanilla of its model, and the pairs that were compared, on the questions that both answered.
The page itself computes no interval.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pdrop_eval.benchmarks.registry import benchmarks as registry
from pdrop_eval.benchmarks.scoring.difference import Difference, mean_difference
from pdrop_eval.records.rows.alike import settings_of
from pdrop_eval.records.rows.run import Run
from pdrop_eval.records.store import load_samples
from pdrop_eval.report.paired.many import Many
from pdrop_eval.report.paired.pairing import LEAVE_OUT, Pairs, Samples, pair_samples
from pdrop_eval.report.paired.stored_samples import CannotCompareError, Read, scored_samples, why_of
from pdrop_eval.report.site.data.index import known_benchmarks
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.tables import rounded
from pdrop_eval.report.site.progress import progress
from pdrop_eval.strategies.registry import VANILLA

Compared = dict[str, dict[str, dict[str, Any]]]


def comparisons(recorded: Sequence[Recorded], folder: Path, read: Read = load_samples) -> Compared:
    """The comparisons by the candidate's key, then by the baseline's.

    Args:
        recorded: All runs of the page.
        folder: Where `pdrop-eval-compare` has written.
        read: Gives the samples of a run's folder and a task.
    """
    candidates: dict[str, dict[str, Recorded]] = defaultdict(dict)
    for baseline, candidate in [*_against_vanilla(recorded), *_asked_for(recorded, folder)]:
        candidates[baseline.key][candidate.key] = candidate
    found: Compared = defaultdict(dict)
    with progress("Comparing runs", sum(map(len, candidates.values()))) as bar:
        for baseline in recorded:
            others = list(candidates[baseline.key].values())
            for key, entry in _of_baseline(baseline, others, read, bar).items():
                found[key][baseline.key] = entry
    return found


def _against_vanilla(recorded: Sequence[Recorded]) -> Iterator[tuple[Recorded, Recorded]]:
    """Each run with the run of vanilla, on the same model and suite, that was made most like it."""
    plain: dict[tuple[str, str], dict[_Made, Recorded]] = defaultdict(dict)
    for one in recorded:
        if one.run.strategy == VANILLA:  # of those that were made alike, the first
            plain[one.run.model, one.run.suite].setdefault(_Made.of(one.run), one)
    for candidate in recorded:
        run = candidate.run
        fits = plain.get((run.model, run.suite))
        if run.strategy != VANILLA and fits:
            yield fits[min(fits, key=_Made.of(run).unlike)], candidate


class _Made(NamedTuple):
    """How a run was made, as far as a comparison asks for it."""

    settings: tuple[str, ...]
    limit: int | None
    results: frozenset[str]
    changes: frozenset[str]

    @classmethod
    def of(cls, run: Run) -> "_Made":
        return cls(tuple(settings_of(run)), run.limit, frozenset(run.results), frozenset(run.changes))

    def unlike(self, other: "_Made") -> tuple[bool, bool, int, int]:
        """How much a run of vanilla differs from this one, the candidate."""
        lacking = len(self.results - other.results)
        differ = self.settings != other.settings, self.limit != other.limit
        return *differ, lacking, len(self.changes ^ other.changes)


def _asked_for(recorded: Sequence[Recorded], folder: Path) -> Iterator[tuple[Recorded, Recorded]]:
    """The pairs of the comparisons in a folder, as far as both runs are on the page."""
    runs = {(one.run.model, one.run.id): one for one in recorded}
    for path in sorted(folder.glob("*.json")):
        try:
            sides = json.loads(path.read_text(encoding="utf-8"))["runs"]
            named = [
                (sides[role]["model"]["name"], sides[role]["run_id"]) for role in ("baseline", "candidate")
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no comparison
        if named[0] != named[1] and named[0] in runs and named[1] in runs:
            yield runs[named[0]], runs[named[1]]


def _of_baseline(
    baseline: Recorded, candidates: Sequence[Recorded], read: Read, bar: Any
) -> dict[str, dict[str, Any]]:
    """The differences of the benchmarks that a baseline and each candidate have, and their mean, by its key.

    Those that were asked the same are compared at once by what their records add up to. The others benchmark
    by benchmark: in memory are the baseline's samples and those of one candidate.
    """
    one = baseline.on_disk
    told: dict[str, dict[str, Any]] = {candidate.key: {} for candidate in candidates}
    differences: dict[str, dict[str, Difference]] = {candidate.key: {} for candidate in candidates}
    at_once = _at_once(baseline, candidates)
    shared = {key for candidate in candidates for key in known_benchmarks(candidate) if key in one.results}
    for benchmark in sorted(shared):
        first: Samples | CannotCompareError | None = None
        for candidate in candidates:
            if known := at_once[candidate.key].get(benchmark):
                told[candidate.key][benchmark] = _entry(known)
                differences[candidate.key][benchmark] = known
            elif benchmark in known_benchmarks(candidate):
                first = _samples(one, benchmark, read) if first is None else first
                entry, difference = _compared(one, candidate.on_disk, benchmark, first, read)
                told[candidate.key][benchmark] = entry
                if difference is not None:
                    differences[candidate.key][benchmark] = difference
            bar.update(1 / len(shared))
    found = {}
    for candidate in candidates:
        order = [key for key in known_benchmarks(candidate) if key in told[candidate.key]]
        own = [differences[candidate.key][key] for key in order if key in differences[candidate.key]]
        found[candidate.key] = {
            "benchmarks": {key: told[candidate.key][key] for key in order},
            "mean": _entry(mean_difference(own)) if own else None,
        }
    return found


def _at_once(baseline: Recorded, candidates: Sequence[Recorded]) -> dict[str, dict[str, Difference]]:
    """The differences, by the candidate's key, of runs that were asked the same, if their records add up."""
    one = baseline.on_disk
    groups: dict[tuple[str, ...], dict[str, tuple[Run, Run]]] = defaultdict(dict)
    for candidate in candidates:
        entries = candidate.run.results
        keys = tuple(
            key for key in known_benchmarks(candidate) if key in one.results and entries[key].get("tally")
        )
        groups[keys][candidate.key] = one, candidate.on_disk
    found: dict[str, dict[str, Difference]] = defaultdict(dict)
    for keys, pairs in groups.items():
        key_of = {other.folder: key for key, (_, other) in pairs.items()}
        for (_, other), differences in Many(keys).differences(list(pairs.values())) if keys else ():
            found[key_of[other.folder]] = dict(zip(keys, differences, strict=True))
    return found


def _samples(run: Run, benchmark: str, read: Read) -> Samples | CannotCompareError:
    """A run's samples, or why they can't be compared, which is told of each candidate."""
    try:
        return scored_samples(run, benchmark, read)
    except CannotCompareError as error:
        return error


def _compared(
    one: Run, other: Run, benchmark: str, first: Samples | CannotCompareError, read: Read
) -> tuple[dict[str, Any], Difference | None]:
    """What is told of a benchmark of two runs, and their difference, if there is one."""
    try:
        if isinstance(first, CannotCompareError):
            raise first
        second = scored_samples(other, benchmark, read)
        found = pair_samples(one, other, benchmark, first, second, LEAVE_OUT)
    except CannotCompareError as error:
        return {"difference": None, "interval": None, "why": why_of(error, benchmark)}, None
    difference = found.difference
    return {**_entry(difference), **_common(found)}, difference


def _common(found: Pairs) -> dict[str, Any]:
    """The scores of the questions that both runs answered, where one of them answered others, too."""
    if not any(found.left_over):
        return {}
    rule = registry()[found.benchmark].rule
    return {"scores": [rounded(rule.score(samples)) for samples in found.samples]}


def _entry(found: Difference) -> dict[str, Any]:
    return {"difference": rounded(found.value), "interval": [rounded(end) for end in found.interval]}
