"""Gets a suite's data ready: rendered or found on disk, or on the Hub; checked and hashed. Needs no torch."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.checks import check_parquet
from pdrop_eval.errors import UserError
from pdrop_eval.hub import hub_commit
from pdrop_eval.identity import file_sha256
from pdrop_eval.lmms.tasks import describe


@dataclass(frozen=True)
class Data:
    """Where a suite's data are. `folder` holds parquet files (None on the Hub); hashes are by task."""

    folder: Path | None
    commits: dict[str, str]
    sha256: dict[str, str]


def prepare_data(suite: Any, root: str | None, tasks: Sequence[str]) -> Data:
    """The data of all tasks of a suite; those of `tasks` must be there and have the right columns.

    On the Hub a data set's commit stands for its content. Raises UserError.
    """
    if suite.source == "hub":
        infos = [describe(task, "hub") for task in suite.tasks]
        commits = {info.task: hub_commit(info.dataset, "dataset", None) for info in infos}
        return Data(None, commits, dict(commits))
    folder = _folder(root)
    for task in tasks:
        check_parquet(folder / f"{task}.parquet", describe(task, "rendered").columns)
    there = [task for task in suite.tasks if (folder / f"{task}.parquet").is_file()]
    return Data(folder, {}, {task: _content_sha256(folder, task) for task in there})


def _content_sha256(folder: Path, task: str) -> str:
    """The manifest's hash of pixels and fields if the file is the one that was rendered, else the file's own.

    A file's bytes depend on the versions of the libraries that wrote it, its content does not.
    """
    found = file_sha256(folder / f"{task}.parquet")
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return found
    entry = json.loads(manifest.read_text(encoding="utf-8")).get("tasks", {}).get(task, {})
    return str(entry["sha256"]) if entry.get("file_sha256") == found else found


def _folder(root: str | None) -> Path:
    if root is None:
        from pdrop_eval.mini.suite import default_root, ensure_suite, suite_version

        if not (default_root() / f"suite-{suite_version()}").is_dir():
            print("Rendering the suite's images and questions (once, some seconds)", file=sys.stderr)
        return ensure_suite()
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"data.root={root} is no folder. Give one with a <task>.parquet each, or leave "
            "data.root=null and let the suite be rendered."
        )
    return folder
