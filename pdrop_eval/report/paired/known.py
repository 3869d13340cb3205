"""Comparisons that were made before: what two runs differ in, by the checksums of their samples.

A large sweep has many thousand pairs, and nothing of them changes from one table to the next. What is kept is
the result of a comparison alone, in `.cache` beside the records, under a name that hashes all it depends on:
for both runs and every benchmark the checksum that the record vouches for, its score and number of questions,
and size and time of the file, then the code of scoring and pairing. A file that was changed has another time,
and is read and checked again. A record of an earlier version vouches for no checksum; nothing of it is kept.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import NO_UNITS, Difference
from pdrop_eval.records.rows.run import Run
from pdrop_eval.records.samples import samples_path
from pdrop_eval.report.paired.effect import Mean
from pdrop_eval.utils.code.hashing import hash_files
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import PACKAGE

FILE = Path(".cache") / "comparisons.json"
_MOST = 200_000  # comparisons that are kept
_NUMBERS = [field.name for field in fields(Difference) if field.name != "units"]
_CODE = ("benchmarks/scoring", "report/paired")
_FILES = ("stored_tally.py", "benchmarks.yaml")


class Known:
    """The comparisons of the runs beneath a folder.

    Args:
        root: The folder of the records; None keeps nothing.
    """

    def __init__(self, root: Path | None) -> None:
        self._path = None if root is None else root / FILE
        self._before = _read(self._path)
        self._found: dict[str, Any] = {}
        self._signatures: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self._new = False

    def name(self, baseline: Run, candidate: Run, keys: Sequence[str]) -> str | None:
        """Return the name of a comparison; None where it can't be known by its files."""
        signatures = [self._signature(run, tuple(keys)) for run in (baseline, candidate)]
        if self._path is None or None in signatures:
            return None
        return _digest([code(), *signatures])[:32]

    def get(self, name: str | None) -> Mean | None:
        """Return a comparison that was made before."""
        kept = self._found.get(name or "") or self._before.get(name or "")
        try:
            found = None if kept is None else _mean(kept)
        except (TypeError, ValueError, KeyError):
            return None
        if found is not None and name:
            self._found[name] = kept
        return found

    def put(self, name: str | None, mean: Mean) -> None:
        """Keep a comparison."""
        if name is not None:
            self._found[name] = _plain(mean)
            self._new = True

    def save(self) -> None:
        """Write down what is new; a folder that can't be written to keeps nothing."""
        if not self._new or self._path is None:
            return
        rest = {name: kept for name, kept in self._before.items() if name not in self._found}
        room = max(0, _MOST - len(self._found))
        every = {**dict(list(rest.items())[-room:] if room else []), **self._found}
        with contextlib.suppress(OSError):
            write_atomically(self._path, json.dumps(every, separators=(",", ":")))
            self._new = False

    def _signature(self, run: Run, keys: tuple[str, ...]) -> str | None:
        """What the comparisons of a run depend on; None where its record doesn't vouch for its samples."""
        which = run.folder, keys
        if which not in self._signatures:
            self._signatures[which] = _signature(run, keys)
        return self._signatures[which]


@cache
def code() -> str:
    """Return the hash of what decides a comparison beside the samples."""
    paths = [path for folder in _CODE for path in sorted((PACKAGE / folder).rglob("*.py"))]
    return hash_files([*paths, *(PACKAGE / "benchmarks" / name for name in _FILES)])


def _signature(run: Run, keys: tuple[str, ...]) -> str | None:
    told: list[Any] = []
    folder = run.folder
    for key in keys:
        entry = run.results.get(key) or {}
        sha256 = entry.get("samples_sha256")
        if not sha256 or entry.get("next_samples_sha256"):
            return None
        try:
            status = os.stat(f"{folder}/{_file(key)}")
        except OSError:
            return None
        told += [key, sha256, entry.get("score"), entry.get("n"), status.st_size, status.st_mtime_ns]
    return _digest(told)


@cache
def _file(key: str) -> str:
    """Where the samples of a benchmark are in a run's folder."""
    return samples_path(Path(), benchmarks()[key].task).as_posix()


def _digest(values: Sequence[Any]) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _read(path: Path | None) -> dict[str, Any]:
    """What was kept; nothing where it can't be read: it is only made anew."""
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _plain(mean: Mean) -> dict[str, Any]:
    numbers = [getattr(mean.found, name) for name in _NUMBERS]
    rest = {"relative": mean.relative, "interval": mean.relative_interval, "left_out": mean.left_out}
    return {"found": numbers, **rest}


def _mean(kept: Any) -> Mean:
    """A mean as it was, without what was resampled."""
    numbers = dict(zip(_NUMBERS, kept["found"], strict=True))
    ends = kept["interval"]
    interval = None if ends is None else (float(ends[0]), float(ends[1]))
    return Mean(Difference(**numbers, units=NO_UNITS), kept["relative"], interval, tuple(kept["left_out"]))
