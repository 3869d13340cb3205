"""Files that a user's own task names itself, as lmms-eval reads them: `dataset_path: parquet` and others."""

import hashlib
from collections.abc import Iterator
from glob import glob
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.installed.chain import task_chain
from pdrop_eval.benchmarks.installed.index import is_included
from pdrop_eval.benchmarks.installed.kinds import task_file
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.errors import UserError

_BUILDERS = ("parquet", "json", "csv", "arrow", "text")  # of the package datasets


def brought_sha256(task: str) -> str | None:
    """SHA-256 of the files that a task of the user's brings; None if its data are elsewhere.

    Raises:
        UserError: One of them isn't there.
    """
    if not is_included(task):
        return None
    config = task_chain(task_file(task))
    named = (config.get("dataset_kwargs") or {}).get("data_files")
    if config.get("dataset_path") not in _BUILDERS or named is None:
        return None
    whole = hashlib.sha256()
    for pattern in _texts(named):
        found = sorted(path for path in glob(pattern) if Path(path).is_file())
        if not found:
            raise UserError(
                f"The task {task} names the data {pattern}, which aren't there. Mend data_files in "
                f"{task_file(task)}; a path without / in front begins in the folder of the command."
            )
        for path in found:
            whole.update(f"{file_sha256(Path(path))}\n".encode())
    return whole.hexdigest()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
    else:
        yield str(value)
