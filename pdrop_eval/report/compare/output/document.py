"""A comparison as one plain dict: what the JSON holds, and what all other outputs are made from.

Schema 1. `verdict`: status (passed, regressed, not compared), words, checks. `runs`: by role. `benchmarks`:
scores on their own scales, differences and intervals in points of 0 to 100 (MME / 20), agreement in percent.
`left_out`: benchmarks that nothing is known of, with the reason. `exit`: the status that the command leaves
with.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pdrop_eval.benchmarks.registry import benchmark_of, key_of_task, names
from pdrop_eval.benchmarks.scoring.difference import METHOD, Difference
from pdrop_eval.report.compare import gate
from pdrop_eval.report.compare.differences import differences, facts, imports, warnings
from pdrop_eval.report.compare.groups import Group, groups
from pdrop_eval.report.compare.output.changed_answers import changed_answers
from pdrop_eval.report.compare.output.failure import EXIT, PASSED, REGRESSED, head
from pdrop_eval.report.compare.runs import DOWNSAMPLED, Side, same, tasks_of
from pdrop_eval.report.compare.settings import Settings
from pdrop_eval.report.paired import effect as effects
from pdrop_eval.report.paired.pairing import CannotCompareError, Pairs, check_share, pair, scored_samples
from pdrop_eval.report.paired.stored_samples import said_once
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.text.redact import redact_all
from pdrop_eval.utils.validation import to_plain


def make_document(settings: Settings, sides: Sequence[Side]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The comparison of complete runs, and the rows of all changed answers.

    Raises:
        UserError: One of the benchmarks can't be compared: a verdict on the others would hide it.
    """
    pairs, left_out = _pairs(settings, sides)
    found = effects.measure_all(pairs)
    whole = effects.overall(found)
    judged = gate.verdict(found, whole, make_gate(settings))
    status = PASSED if judged.passed else REGRESSED
    different = differences(sides)
    rows = [row for one in pairs for row in changed_answers(one.benchmark, one.changed)]
    document = {
        **head(settings),
        "verdict": {
            "status": status,
            "words": verdict_words(judged),
            "checks": [{**asdict(check), "title": _title(check)} for check in judged.checks],
        },
        "exit": EXIT[status],
        "runs": {side.role: facts(side) for side in sides},
        "benchmarks": [_benchmark(effect) for effect in found],
        "overall": _overall(whole),
        "groups": _groups(settings, sides, pairs),
        "left_out": left_out,
        "method": _method(),
        "differences": different,
        "warnings": [
            *same(sides),
            *_unused(settings, sides),
            *imports(sides),
            *_paired(pairs),
            *warnings(different),
        ],
    }
    return redact_all(to_plain(document)), rows


def _paired(pairs: Sequence[Pairs]) -> list[str]:
    """What to know of the pairing of imported results: each note once, with the benchmarks that it is of."""
    told: dict[str, list[str]] = {}
    for one in pairs:
        for note in one.notes:
            told.setdefault(note, []).append(_named(one.benchmark)["name"])
    return [note if len(of) == len(pairs) else f"{', '.join(of)}: {note}" for note, of in told.items()]


def make_gate(settings: Settings) -> gate.Gate:
    """The gate that was asked for. Raises UserError for one without a check."""
    limits = settings.max_drop, settings.max_drop_overall, settings.max_drop_of
    return gate.Gate(*limits, settings.gate, settings.max_changed)


def verdict_words(judged: gate.Verdict) -> str:
    """How many checks passed, and whether so many questions could have failed them."""
    number = len(judged.checks)
    failed = [_title(check) for check in judged.checks if not check.passed]
    if failed:
        return f"{len(failed)} of {number} checks failed: {', '.join(failed)}."
    open_still = [_title(c) for c in judged.checks if c.interval is not None and c.interval[0] < -c.limit]
    words = f"{number} of {number} checks passed."
    if open_still:
        which = "any of them" if len(open_still) == number > 1 else ", ".join(open_still)
        words += f" That is no proof: a larger drop isn't ruled out for {which}. More questions may tell."
    return words


def _title(check: gate.Check) -> str:
    titles = {gate.OVERALL: "the mean", gate.CHANGED: "the answers"}
    return titles.get(check.kind) or _named(check.name)["name"]


# Benchmarks are left out for these reasons; for all others nothing is compared.
_LEFT_OUT = (CannotCompareError.JUDGE, CannotCompareError.WHOLE)


