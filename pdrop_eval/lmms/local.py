"""Data sets that a user has downloaded: found beneath `data.root`, checked and hashed.

tasks/README.md says how the folder may look. Needs neither torch nor network.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from pdrop_eval.data_checks import check_pairs, check_unique
from pdrop_eval.errors import UserError
from pdrop_eval.files import write_atomically
from pdrop_eval.identity import file_sha256
from pdrop_eval.lmms.layout import GQA_IMAGES, Local, locate, places
from pdrop_eval.lmms.tasks import TaskInfo


def find_local(info: TaskInfo, root: Path) -> Local:
    """The task's split beneath `root`, with all columns. Raises UserError with what is missing."""
    found = locate(info, root, info.subset)
    if found is None:
        raise _nothing(info, root)
    columns = check_files(found, needed_columns(info))
    if info.unique in columns:
        check_unique(found.files, str(info.unique), _numbers(found, info))
    if info.resample == "pairs":
        check_pairs(found.files, _rows(found, ["category", "question_id"]))
    if info.task == "gqa" and "image" not in columns:
        images = locate(info, root, GQA_IMAGES)
        if images is None:
            raise UserError(
                f"data.root={root} holds GQA's questions without their images. Download the subset "
                f"{GQA_IMAGES} of {info.dataset} beside them."
            )
        check_files(images, [("id",), ("image",)])
        return Local(found.files, found.kind, found.commit, images.files)
    return found


def _nothing(info: TaskInfo, root: Path) -> UserError:
    looked = ", ".join(str(place.relative_to(root)) for place in places(info, root))
    subset, hint = "", ""
    if info.subset:
        subset = f" of the subset {info.subset!r}"
        hint = (
            f"The files of the subset belong in a folder {info.subset} there, or in {root / info.task}; "
            "files beside it could be of another subset. "
        )
    return UserError(
        f"data.root={root} holds no data for {info.task}: neither {info.task}.parquet, nor its split "
        f"{info.split!r}{subset} as Parquet or Arrow files in {looked}. {hint}Download it (hf download "
        f"--repo-type dataset {info.dataset} --local-dir {root / info.dataset.partition('/')[2]}), or leave "
        "data.root=null for the Hub. `pdrop-eval-doctor` with the same settings lists every data set that is "
        "missing."
    )


def needed_columns(info: TaskInfo) -> list[tuple[str, ...]]:
    """The columns that the stored data must have, each with the ones that the Hub's form has in its place."""
    instead = {"gqa": {"image": "imageId"}, "ocrvqa": {"question": "questions", "answer": "answers"}}
    other = instead.get(info.task, {})
    return [(name, other[name]) if name in other else (name,) for name in info.columns]


def check_files(local: Local, needed: list[tuple[str, ...]]) -> list[str]:
    """The columns of the files. Raises UserError if one can't be read, lacks a column, or all are empty."""
    names: list[str] = []
    rows = 0
    for path in local.files:
        try:
            names, count = _parquet(path) if local.kind == "parquet" else _arrow(path)
        except (OSError, ValueError) as error:
            raise UserError(f"The data file {path} can't be read ({error}). Download it again.") from error
        rows += count
        lacking = [" or ".join(map(repr, choice)) for choice in needed if not {*choice} & {*names}]
        if lacking:
            raise UserError(
                f"The data file {path} has no column {', '.join(lacking)}. It has: "
                f"{', '.join(sorted(names))}. Is it another data set, or an older version of it?"
            )
    if rows == 0:
        raise UserError(f"The data in {local.files[0].parent} hold no question. Download them again.")
    return names


def count_rows(local: Local) -> int:
    """The number of rows of all files."""
    return sum((_parquet(path) if local.kind == "parquet" else _arrow(path))[1] for path in local.files)


def local_sha256(local: Local, remembered: Path) -> str:
    """The commit if the files are a snapshot of the Hub, else the SHA-256 of their contents.

    Real data are large: hashes of files that have not changed since are taken from the file `remembered`.
    """
    if local.commit:
        return local.commit
    known = _read_json(remembered)
    whole = hashlib.sha256()
    for path in (*local.files, *local.images):
        status = path.stat()
        key = f"{path}|{status.st_size}|{status.st_mtime_ns}"
        known[key] = known.get(key) or file_sha256(path)
        whole.update(f"{known[key]}\n".encode())
    with contextlib.suppress(OSError):  # what can't be remembered is hashed again
        write_atomically(remembered, json.dumps(known, indent=0))
    return whole.hexdigest()


def _parquet(path: Path) -> tuple[list[str], int]:
    from pyarrow import parquet

    file = parquet.ParquetFile(path)
    return file.schema_arrow.names, file.metadata.num_rows


def _numbers(local: Local, info: TaskInfo) -> list[Any]:
    """The column that must be unique; of SEED-Bench only the questions about images."""
    names = [str(info.unique), *(["data_type"] if info.task == "seedbench" else [])]
    return [row[names[0]] for row in _rows(local, names) if row.get("data_type", "image") == "image"]


def _rows(local: Local, columns: list[str]) -> list[dict[str, Any]]:
    """Some columns of all files."""
    import pyarrow as pa
    from pyarrow import parquet

    rows: list[dict[str, Any]] = []
    for path in local.files:
        if local.kind == "parquet":
            rows += parquet.read_table(path, columns=columns).to_pylist()
        else:
            with pa.memory_map(str(path)) as source:
                rows += pa.ipc.open_stream(source).read_all().select(columns).to_pylist()
    return rows


def _arrow(path: Path) -> tuple[list[str], int]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        return table.schema.names, table.num_rows


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
