"""Gets a suite's data ready: rendered or found on disk, or on the Hub; checked and hashed. Needs no torch."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.brought import brought_sha256
from pdrop_eval.benchmarks.data.local import find_local, find_rendered, local_sha256
from pdrop_eval.benchmarks.data.locate import task_file
from pdrop_eval.benchmarks.task_files import Local, describe
from pdrop_eval.models.loading.hub import hub_commit
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Data:
    """Where a suite's data are; all dicts are by task.

    A rendered suite is a `folder` of parquet files; real data are `local` files or `commits` of the Hub, and
    files in the folder that had to be converted are `local`, too.
    `sha256` stands for the content: a task whose data have changed since is run anew.
    `identity` is what of it decides which run this is: files of the user's own in the place of a rendered
    suite's. Real data sets come one by one, and the rendered ones with this package, so they don't.
    """

    folder: Path | None
    commits: dict[str, str]
    sha256: dict[str, str]
    identity: dict[str, str]
    local: dict[str, Local]


def prepare_data(suite: Any, root: str | None, tasks: Sequence[str]) -> Data:
    """The data of `tasks`, which must be there and have the right columns. Raises UserError.

    `root` is a folder of the user's: of a rendered suite, or of real data sets that were downloaded (see
    tasks/README.md); None: the suite is rendered, or comes from the Hub, whose commits stand for the content.
    """
    brought = {task: digest for task in tasks if (digest := brought_sha256(task))}
    if brought:
        rest = [task for task in tasks if task not in brought]
        data = prepare_data(suite, root, rest) if rest else Data(None, {}, {}, {}, {})
        return replace(data, sha256={**data.sha256, **brought})
    if suite.source == "hub" and root is None:
        infos = [describe(task, "hub") for task in tasks]
        commits = {info.task: hub_commit(info.dataset, "dataset", None) for info in infos}
        return Data(None, commits, dict(commits), {}, {})
    if suite.source == "hub":
        return _downloaded(_given(str(root)), tasks)
    _check_rendered(tasks, root)
    folder = _folder(root)
    found = {task: find_rendered(describe(task, "rendered"), folder)[0] for task in tasks}
    more = [task for task in tasks if task not in suite.tasks]
    there = [task for task in [*suite.tasks, *more] if task_file(folder, task).is_file()]
    content = {task: _content(folder, task) for task in there}
    sha256 = {task: hashed for task, (hashed, _) in content.items()}
    own = {task: hashed for task, (hashed, rendered) in content.items() if not rendered}
    own = {task: hashed for task, hashed in own.items() if task not in more}  # they come one by one
    local = {task: local for task, local in found.items() if local.converted or task in more}
    return Data(folder, {}, sha256, own, local)


def _check_rendered(tasks: Sequence[str], root: str | None) -> None:
    """Refuses tasks of which nothing is rendered, where no folder of data is given."""
    lacking = [task for task in tasks if describe(task, "rendered").installed]
    if root is None and lacking:
        raise UserError(
            f"{', '.join(lacking)}: the rendered suite has no such questions. Use suite=paper for the data "
            "set on the Hugging Face Hub, or data.root=<folder> for one that you have (see tasks/README.md)."
        )


def _downloaded(root: Path, tasks: Sequence[str]) -> Data:
    from pdrop_eval.benchmarks.rendered.suite import default_root

    local = {task: find_local(describe(task, "hub"), root) for task in tasks}
    remembered = default_root() / "sha256.json"
    sha256 = {task: local_sha256(found, remembered) for task, found in local.items()}
    return Data(None, {}, sha256, {}, local)


def _content(folder: Path, task: str) -> tuple[str, bool]:
    """A hash of a task's data, and whether they are the file that was rendered.

    Of that, it is the manifest's hash of pixels and fields, else the file's own. A rendered file's
    bytes depend on the versions of the libraries that wrote it, its content does not.
    """
    found = file_sha256(task_file(folder, task))
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return found, False
    entry = json.loads(manifest.read_text(encoding="utf-8")).get("tasks", {}).get(task, {})
    rendered = entry.get("file_sha256") == found
    return (str(entry["sha256"]), True) if rendered else (found, False)


def _folder(root: str | None) -> Path:
    if root is None:
        from pdrop_eval.benchmarks.rendered.suite import default_root, ensure_suite, suite_version

        if not (default_root() / f"suite-{suite_version()}").is_dir():
            print("Rendering the suite's images and questions (once, some seconds)", file=sys.stderr)
        return ensure_suite()
    return _given(root)


def _given(root: str) -> Path:
    folder = Path(root).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            f"data.root={root} is no folder. Give one that holds the data (tasks/README.md says how), or "
            "leave data.root=null: the suite is then rendered, or its data come from the Hub."
        )
    return folder