def _method() -> list[str]:
    drawn = effects.Settings()
    return [
        METHOD,
        f"p: a randomisation test that exchanges both runs' answers to whole clusters, "
        f"{drawn.permutations:,} times or in every way. Seed: {drawn.seed}.",
    ]


def _pairs(settings: Settings, sides: Sequence[Side]) -> tuple[list[Pairs], list[dict[str, str]]]:
    """The pairs of each benchmark, and those that only lack a judge."""
    baseline, candidate = sides[0].run, sides[1].run
    found, left_out = list[Pairs](), list[dict[str, str]]()
    faults = list[tuple[str, CannotCompareError]]()
    for benchmark in (key_of_task(task) for task in tasks_of(settings, sides)):
        try:
            one = pair(baseline, candidate, benchmark, settings.unpaired)
            check_share(one, settings.min_paired)
            found.append(one)
        except CannotCompareError as error:
            if error.kind not in _LEFT_OUT or benchmark in settings.max_drop_of:
                faults.append((benchmark, error))
            else:
                left_out.append({"benchmark": benchmark, **_named(benchmark), "why": error.reason})
    if faults:
        raise UserError(" ".join(said_once(faults)))
    if not found:
        why = "; ".join(f"{one['name']}: {one['why']}" for one in left_out)
        waits = all(one["why"] == "it needs a judge" for one in left_out)
        raise UserError(
            "There is nothing to compare: every benchmark needs a judge. Set judge.model."
            if waits
            else f"There is nothing to compare. {why}."
        )
    return found, left_out


def _benchmark(effect: effects.Effect) -> dict[str, Any]:
    hidden = ("found", "permuted", "mcnemar", "agreement", "left_over")
    plain = {name: getattr(effect, name) for name in effect.__dataclass_fields__ if name not in hidden}
    return {
        **plain,
        **_named(effect.benchmark),
        "metric": benchmark_of(effect.benchmark).metric,
        **_difference(effect.found),
        "adjusted": effect.adjusted,
        "changed_scores": effect.found.changed,
        "agreement": 100 * effect.agreement,
        "mcnemar": asdict(effect.mcnemar) if effect.mcnemar else None,
        "left_over": dict(zip(("baseline", "candidate"), effect.left_over, strict=True)),
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "n": found.n,
        "clusters": found.clusters,
        "difference": found.value,
        "interval": found.interval,
        "smallest": found.detectable,
    }


def _overall(whole: effects.Overall) -> dict[str, Any]:
    hidden = ("found", "left_out")
    plain = {name: getattr(whole, name) for name in whole.__dataclass_fields__ if name not in hidden}
    without = [_named(benchmark)["name"] for benchmark in whole.left_out]
    agreement = 100 * whole.agreement
    return {**plain, **_difference(whole.found), "agreement": agreement, "without_ratio": without}


def _groups(settings: Settings, sides: Sequence[Side], pairs: Sequence[Pairs]) -> dict[str, Any] | None:
    """VTC-Bench's groups of every benchmark; None where no run on smaller images was asked for."""
    smaller = [side.run for side in sides if side.role == DOWNSAMPLED]
    if not smaller:
        return None
    found = [groups(one, scored_samples(smaller[0], one.benchmark)) for one in pairs]
    return {
        "factor": settings.downsample,
        "benchmarks": [{**_named(one.benchmark), **asdict(one)} for one in found],
        "hard": _together([one.hard for one in found]),
        "easy": _together([one.easy for one in found]),
        "neither": sum(one.neither for one in found),
    }


def _together(parts: Sequence[Group]) -> dict[str, Any]:
    """The questions of a group in all benchmarks, and the share of them that the candidate has right."""
    n = sum(part.n for part in parts)
    right = sum(part.n * part.candidate for part in parts if part.candidate is not None)
    return {"n": n, "candidate": right / n if n else None}


def _unused(settings: Settings, sides: Sequence[Side]) -> list[str]:
    """Settings of runs where both are records."""
    if any(side.plan for side in sides):
        return []
    known = set[str]()
    for name, values in (("model", [s.run.model for s in sides]), ("suite", [s.run.suite for s in sides])):
        known |= {f"{name}={value}" for value in values}
    given = [text for text in settings.common if text not in known and not text.startswith("tasks=")]
    if not given:
        return []
    return [f"{', '.join(given)}: not used, because both runs are records"]


def _named(benchmark: str) -> dict[str, str]:
    return {"name": names([benchmark])[benchmark]}
