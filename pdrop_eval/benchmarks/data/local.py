"""Data sets that a user has downloaded: found beneath `data.root`, checked and hashed.

tasks/README.md says how the folder may look. Needs neither torch nor network.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.checks import (
    check_columns,
    check_copies,
    check_gold,
    check_pairs,
    check_parquet,
    check_unique,
    row_digests,
)
from pdrop_eval.benchmarks.data.convert import named_as, readable
from pdrop_eval.benchmarks.data.locate import GQA_IMAGES, locate, places, task_file
from pdrop_eval.benchmarks.data.read import count_rows, rows
from pdrop_eval.benchmarks.task_files import Local, TaskInfo
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically

_READ_WHOLE = 2**30  # bytes; larger data without numbers of questions are not searched for copies
_OWN_COPIES = 0.02  # of the rows: real data sets may have a few by themselves


def find_local(info: TaskInfo, root: Path) -> Local:
    """The task's split beneath `root`, with all columns. Raises UserError with what is missing."""
    found = locate(info, root, info.subset)
    if found is None:
        raise _nothing(info, root)
    found = _readable(info, found)
    columns = check_columns(found.read[0], needed_columns(info))
    with named_as(found.read[0], found.files):
        _check_rows(info, found, columns)
    if info.task == "gqa" and "image" not in columns:
        images = locate(info, root, GQA_IMAGES)
        if images is None:
            raise UserError(
                f"data.root={root} holds GQA's questions without their images. Download the subset "
                f"{GQA_IMAGES} of {info.dataset} beside them."
            )
        check_columns(images.files, [("id",), ("image",)])
        return replace(found, images=images.files, converted_images=_readable(info, images).converted)
    return found


def find_rendered(info: TaskInfo, folder: Path) -> tuple[Local, int]:
    """A task's file in a folder of rendered data, or of the user's own in their form, and its rows.

    Raises:
        UserError: It is missing, or can't be used.
    """
    found = Local((task_file(folder, info.task),), "parquet")
    if found.files[0].is_file():
        found = _readable(info, found)
    with named_as(found.read[0], found.files):
        if info.installed and found.files[0].is_file():
            _check_rows(info, found, check_columns(found.read[0], needed_columns(info)))
            return found, count_rows(found.read[0])
        return found, check_parquet(found.read[0][0], info.columns, info.unique, info.scoring == "pair_sum")


def _readable(info: TaskInfo, local: Local) -> Local:
    """The same data, converted where they are of another form than the Hub's."""
    files = tuple(readable(path, info) for path in local.files)
    return local if files == local.files else replace(local, converted=files)


def _check_rows(info: TaskInfo, local: Local, columns: list[str]) -> None:
    """Refuses questions that are there twice, and pictures of MME without just two questions."""
    files = local.read[0]
    if not info.registered:  # what its columns mean isn't known
        return
    check_gold(files, asked_columns(info, columns))
    if info.scoring == "pair_sum":
        check_pairs(files)
    if info.unique and {*columns}.issuperset(info.unique):
        check_unique(files, info.unique, _numbers(files, info))
    elif info.task == "ocrvqa" and {"questions", "image_id"} <= {*columns}:  # a row a cover, as on the Hub
        check_unique(files, ["image_id"], rows(files, ["image_id"]))
    elif sum(path.stat().st_size for path in files) < _READ_WHOLE:
        check_copies(files, row_digests(files), _OWN_COPIES)


def asked_columns(info: TaskInfo, columns: Sequence[str]) -> list[str]:
    """The columns of which no value may be missing: some tasks have questions without choices."""
    return [name for name in columns if not (info.installed and name == "choices")]


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


def _numbers(files: Sequence[Path], info: TaskInfo) -> list[dict[str, Any]]:
    """The columns that must be unique; of SEED-Bench only the questions about images."""
    found = rows(files, [*info.unique, *(["data_type"] if info.task == "seedbench" else [])])
    return [row for row in found if row.get("data_type", "image") == "image"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
