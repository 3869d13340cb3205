"""Whether shared results can be taken: their form, checksums, what they tell of their machine, and size.

A submission is a folder with `submission.yaml` and records, `<model>/<run>/record.json`. All faults are
found, not the first alone: whoever sent it can mend them in one go.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.stored_tally import same_tally, stored_tally
from pdrop_eval.records.rows.left_out import FILE as LEFT_OUT
from pdrop_eval.records.rows.left_out import read_left_out
from pdrop_eval.records.rows.run import Run, to_runs
from pdrop_eval.records.samples import load_samples, lost_samples, plain_name, tally_of
from pdrop_eval.records.store import read_record, run_id
from pdrop_eval.report.paired.known import FILE as COMPARISONS
from pdrop_eval.report.paired.stored_samples import CannotCompareError, scored_samples
from pdrop_eval.report.share.submission import FILE, read_submission
from pdrop_eval.report.site.names import public
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import shortened

_LABEL = 80  # characters of a name that tables show
# What the benchmark and the model wrote, and masks in base64, which may look like anything.
_UNREAD = ("prompt", "answer", "target", "to_judge", "retained")
_IGNORED = (".lock", "README.md")


@dataclass(frozen=True)
class Limits:
    """How large things may be, in MB: a file, and a submission."""

    file: float = 20.0
    submission: float = 100.0


@dataclass(frozen=True)
class Checked:
    """What was found.

    Attributes:
        submissions: How many there are.
        runs: Their runs.
        faults: What speaks against them, a line each.
    """

    submissions: int
    runs: int
    faults: list[str]


def check(root: Path, limits: Limits) -> Checked:
    """Look through a folder of submissions, or a single one.

    Raises:
        UserError: There is no such folder, or nothing in it that could be checked.
    """
    if not root.is_dir():
        raise UserError(f"root={root} is no folder. Name that of the submissions, or one of them.")
    alone = (root / FILE).exists() or any(root.glob("*/*/record.json"))
    within = sorted(path for path in root.iterdir() if path.is_dir() and path.name != COMPARISONS.parts[0])
    folders = [root] if alone else within
    if not folders:
        raise UserError(
            f"root={root} has nothing to check: a submission is a folder in it with {FILE} and records, "
            "<model>/<run>/record.json. pdrop-eval-merge from=[results/runs] into=results/community/my-name "
            "public=true makes one; results/community/README.md tells the rest."
        )
    faults, runs = list[str](), 0
    for folder in folders:
        paths = sorted(folder.glob("*/*/record.json"))
        runs += len(paths)
        faults += _of_submission(folder, paths, limits)
        for path in paths:
            faults += _of_run(path)
    return Checked(len(folders), runs, faults)


def _of_submission(folder: Path, paths: list[Path], limits: Limits) -> Iterator[str]:
    """Its own file, what doesn't belong to it, and sizes."""
    try:
        read_submission(folder)
    except UserError as error:
        yield str(error)
    try:
        reasons = [asdict(one) for one in read_left_out(folder)]
        yield from (f"{folder / LEFT_OUT}: {fault}" for fault in _private(reasons))
    except UserError as error:
        yield str(error)
    if not paths:
        yield f"{folder}: there is no record in it, <model>/<run>/record.json."
    total = 0
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            yield f"{path} is a link. Share files."
        elif path.relative_to(folder) == COMPARISONS:
            continue
        elif path.is_file() and path.name not in _IGNORED:
            size = path.stat().st_size
            total += size
            if not _belongs(path.relative_to(folder)):
                yield f"{path} belongs to no record: remove it. Shared are records, samples and predictions."
            if size > 1e6 * limits.file:
                many = f"{path} has {size / 1e6:.1f} MB"
                yield f"{many}, more than max_file_mb={limits.file:g}. Share fewer questions."
    if total > 1e6 * limits.submission:
        yield f"{folder} has {total / 1e6:.1f} MB, more than max_mb={limits.submission:g}. Share fewer runs."


