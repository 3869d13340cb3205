"""The comparisons that are computed for the page: their differences and intervals are `pdrop-eval-compare`'s.

Each run against vanilla of its model, and the pairs that were compared, on the questions that both answered.
The page itself computes no interval.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks as registry
from pdrop_eval.benchmarks.scoring.difference import Difference, mean_difference
from pdrop_eval.records.alike import settings_of
from pdrop_eval.report.paired.pairing import LEAVE_OUT, Pairs, Samples, pair_samples
from pdrop_eval.report.paired.stored_samples import CannotCompareError, scored_samples, why_of
from pdrop_eval.report.site.data.index import known_benchmarks
from pdrop_eval.report.site.data.records import Recorded
from pdrop_eval.report.site.data.tables import rounded
from pdrop_eval.strategies.registry import VANILLA

Compared = dict[str, dict[str, dict[str, Any]]]


def comparisons(recorded: Sequence[Recorded], folder: Path) -> Compared:
    """The comparisons by the candidate's key, then by the baseline's.

    Args:
        recorded: All runs of the page.
        folder: Where `pdrop-eval-compare` has written.
    """
    candidates: dict[str, dict[str, Recorded]] = defaultdict(dict)
    for baseline, candidate in [*_against_vanilla(recorded), *_asked_for(recorded, folder)]:
        candidates[baseline.key][candidate.key] = candidate
    found: Compared = defaultdict(dict)
    for baseline in recorded:  # one after the other: its samples are read once
        read: dict[str, Samples] = {}
        for key, candidate in candidates[baseline.key].items():
            found[key][baseline.key] = _compared(baseline, candidate, read)
    return found


def _against_vanilla(recorded: Sequence[Recorded]) -> Iterator[tuple[Recorded, Recorded]]:
    """Each run with the run of vanilla, on the same model and suite, that was made most like it."""
    plain = [one for one in recorded if one.run.strategy == VANILLA]
    for candidate in recorded:
        run = candidate.run
        fits = [one for one in plain if (one.run.model, one.run.suite) == (run.model, run.suite)]
        if run.strategy != VANILLA and fits:
            yield min(fits, key=lambda one: _unlike(one, candidate)), candidate


def _unlike(one: Recorded, other: Recorded) -> tuple[bool, bool, int, int]:
    kinds = settings_of(one.run) != settings_of(other.run)
    settings = {*one.run.changes} ^ {*other.run.changes}
    lacking = len({*other.run.results} - {*one.run.results})
    return kinds, one.run.limit != other.run.limit, lacking, len(settings)


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


def _compared(baseline: Recorded, candidate: Recorded, read: dict[str, Samples]) -> dict[str, Any]:
    """The differences of the benchmarks that both have, and their mean.

    Args:
        baseline: The first run.
        candidate: The second one.
        read: The baseline's samples so far, by benchmark; what is read more is added.
    """
    one, other = baseline.on_disk, candidate.on_disk
    benchmarks: dict[str, Any] = {}
    differences = []
    for key in known_benchmarks(candidate):
        if key not in one.results:
            continue
        try:
            if key not in read:
                read[key] = scored_samples(one, key)
            found = pair_samples(one, other, key, read[key], scored_samples(other, key), LEAVE_OUT)
        except CannotCompareError as error:
            benchmarks[key] = {"difference": None, "interval": None, "why": why_of(error, key)}
            continue
        difference = found.difference
        differences.append(difference)
        benchmarks[key] = {**_entry(difference), **_common(found)}
    return {"benchmarks": benchmarks, "mean": _entry(mean_difference(differences)) if differences else None}


def _common(found: Pairs) -> dict[str, Any]:
    """The scores of the questions that both runs answered, where one of them answered others, too."""
    if not any(found.left_over):
        return {}
    rule = registry()[found.benchmark].rule
    return {"scores": [rounded(rule.score(samples)) for samples in found.samples]}


def _entry(found: Difference) -> dict[str, Any]:
    return {"difference": rounded(found.value), "interval": [rounded(end) for end in found.interval]}
