"""A user's folder as the Parquet file that lmms-eval reads, made once and kept in the cache. Needs no torch.

The file names the pictures where they lie, unless the data hold them themselves; they are not copied.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.encoded import NoPictureError, encoded
from pdrop_eval.benchmarks.data.read import batches
from pdrop_eval.benchmarks.own.folder import OwnFile, read_folder
from pdrop_eval.benchmarks.own.metrics import own_metric
from pdrop_eval.benchmarks.own.pictures import INSIDE, check_paths, check_whole
from pdrop_eval.benchmarks.own.rows import Row, refuse
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically, writing_to

SOURCE = "own"  # of a suite that is a folder of the user's
_VERSION = "1"  # of the stored form
_ROWS = 64  # of a batch, with the pictures that the data file itself holds
_NO_PICTURE = "Write a picture as encoded bytes (PNG, JPEG), as a struct of bytes and path, or as a path."


@dataclass(frozen=True)
class Stored:
    """A folder's questions as they are asked.

    Attributes:
        path: The Parquet file.
        sha256: Of the questions, answers and pictures, wherever they lie and in whatever form.
        questions: How many there are.
    """

    path: Path
    sha256: str
    questions: int


def store_folder(folder: str, metric: str, ignore: Sequence[str] = ()) -> Stored:
    """The questions of a folder, checked and ready to be asked.

    Raises:
        UserError: Wrong data, or a metric that doesn't fit the answers.
    """
    chosen = own_metric(metric)
    found = read_folder(folder, ignore)
    check_fits(found, metric)
    check_paths(found.path, found.rows)
    from pdrop_eval.benchmarks.rendered.suite import default_root

    target = default_root() / "own" / f"{_key(found, metric)}.parquet"
    note = target.with_suffix(".json")
    sha256 = _noted(target, note)
    if sha256 is None:
        with writing_to(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                sha256 = _write(found, chosen, temporary)
                os.replace(temporary, target)
            finally:
                temporary.unlink(missing_ok=True)
            write_atomically(note, json.dumps({"sha256": sha256, "folder": str(found.path.parent.resolve())}))
    return Stored(target, sha256, len(found.rows))


def find_stored(sha256: str | None) -> Path | None:
    """The stored file of this content, wherever its folder was; None if none is kept."""
    from pdrop_eval.benchmarks.rendered.suite import default_root

    for note in sorted((default_root() / "own").glob("*.json")):
        target = note.with_suffix(".parquet")
        if sha256 is not None and _noted(target, note) == sha256:
            return target
    return None


def check_fits(found: OwnFile, metric: str) -> None:
    """Refuses a metric that can't score the answers. Raises UserError, with the line and the id."""
    chosen = own_metric(metric)
    faults = [(row.line, row.id, fault) for row in found.rows if (fault := chosen.fault(row))]
    refuse(found.path, faults, f"Mend the data, or use another metric than data.metric={metric}.")
    whole = chosen.fault_of_all(found.rows)
    if whole:
        raise UserError(f"data.metric={metric} doesn't fit {found.path}: {whole}.")


def _key(found: OwnFile, metric: str) -> str:
    """A hash of what is stored: the rows, and of each file its size and when it was changed."""
    whole = hashlib.sha256(
        f"{_VERSION}\0{found.path.parent.resolve()}\0{metric}\0{_state(found.path)}".encode()
    )
    states: dict[str, str] = {}
    for row in found.rows:
        for path in row.images or ():
            states.setdefault(path, _state(found.path.parent / path))
    whole.update(json.dumps([states, [_text(row) for row in found.rows]], sort_keys=True).encode())
    return whole.hexdigest()[:32]


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}|{status.st_mtime_ns}"


def _text(row: Row) -> list[Any]:
    return [row.id, row.question, row.answers, row.choices, row.group, row.images]


def _noted(target: Path, note: Path) -> str | None:
    """The hash of what is stored already; None if it has to be stored."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found) if target.is_file() else None


def _write(found: OwnFile, metric: Any, target: Path) -> str:
    """Writes the rows; returns the hash of their content. Raises UserError for a damaged picture."""
    import pyarrow as pa
    from datasets import Features, Image, List, Value
    from pyarrow import parquet

    text = Value("string")
    features = Features(
        {
            "id": text,
            "image": List(Image()),
            "question": text,
            "answers": List(text),
            "choices": List(text),
            "group": text,
        }
    )
    schema, whole = features.arrow_schema, hashlib.sha256()
    hashes: dict[Path, str] = {}
    with parquet.ParquetWriter(target, schema) as writer:
        waiting: list[dict[str, Any]] = []
        pictures_of = check_whole(found.path, found.rows, _contents(found))
        for place, (row, pictures) in enumerate(zip(found.rows, pictures_of, strict=True)):
            answers = metric.targets(row.answers, row.choices)
            content = [_sha256(picture, hashes) for picture in pictures]
            kept = [row.id or str(place), row.question, list(answers), list(row.choices)]
            whole.update(json.dumps([*kept, row.group, content]).encode() + b"\n")
            group = row.group or hashlib.sha256("".join(content).encode()).hexdigest()
            cells = [kept[0], list(map(_cell, pictures)), *kept[1:], group]
            waiting.append(dict(zip(schema.names, cells, strict=True)))
            if len(waiting) == _ROWS:
                writer.write_batch(pa.RecordBatch.from_pylist(waiting, schema))
                waiting = []
        writer.write_batch(pa.RecordBatch.from_pylist(waiting, schema))
    return whole.hexdigest()


def _contents(found: OwnFile) -> Iterator[Sequence[Path | bytes]]:
    """The pictures of each row: files, or what the data file holds."""
    folder = found.path.parent.resolve()
    if not found.embedded:
        yield from ([folder / path for path in row.images or ()] for row in found.rows)
        return
    values = (value for batch in batches([found.path], ["image"]) for value in batch.column(0).to_pylist())
    for row, value in zip(found.rows, values, strict=True):
        try:
            pictures = encoded(value, folder)
        except NoPictureError as error:
            refuse(found.path, [(row.line, row.id, f"image holds no picture: {error}")], _NO_PICTURE)
        listed = pictures if isinstance(pictures, list) else [pictures]
        if not listed or None in listed:
            refuse(found.path, [(row.line, row.id, "it has no picture")], _NO_PICTURE)
        for path in (one for one in listed if isinstance(one, Path)):
            if ".." in path.parts or not path.is_relative_to(folder):
                refuse(
                    found.path, [(row.line, row.id, f"image={str(path)!r} leads out of the folder")], INSIDE
                )
        yield listed


def _sha256(picture: Path | bytes, known: dict[Path, str]) -> str:
    if isinstance(picture, bytes):
        return hashlib.sha256(picture).hexdigest()
    if picture not in known:
        known[picture] = file_sha256(picture)
    return known[picture]


def _cell(picture: Path | bytes) -> dict[str, Any]:
    """A picture as the package datasets stores it, by its path or with its bytes."""
    return (
        {"bytes": picture, "path": None}
        if isinstance(picture, bytes)
        else {"bytes": None, "path": str(picture)}
    )
