"""What each run of the page is called: a label has all that tells a run from the others of its model."""

from collections import defaultdict
from collections.abc import Callable, Sequence

from pdrop_eval.records.rows.alike import settings_of
from pdrop_eval.records.rows.run import Run
from pdrop_eval.report.site.names import public

Facet = Callable[[Run], Sequence[str]]
_DIGITS = 10  # of a commit or a hash


def run_labels(runs: Sequence[Run], titles: Sequence[str]) -> list[str]:
    """The label of each run: `PDrop λ=0.5 S=4, limit 32`, `FastV K=2 R=0.5, dtype=bfloat16`.

    Its strategy's settings and budget, its limit and its settings always stand in it. What else is needed to
    tell it from another run of the same title is added, without what all of them share: other settings, code,
    checkpoint, time, and its id.

    Args:
        runs: All runs of the page.
        titles: Their models in words.
    """
    suites = len({run.suite for run in runs}) > 1
    labels = public([_label(run, suites) for run in runs])
    for facet in _FACETS:
        for alike in _same(titles, labels):
            parts = [facet(runs[place]) for place in alike]
            common = set(parts[0]).intersection(*parts[1:])
            words = [public(" ".join(one for one in own if one not in common)) for own in parts]
            if len(set(words)) > 1:
                for place, word in zip(alike, words, strict=True):
                    labels[place] += f", {word}" if word else ""
    return labels


def _label(run: Run, suites: bool) -> str:
    words = [run.strategy_label(whole=True)]
    words += [f"limit {run.limit}"] if run.limit else []
    words += settings_of(run)
    words += [f"suite {run.suite}"] if suites else []
    return ", ".join(words)


def _same(titles: Sequence[str], labels: Sequence[str]) -> list[list[int]]:
    """The places of runs that can't be told apart yet."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, named in enumerate(zip(titles, labels, strict=True)):
        found[named].append(place)
    return [places for places in found.values() if len(places) > 1]


def _others(run: Run) -> list[str]:
    known = settings_of(run)
    return [change for change in run.deviations if change not in known and not change.startswith("limit=")]


def _fields(run: Run) -> list[str]:
    return [f"{name}={value}" for name, value in run.settings.items() if value is not None]


def _code(run: Run) -> list[str]:
    commit = str(run.of("code", "commit") or "no commit")[:_DIGITS]
    changed = " with changes" if run.of("code", "dirty") else ""
    return [f"code {run.of('code', 'version') or 'unknown'} at {commit}{changed}"]


def _source(run: Run) -> list[str]:
    return [f"code {'/'.join(str(part)[:_DIGITS] for part in run.code if part)}"]


_FACETS: tuple[Facet, ...] = (
    _others,
    _fields,
    _code,
    _source,
    lambda run: [f"checkpoint {str(run.checkpoint)[:_DIGITS]}"],
    lambda run: [run.model],
    lambda run: [f"made {run.record['created'][:16].replace('T', ' ')}"],
    lambda run: [run.id],
)
