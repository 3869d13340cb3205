"""Runs of one kind: the same settings, and of one architecture the same questions. A table has no others.

What counts as the same are the questions themselves (their number and the hash of their data), not the limit
that chose them: a limit of 300 changes nothing where there are 240. Models of different architectures may be
asked different ones: their rows are blocks of a table, whose scores aren't subtracted. Of the settings, those
count that can change an answer: not the batch size, nor the seed (decoding is greedy; a strategy that draws
is measured with several), nor where checkpoint and data lie.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from pdrop_eval.records.rows.run import SCORED, Run

# Deviations that are no other kind; the limit is none either, the questions that it leaves are.
_BESIDE = ("limit=", "batch_size=", "seed=", "model.pretrained=", "model.revision=", "data.root=")

Entry = tuple[Hashable, Run]  # a row, and a run that could fill it
_Questions = tuple[tuple[str, Any, Any], ...]
_Signature = tuple[str, tuple[str, ...], str, _Questions]


def settings_of(run: Run) -> tuple[str, ...]:
    """The settings that runs side by side must share, as overrides; the strategy's own are not among them."""
    return tuple(sorted(change for change in run.deviations if not change.startswith(_BESIDE)))


def largest(entries: Iterable[Entry], benchmarks: Iterable[str]) -> list[Run]:
    """The runs of the kind that fills the most of a table, and all that are like them.

    Of kinds that fill as much, the one with the most questions counts, then the fewest changes of settings.

    Args:
        entries: The rows, each with a run that could fill it; a row may be there several times.
        benchmarks: The table's columns.
    """
    keys = set(benchmarks)
    members: dict[_Signature, list[Entry]] = defaultdict(list)
    for row, run in entries:
        members[_signature(run, keys)].append((row, run))
    kinds = [_clique(first, members) for first in members]
    best = max(kinds, key=lambda kind: _worth(kind, members), default=[])
    return [run for signature in best for _, run in members[signature]]


def nearest(architecture: str, runs: Sequence[Run]) -> Run:
    """Of runs that are alike, the first of an architecture: what another run of it is told apart from."""
    return next((run for run in runs if run.key and run.key.architecture == architecture), runs[0])


def told(run: Run, than: Run) -> str:
    """What makes a run another kind than one that is shown, in words: `all questions`, `limit=32, seed=7`."""
    words = []
    if _asked_the_same(run, than) and run.limit != than.limit:
        words.append(f"limit={run.limit}" if run.limit else "all questions")
    own, others = (
        [one for one in one_run.deviations if not one.startswith("limit=")] for one_run in (run, than)
    )
    words += [change for change in own if change not in others]
    words += [f"without {change}" for change in others if change not in own]
    return ", ".join(words) or "other data"


def _asked_the_same(run: Run, than: Run) -> bool:
    """Whether both have to be, as runs of one architecture."""
    return run.key is None or than.key is None or run.key.architecture == than.key.architecture


def kind_words(run: Run) -> str:
    """What a run was asked and how, beside the default: `limit=32 seed=7`; empty for the default."""
    limit = [f"limit={run.limit}"] if run.limit else []
    return " ".join([*limit, *settings_of(run)])


def _signature(run: Run, keys: set[str]) -> _Signature:
    """What decides the kind of a run; runs with the same one are alike."""
    found = (
        (name, entry.get("n"), entry.get("data_sha256"))
        for name, entry in run.results.items()
        if name in keys and entry.get("status", SCORED) == SCORED
    )
    architecture = run.key.architecture if run.key else ""
    return run.suite, settings_of(run), architecture, tuple(sorted(found, key=str))


def _alike(one: _Signature, other: _Signature) -> bool:
    """Whether runs may stand side by side: most of what both were asked is the same."""
    if one[:2] != other[:2]:
        return False
    if one[2] != other[2]:
        return True
    asked = {name: rest for name, *rest in other[3]}
    shared = [rest == asked[name] for name, *rest in one[3] if name in asked]
    return not shared or 2 * sum(shared) > len(shared)


def _clique(first: _Signature, members: dict[_Signature, list[Entry]]) -> list[_Signature]:
    """A signature and those that are like it and like each other, those that fill the most first."""
    kind = [first]
    others = [one for one in members if one[:2] == first[:2] and one != first]
    for other in sorted(others, key=lambda one: _worth([one], members), reverse=True):
        if all(_alike(other, known) for known in kind):
            kind.append(other)
    return kind


def _worth(kind: Sequence[_Signature], members: dict[_Signature, list[Entry]]) -> tuple:
    cells: dict[tuple[Hashable, str], int] = {}
    for signature in kind:
        for row, _ in members[signature]:
            for name, number, _data in signature[3]:
                cells[row, name] = max(cells.get((row, name), 0), number or 0)
    rows = {row for row, _ in cells}
    return len(cells), len(rows), sum(cells.values()), -len(kind[0][1])
