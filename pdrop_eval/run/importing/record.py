"""The record of an import: what is known of the run, marked as imported; what isn't is left out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.records.imported import IMPORTED
from pdrop_eval.records.store import Run, read_record, run_folder
from pdrop_eval.run.importing.source import Source
from pdrop_eval.utils.code import provenance
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.presets import model_configs
from pdrop_eval.utils.text.redact import redact, redact_all

_FORMAT = 1  # a change of what an import makes of the same files: another record
# Of a model's file in conf/model: what tells which row of a table it is.
_OF_MODEL = ("architecture", "patches", "size", "train", "train_ratio")

Scored = tuple[dict[str, Any], list[dict[str, Any]]]


def identity_of(
    kind: str, source: Source, root: Path, said: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict:
    """Return what decides the record: the files' content, what the user says, and which questions these are.

    Args:
        kind: The kind of the results.
        source: What was read.
        root: What `from=` names: files are called by their place in it.
        said: The words of the user.
        asked: Suite or run that say what was asked, and the settings of the score.
    """
    return {
        IMPORTED: _FORMAT,
        "kind": kind,
        "files": files_of(source, root),
        "tasks": [found.task for found in source.tasks],
        "said": dict(said),
        "asked": dict(asked),
    }


def files_of(source: Source, root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file, by its place in the folder that was named."""
    base = root.resolve() if root.is_dir() else root.resolve().parent
    named = {path: path.resolve().relative_to(base) if _is_in(path, base) else Path(path.name)
             for path in source.files}  # fmt: skip
    return {place.as_posix(): file_sha256(path) for path, place in sorted(named.items())}


def existing(results: Path, model: str, name: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the record of the same import, if it is there and complete."""
    folder = run_folder(results, model, strategy_name(name), dict(identity))
    if not (folder / "record.json").is_file():
        return None
    record = read_record(folder / "record.json")
    return {**record, "folder": str(folder)} if record["status"] == "completed" else None


def strategy_name(name: str) -> str:
    """Return what the strategy is called in records: no name of a strategy that is run here."""
    return f"{IMPORTED}-{name}"


def header_of(
    source: Source, identity: Mapping[str, Any], said: Mapping[str, Any], suite: Mapping[str, Any],
    limit: int | None, command: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the head of the record: no FLOPs, tokens, hardware or settings, for nothing is known of them."""
    budget = {key: value for key, value in (said.get("budget") or {}).items() if value is not None}
    model = str(said["model"])
    of_model = model_configs().get(model, {})
    notes = [f"Imported: results of another program ({identity['kind']})."]
    notes += [f"Strategy, as the import says: {said['strategy']}."] if said.get("strategy") else []
    return {
        "command": redact(command),
        "model": {"name": model, **{name: of_model[name] for name in _OF_MODEL if name in of_model}},
        "strategy": {
            "name": strategy_name(str(said["name"])),
            "display_name": f"{said['name']} ({IMPORTED})",
            "fields": {},
            "notes": notes,
        },
        "changes": [f"budget.{key}={value}" for key, value in budget.items()],
        "budget": {"said": budget} if budget else None,
        "suite": dict(suite),
        "limit": limit,
        IMPORTED: {
            "kind": identity["kind"],
            "files": identity["files"],
            "said": dict(said),
            "model": source.model,
            "run": redact_all(dict(source.facts)),
            "by": provenance.code_identity(),
        },
    }


def write(
    results: Path, model: str, name: str, identity: dict[str, Any], header: dict[str, Any],
    scored: Mapping[str, Scored],
) -> dict[str, Any]:  # fmt: skip
    """Write the record; returns it with its folder.

    Raises:
        UserError: It can't be written, or another process writes it.
    """
    with Run.open(results, model, strategy_name(name), identity, header) as run:
        for task, (entry, samples) in scored.items():
            if task not in run.done:
                run.add_task(task, entry, samples)
        run.complete()
        return {**run.record, "folder": str(run.folder)}


def _is_in(path: Path, base: Path) -> bool:
    return path.resolve().is_relative_to(base)
