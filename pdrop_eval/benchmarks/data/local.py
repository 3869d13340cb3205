"""Data sets that a user has downloaded: found beneath `data.root`, checked and hashed.

tasks/README.md says how the folder may look. Needs neither torch nor network.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.checks import (
    check_columns,
    check_copies,
    check_gold,
    check_pairs,
    check_unique,
    row_digests,
)
from pdrop_eval.benchmarks.data.locate import GQA_IMAGES, locate, places
from pdrop_eval.benchmarks.data.read import rows
from pdrop_eval.benchmarks.task_files import Local, TaskInfo
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.hashing import file_sha256

_READ_WHOLE = 2**30  # bytes; larger data without numbers of questions are not searched for copies
_OWN_COPIES = 0.02  # of the rows: real data sets may have a few by themselves


def find_local(info: TaskInfo, root: Path) -> Local:
    """The task's split beneath `root`, with all columns. Raises UserError with what is missing."""
    found = locate(info, root, info.subset)
    if found is None:
        raise _nothing(info, root)
    columns = check_columns(found.files, needed_columns(info))
    _check_rows(info, found, columns)
    if info.task == "gqa" and "image" not in columns:
        images = locate(info, root, GQA_IMAGES)
        if images is None:
            raise UserError(
                f"data.root={root} holds GQA's questions without their images. Download the subset "
                f"{GQA_IMAGES} of {info.dataset} beside them."
            )
        check_columns(images.files, [("id",), ("image",)])
        return Local(found.files, found.kind, found.commit, images.files)
    return found


def _check_rows(info: TaskInfo, local: Local, columns: list[str]) -> None:
    """Refuses questions that are there twice, and pictures of MME without just two questions."""
    check_gold(local.files, columns)
    if info.scoring == "pair_sum":
        check_pairs(local.files)
    if info.unique and {*columns}.issuperset(info.unique):
        check_unique(local.files, info.unique, _numbers(local, info))
    elif info.task == "ocrvqa" and {"questions", "image_id"} <= {*columns}:  # a row a cover, as on the Hub
        check_unique(local.files, ["image_id"], rows(local.files, ["image_id"]))
    elif sum(path.stat().st_size for path in local.files) < _READ_WHOLE:
        check_copies(local.files, row_digests(local.files), _OWN_COPIES)


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


def _numbers(local: Local, info: TaskInfo) -> list[dict[str, Any]]:
    """The columns that must be unique; of SEED-Bench only the questions about images."""
    found = rows(local.files, [*info.unique, *(["data_type"] if info.task == "seedbench" else [])])
    return [row for row in found if row.get("data_type", "image") == "image"]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
