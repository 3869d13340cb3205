"""The runs of the page: every record of a folder, also those without a finished benchmark."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.row_key import RowKey, family_name
from pdrop_eval.records.rows.run import Run, to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.site.data.labels import run_labels
from pdrop_eval.report.site.names import file_name, public, unique
from pdrop_eval.report.tables.commands import command
from pdrop_eval.strategies.registry import VANILLA
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.presets import DEFAULT_MODEL


@dataclass(frozen=True)
class Recorded:
    """A run of the page.

    Attributes:
        folder: Where its samples are.
        place: The same for whoever reads the page, as a command takes it.
        record: As anyone may see it.
        copies: Where other copies of the same run are.
        label: How it ran, in words: `PDrop λ=0.5 S=4, limit 32`, see `labels`.
    """

    key: str
    run: Run
    folder: Path
    place: str
    record: dict[str, Any]
    copies: tuple[str, ...] = ()
    label: str = ""

    @property
    def on_disk(self) -> Run:
        """The run with the folder where its samples are; what the page says of it names none."""
        return replace(self.run, record={**self.run.record, "folder": str(self.folder)})

    @property
    def title(self) -> str:
        """The model in words: `LLaVA-1.5 mini trained with PDrop λ=0.5`."""
        model = self.run.record["model"]
        if not model.get("architecture"):
            return self.run.model
        patches = int(model.get("patches") or 1)
        key = RowKey(
            str(model["architecture"]), patches, str(model.get("train") or VANILLA),
            model.get("train_ratio"), self.run.strategy, None,
        )  # fmt: skip
        trained = "" if key.train == VANILLA else f" {key.training}"
        return f"{family_name(key.architecture, self.run.size)}{f' p{patches}' * (patches > 1)}{trained}"


def read_runs(root: Path) -> list[Recorded]:
    """All runs beneath a folder, oldest first; of several copies of one run, the one that has the most of it.

    Raises:
        UserError: There is none, a record can't be read, or two of one run contradict each other.
    """
    first = command("pdrop", DEFAULT_MODEL, "mini")
    hint = f"Run first: {first} (or name the folder of your records: root=DIR)."
    if not root.is_dir():
        raise UserError(f"root={root} is no folder, so there are no records in it. {hint}")
    records = load_records(root)
    if not records:
        _check_level(root)
        lost = unrecorded(root)
        found = f" ({lost[0]} has samples but no record.json)" if lost else ""
        raise UserError(f"No run is recorded in {root}{found}. {hint}")
    runs = to_runs(records, unfinished=True)
    copies: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, run in enumerate(runs):
        copies[run.model, run.id].append(place)
    best = {max(places, key=lambda place: _whole(runs[place])): places for places in copies.values()}
    kept = sorted(best)
    named = _named(root, [records[place] for place in kept], [runs[place] for place in kept])
    labels = run_labels([one.run for one in named], [one.title for one in named])
    others = [
        tuple(_place(root, records[other]) for other in best[place] if other != place) for place in kept
    ]
    return [
        replace(one, label=label, copies=more) for one, label, more in zip(named, labels, others, strict=True)
    ]


def _whole(run: Run) -> tuple:
    """How much a copy of a run has: samples, benchmarks, its end; the first of equal ones."""
    samples = len(list(Path(run.folder).glob("samples/*.jsonl")))
    named = Path(run.folder).name == run.id  # as the evaluation named it
    return run.record["status"] == "completed", len(run.results), samples, named


def _place(root: Path, record: dict[str, Any]) -> str:
    """Where a record is, as a command takes it: beneath a root that only this machine has, without that."""
    folder = Path(record["folder"])
    return folder.relative_to(root).as_posix() if root.is_absolute() else folder.as_posix()


def unrecorded(root: Path) -> list[str]:
    """The folders with samples and without a record, as `model/run`."""
    folders = sorted({path.parent.parent for path in root.glob("*/*/samples/*.jsonl")})
    return [one.relative_to(root).as_posix() for one in folders if not (one / "record.json").exists()]


def above(folder: Path) -> Path:
    """The folder above one, by its name: `results` for `results/runs`, also where that is a link."""
    return (folder if folder.name not in ("", "..") else Path(os.path.abspath(folder))).parent


def _check_level(root: Path) -> None:
    """Raises UserError for a run, or the folder of a model's runs, in the place of the folder of all."""
    if (root / "record.json").is_file():
        raise UserError(f"root={root} is a run. Name the folder above: root={above(above(root))}")
    if any(root.glob("*/record.json")):
        raise UserError(f"root={root} has the runs of one model. Name the folder above: root={above(root)}")


def _named(root: Path, records: Sequence[dict[str, Any]], runs: Iterable[Run]) -> list[Recorded]:
    taken: set[str] = set()
    found: list[tuple[str, Run, Path, str]] = []
    told: list[dict[str, Any]] = []
    for record, run in zip(records, runs, strict=True):
        folder = Path(record["folder"])
        inner = folder.relative_to(root).as_posix()
        run.record["folder"] = inner  # what is said of the run names no folder of this machine
        key = unique(file_name(f"{run.model}.{run.id}"), taken)
        taken.add(key.lower())
        place = _place(root, record)
        found.append((key, run, folder, place))
        told.append({**_plain(record), "folder": place})
    return [Recorded(*one, record) for one, record in zip(found, public(told), strict=True)]


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what its samples add up to: that is for comparisons, and nothing to look at."""
    tasks = record["tasks"].items()
    own = {task: {name: entry[name] for name in entry if name != "tally"} for task, entry in tasks}
    return {**record, "tasks": own}


def newest(recorded: Iterable[Recorded]) -> str:
    """When the last of the records was written."""
    times = [one.record.get("updated") or one.record["created"] for one in recorded]
    return max(times, key=_moment)


def _moment(time: str) -> tuple[float, str]:
    try:
        return datetime.fromisoformat(time).timestamp(), time
    except (ValueError, OverflowError):
        return 0.0, time
