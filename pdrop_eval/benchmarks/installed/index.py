"""All names that the installed lmms-eval knows, each with its file. Neither it nor a task is imported.

lmms-eval reads its two thousand files for seconds each time. Here the names are read once and kept in the
cache; what a task is, is read from its own few files once it is chosen.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from pdrop_eval.benchmarks.installed.folder import installed_tasks
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import cache_folder
from pdrop_eval.utils.text.fast_yaml import FastLoader

TASK, GROUP, TAG, CLASS = "task", "group", "tag", "class"
CHANGED = "..."  # stands for a task whose settings its group changes
_FORM = 1  # of the kept index
_LEFT = ("__pycache__", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Name:
    """One name.

    Attributes:
        kind: "task", "group" (a file that lists tasks), "tag" (tasks that name it) or "class" (Python).
        file: Beneath the folder of tasks; empty for a tag.
        members: Names of tasks and groups, or `CHANGED`.
    """

    kind: str
    file: str = ""
    members: tuple[str, ...] = ()


_users: dict[str, Name] = {}  # of the user's folders


def installed_names() -> dict[str, Name]:
    """All names, those of the user's folders included; none where lmms-eval isn't installed."""
    return {**_of_lmms_eval(), **_users} if _users else _of_lmms_eval()


def include(path: str) -> list[str]:
    """Add the tasks of a user's folder, as lmms-eval's own `--include_path` does; return their names.

    Raises:
        UserError: No such folder, none with a task, a file that can't be read, or a name that is taken.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(f"include_path={path} is no folder. Give the one with the YAML files of your tasks.")
    found = _collect(folder)
    mine = {
        name: replace(one, file=str(folder / one.file) if one.file else "") for name, one in found.items()
    }
    files = sorted(folder.rglob("*.yaml"))
    for file in files:
        _check_readable(file)
    if not mine:
        held = f"none of its {len(files)} YAML files names a task" if files else "it has no YAML file"
        raise UserError(f"include_path={path} has no task: {held}. A task's file says task: my_task.")
    for name, one in mine.items():
        taken = name in _of_lmms_eval() or _users.get(name, one) != one
        if taken and one.kind in (TASK, CLASS):
            raise UserError(
                f"include_path={path} has a task {name} ({one.file}), and there is another one of this name. "
                f"Rename yours, such as task: my_{name}."
            )
    _users.update({name: one for name, one in mine.items() if name not in _of_lmms_eval()})
    return sorted(mine)


def _check_readable(file: Path) -> None:
    try:
        yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The task file {file} can't be read: {reason}. Fix it.") from error


@cache
def _of_lmms_eval() -> dict[str, Name]:
    """All names of lmms-eval's own; empty where it isn't installed."""
    folder = installed_tasks()
    if folder is None:
        return {}
    kept = cache_folder() / "lmms_eval" / "tasks.json"
    mark = [_FORM, _version(), str(folder), folder.stat().st_mtime_ns]
    found = _read(kept, mark)
    if found is None:
        found = _collect(folder)
        text = json.dumps({"mark": mark, "names": {k: [n.kind, n.file, n.members] for k, n in found.items()}})
        with contextlib.suppress(OSError):  # what can't be kept is read again
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(kept, text)
    return found


def is_installed(name: str) -> bool:
    """Whether lmms-eval has a task, a group or a tag of this name."""
    return name in installed_names()


def is_included(name: str) -> bool:
    """Whether it is the name of a task in a folder of the user's."""
    return name in _users


def _version() -> str:
    try:
        return version("lmms-eval")
    except PackageNotFoundError:
        return "?"


def _read(kept: Path, mark: list[Any]) -> dict[str, Name] | None:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        if found["mark"] != mark:
            return None
        names = found["names"].items()
        return {key: Name(kind, file, tuple(members)) for key, (kind, file, members) in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _collect(folder: Path) -> dict[str, Name]:
    """The names as lmms-eval's own `TaskManager` finds them."""
    names: dict[str, Name] = {}
    seen: dict[Path, dict[str, Any]] = {}
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _LEFT]
        for file in files:
            if file.endswith(".yaml"):
                path = Path(root) / file
                _add(names, str(path.relative_to(folder)), _load(path, seen))
    return {key: replace(name, members=tuple(sorted(name.members))) if name.kind == TAG else name
            for key, name in names.items()}  # fmt: skip


def _add(names: dict[str, Name], file: str, config: dict[str, Any]) -> None:
    task = config.get("task")
    if "class" in config and isinstance(task, str):
        names[task] = Name(CLASS, file)
    elif isinstance(task, list):
        names[str(config.get("group"))] = Name(GROUP, file, tuple(_members(task)))
    elif isinstance(task, str):
        names[task] = Name(TASK, file)
        for attribute in ("tag", "group"):
            given = config.get(attribute) or []
            for tag in [given] if isinstance(given, str) else given:
                first = names.get(tag, Name(TAG))
                if first.kind == TAG:
                    names[tag] = Name(TAG, "", (*first.members, task))


def _members(listed: list[Any]) -> Iterator[str]:
    """The names in a group's list. A group that is written out in it stands for its own."""
    for one in listed:
        inner = one.get("task") if isinstance(one, dict) else one
        if isinstance(inner, list):
            yield from _members(inner)
        else:
            yield one if isinstance(one, str) else CHANGED


class _Loader(FastLoader):
    """Reads what names a file has; functions stay names."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


def _load(path: Path, seen: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    """A file with what it includes; empty for one that lmms-eval can't read either."""
    if path not in seen:
        seen[path] = {}  # of one that includes itself
        with contextlib.suppress(OSError, ValueError, RecursionError, yaml.YAMLError):
            found = yaml.load(path.read_text(encoding="utf-8"), _Loader)
            if isinstance(found, dict):
                seen[path] = _included(path, found, seen)
    return seen[path]


def _included(path: Path, config: dict[str, Any], seen: dict[Path, dict[str, Any]]) -> dict[str, Any]:
    given = config.pop("include", None) or []
    merged: dict[str, Any] = {}
    for one in reversed([given] if isinstance(given, str) else given):
        merged |= _load(Path(os.path.normpath(path.parent / one)), seen)
    return {**merged, **config}
