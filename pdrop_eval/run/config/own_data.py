"""`data.folder=`: a folder of the user's own questions and pictures as the run's suite."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pdrop_eval.benchmarks.installed.index import include
from pdrop_eval.benchmarks.own.definition import remember_own
from pdrop_eval.benchmarks.own.metrics import own_metric
from pdrop_eval.run.config.quoting import parsed
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_whole

_OF_FOLDER = ("metric", "name", "prompt_ending", "max_new_tokens", "ignore")
_NAME = re.compile(r"[A-Za-z0-9_]{1,60}")
# What says which questions are asked, where the folder doesn't.
_OTHERS = {
    "suite": "it picks another list of benchmarks, and the folder is a suite of its own",
    "tasks": "it picks tasks of a suite, and the folder is the only one",
    "data.root": "it is the folder of a suite's benchmarks, and data.folder has questions of its own",
}


def own_suite(data: Any, tasks: Sequence[str] | None, overrides: Sequence[str] = ()) -> dict[str, Any] | None:
    """The settings of the suite that a folder is; None where no folder is given.

    Args:
        data: The group `data` of the run's settings.
        tasks: The run's setting.
        overrides: What the command gives.

    Raises:
        UserError: Settings that need a folder, or that can't be given with one; an unknown metric.
    """
    if data.folder is None:
        for name in _OF_FOLDER:
            if getattr(data, name) is not None:
                raise UserError(
                    f"data.{name} is about questions of your own, and there is no folder of them. Give "
                    "data.folder=<folder>, too."
                )
        return None
    given = {override.lstrip("+~").partition("=")[0] for override in overrides}
    _check_alone(data, given | ({"tasks"} if tasks is not None else set()))
    metric = own_metric(data.metric)
    if data.max_new_tokens is not None:
        check_whole("data.max_new_tokens", data.max_new_tokens, 1, f"Use null for {metric.max_new_tokens}.")
    ending = metric.prompt_ending if data.prompt_ending is None else data.prompt_ending.replace("\\n", "\n")
    name = f"{_name(data.folder, data.name)}_{metric.name}"  # two metrics are two benchmarks
    remember_own(name, metric.name)
    own = {
        "metric": metric.name,
        "prompt_ending": ending,
        "max_new_tokens": data.max_new_tokens or metric.max_new_tokens,
    }
    return {"name": name, "source": "own", "tasks": (name,), "own": own}


def own_name(overrides: Iterable[str]) -> str | None:
    """The name of the task that overrides ask for, where they give a folder; else None.

    The tasks of `include_path=` are known from then on, too: a command may name them before it has a run.

    Raises:
        UserError: As `own_suite` and `include`.
    """
    known = parsed(one for one in overrides if one.startswith(("data.", "include_path=")))
    given = {one.key_or_group: one.value() for one in known}
    if given.get("include_path") is not None:
        include(str(given["include_path"]))
    values = {name: given.get(f"data.{name}") for name in ("root", "folder", *_OF_FOLDER)}
    suite = own_suite(SimpleNamespace(**values), None)
    return None if suite is None else str(suite["name"])


def _check_alone(data: Any, given: set[str]) -> None:
    if data.root is not None:
        given.add("data.root")
    for name in sorted(given):
        why = _OTHERS.get("suite" if name.startswith("suite.") else name)
        if why:
            raise UserError(
                f"{name}= can't be given with data.folder={data.folder}: {why}. Leave one of them out."
            )


def _name(folder: str, given: str | None) -> str:
    """What the data are called: as the user says, else as the folder."""
    own = re.sub(r"[^A-Za-z0-9_]+", "_", Path(folder).expanduser().resolve().name).strip("_")[:60]
    name = own if given is None else given
    if not _NAME.fullmatch(name):
        said = f"data.folder={folder} gives no name" if given is None else f"data.name={given} is no name"
        raise UserError(f"{said}: it has 1 to 60 letters (A to Z), digits and _. Use data.name=my_data.")
    return name