def _belongs(path: Path) -> bool:
    """Whether a file of a submission is one of a record's."""
    parts = path.parts
    if parts in ((FILE,), (LEFT_OUT,)):
        return True
    if len(parts) == 3:
        return parts[2] == "record.json"
    kinds = {"samples": ".jsonl", "predictions": ".json"}
    return len(parts) == 4 and kinds.get(parts[2]) == path.suffix


def _of_run(path: Path) -> Iterator[str]:
    """A record with its samples."""
    try:
        record = read_record(path)
        (run,) = to_runs([{**record, "folder": str(path.parent)}], unfinished=True)
    except UserError as error:
        yield str(error)
        return
    if record["status"] != "completed":
        yield f"{path}: the run is {record['status']}. Finish it, or leave it out."
    yield from (f"{path}: {fault}" for fault in _labels(path, record, run))
    yield from (f"{path}: {fault}" for fault in _private(record))
    for task, entry in record["tasks"].items():
        yield from (f"{path.parent}, {task}: {fault}" for fault in _of_task(path.parent, run, task, entry))


def _labels(path: Path, record: dict[str, Any], run: Run) -> Iterator[str]:
    """Names that are what they should be: the folder's, the run's by its identity, those that tables show."""
    name, model = str(record["run_id"]), str(record["model"]["name"])
    if path.parent.name != plain_name(name) or path.parent.parent.name != plain_name(model):
        yield f"it is the run {model}/{name}: its folder has another name."
    if "migrated_from" not in record and not name.endswith(f"-{run_id(record.get('identity') or {})}"):
        yield "its run_id isn't that of its identity: one of them was edited."
    shown = [run.info.display_name, run.strategy, model, run.size, run.suite, *run.schedule]
    for label in shown:
        if len(label) > _LABEL or not label.isprintable() or set(label) & set("<>"):
            allowed = f"up to {_LABEL} printable characters without < >"
            yield f"{shortened(label)} is no label for a table: {allowed}."
    for benchmark in run.results:
        if benchmark not in benchmarks():
            yield (
                f"the benchmark {shortened(benchmark)} is none of docs/benchmarks.md, such as questions of "
                "your own: it can't be shared. Remove this run's folder from the submission."
            )


def _private(value: Any, name: str = "") -> Iterator[str]:
    """Texts with the path of a machine or a secret, by the names of their fields; no secret is repeated."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _private(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, part in enumerate(value):
            yield from _private(part, f"{name}[{place}]")
    elif isinstance(value, str) and (hidden := public(value)) != value:
        yield (
            f"its field {name} names a folder of your machine, or a secret; it would become "
            f"{shortened(hidden)}. pdrop-eval-merge with public=true writes records without either."
        )


def _adds_up(entry: dict[str, Any], samples: list[dict[str, Any]]) -> bool:
    """Whether a task's tally is of these samples; made by other code, it isn't known, nor is it used."""
    made = stored_tally(entry["benchmark"], samples)
    told = tally_of(str(entry.get("samples_sha256")), entry["tally"])
    return told == entry["tally"] and (
        made is None or made["asked"] != told["asked"] or same_tally(made, told)
    )


def _of_task(folder: Path, run: Run, task: str, entry: dict[str, Any]) -> Iterator[str]:
    if not entry.get("samples_sha256"):
        yield "its entry has no samples_sha256: run it with this version."
    if fault := lost_samples(folder, task, entry):
        yield f"its samples: {fault}."
        return
    if entry.get("predictions") and not (folder / str(entry["predictions"])).is_file():
        yield f"{entry['predictions']} is missing."
    try:
        samples = load_samples(folder, task)
        if entry["benchmark"] in benchmarks() and entry["status"] == "scored":
            scored_samples(run, entry["benchmark"], lambda _folder, _task: samples)
            if entry.get("tally") and not _adds_up(entry, samples):
                yield "its tally isn't what its samples add up to: run it with this version."
    except (UserError, CannotCompareError) as error:
        yield str(error)
        return
    for sample in samples:
        rest = {name: value for name, value in sample.items() if name not in _UNREAD}
        text = json.dumps(rest, ensure_ascii=False)
        if public(text) != text and (fault := next(_private(rest), None)):
            yield f"doc_id {sample.get('doc_id')}: {fault}"
            return
