"""Fixed small subsets of a benchmark, by name: the same questions for every model, on every machine.

`ci64` has at most 64 questions of a benchmark, all where it has no more. They are chosen by a rule, not by a
list, so that it holds for any data:

1. A question's id is the value of the column, or columns, that number the questions (`unique` in the registry
   of benchmarks); where there is none, the hash of the row's texts and its number among rows with the same.
2. What scores together stays whole: MME's two questions about a picture, MMBench's copies of a question.
3. Each group of questions (`groups` in the registry: categories, kinds of questions) gets its share of the
   places, by the largest remainder.
4. Within a group, the units with the smallest SHA-256 of "ci", task and id are taken, as far as they fit.

The order of the data decides nothing, but for rows with the same texts. A record has the hash of the ids.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice

SUBSETS = {"ci16": 16, "ci64": 64, "ci256": 256}
_SEED = "ci"
_CIRCLE = 1_000_000  # a copy's index is that of its question plus a multiple of it


class Described(Protocol):
    """What has to be known of a benchmark, as `TaskInfo` and the registry have it."""

    @property
    def task(self) -> str:
        """lmms-eval's name."""

    @property
    def scoring(self) -> str:
        """The rule that makes the score."""

    @property
    def unique(self) -> tuple[str, ...]:
        """The columns that number the questions."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The columns whose values are the groups of questions."""


@dataclass(frozen=True)
class Subset:
    """Some questions of a benchmark.

    Attributes:
        name: `ci64`.
        places: Of its questions in the data, in their order.
        ids_sha256: Hash of the questions' ids, in the order of their own hashes.
    """

    name: str
    places: tuple[int, ...]
    ids_sha256: str


def check_subset(subset: Any, limit: Any) -> None:
    """Raises UserError for a subset that there isn't, or one with a limit."""
    if subset is None:
        return
    check_choice("subset", subset, SUBSETS, "Use subset=null for all questions.")
    if limit is not None:
        raise UserError(
            f"subset={subset} and limit={limit} can't be given together: both say which questions are asked. "
            "Leave one of them out."
        )


def choose(info: Described, name: str, rows: Sequence[Mapping[str, Any]]) -> Subset:
    """Return a subset of a benchmark.

    Args:
        info: What is known of it.
        name: One of `SUBSETS`.
        rows: All of its questions, as the data have them; pictures aren't looked at.
    """
    task, keys = info.task, _ids(info, rows)
    units: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        units[_unit(info, row, keys[place])].append(place)
    order = sorted(units, key=lambda unit: _rank(task, unit))
    groups: dict[str, list[str]] = defaultdict(list)
    for unit in order:
        groups[_group(info, rows[units[unit][0]])].append(unit)
    chosen = _chosen(groups, {unit: len(places) for unit, places in units.items()}, SUBSETS[name])
    places = sorted(place for unit in chosen for place in units[unit])
    ids = sorted(_rank(task, keys[place]) for place in places)
    return Subset(name, tuple(places), hashlib.sha256("\n".join(ids).encode()).hexdigest())


def _chosen(groups: Mapping[str, Sequence[str]], sizes: Mapping[str, int], most: int) -> list[str]:
    """The units that are taken, each group's in order; what is left of the places goes to the next units."""
    counts = {group: sum(sizes[unit] for unit in units) for group, units in groups.items()}
    taken: list[str] = []
    for group, share in _shares(counts, most).items():
        taken += _fitting(groups[group], sizes, share)
    left = most - sum(sizes[unit] for unit in taken)
    rest = [
        units[place] for place in range(max(map(len, groups.values()))) for units in _sorted(groups, place)
    ]
    return taken + _fitting([unit for unit in rest if unit not in set(taken)], sizes, left)


def _sorted(groups: Mapping[str, Sequence[str]], place: int) -> list[Sequence[str]]:
    """The groups that have a unit at this place, by name."""
    return [groups[group] for group in sorted(groups) if place < len(groups[group])]


def _fitting(units: Sequence[str], sizes: Mapping[str, int], most: int) -> list[str]:
    found = []
    for unit in units:
        if sizes[unit] <= most:
            found.append(unit)
            most -= sizes[unit]
    return found


def _shares(counts: Mapping[str, int], most: int) -> dict[str, int]:
    """How many of `most` places each group gets: its share of the questions, by the largest remainder."""
    whole = sum(counts.values())
    if whole <= most:
        return dict(counts)
    exact = {group: Fraction(most * count, whole) for group, count in counts.items()}
    shares = {group: int(share) for group, share in exact.items()}
    rest = sorted(exact, key=lambda group: (shares[group] - exact[group], group))
    for group in rest[: most - sum(shares.values())]:
        shares[group] += 1
    return shares


def _ids(info: Described, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each question's id, see the head of this file."""
    columns = info.unique
    if columns and all(column in row for row in rows for column in columns):
        return [json.dumps([row[column] for column in columns], sort_keys=True, default=str) for row in rows]
    seen: dict[str, int] = defaultdict(int)
    found = []
    for row in rows:
        said = {name: value for name, value in row.items() if isinstance(value, (str, int, float))}
        text = json.dumps(said, sort_keys=True)
        found.append(json.dumps([hashlib.sha256(text.encode()).hexdigest(), seen[text]]))
        seen[text] += 1
    return found


def _unit(info: Described, row: Mapping[str, Any], key: str) -> str:
    """What a question stays with."""
    if info.scoring == "pair_sum":
        return json.dumps([row["category"], row["question_id"]])
    return json.dumps(int(row["index"]) % _CIRCLE) if info.scoring == "circular_mean" else key


def _group(info: Described, row: Mapping[str, Any]) -> str:
    return json.dumps([str(row.get(column)) for column in info.groups])


def _rank(task: str, key: str) -> str:
    return hashlib.sha256(f"{_SEED}\n{task}\n{key}".encode()).hexdigest()
