"""Which benchmark the rows of a task are of: the registry's, one that a run or a folder says, or lmms-eval's.

All of it is read from files: neither lmms-eval nor torch is imported.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from pdrop_eval.benchmarks.installed.choose import nearest
from pdrop_eval.benchmarks.installed.index import CLASS, TASK, installed_names
from pdrop_eval.benchmarks.installed.kinds import SUBMISSION, task_file
from pdrop_eval.benchmarks.registry import (
    Benchmark,
    benchmark_of,
    by_task,
    check_benchmark,
    registered_by_task,
)
from pdrop_eval.benchmarks.task_files import TaskInfo, describe, task_names
from pdrop_eval.utils import definitions
from pdrop_eval.utils.validation import check_choice, is_finite_number

_OTHERS = (
    "A task of your own: include_path=<folder of its YAML>; questions of your own: data.folder=<folder>."
)
_DEFINITION = ("name", "split", "scale", "direction", "scoring", "cluster", "why")


def is_task(name: str) -> bool:
    """Whether rows can be of a task: of the registry, of a run or a folder that was named, or lmms-eval's."""
    return name in registered_by_task() or _said(name) is not None or is_lmms_evals(name)


def is_lmms_evals(name: str) -> bool:
    """Whether a task runs from lmms-eval's own files, or from those of `include_path=`."""
    found = installed_names().get(name)
    known = name in by_task() or name in task_names("hub")
    return not known and found is not None and found.kind in (TASK, CLASS)


def check_task(what: str, name: str, fix: str = "") -> None:
    """Refuse the name of a task that nobody knows, with the nearest ones.

    Raises:
        UserError: There is no such task.
    """
    if not is_task(name):
        allowed = [*registered_by_task(), *_described()]
        check_benchmark(what, name, allowed, " ".join(filter(None, [nearest(name), fix, _OTHERS])))


def check_asked(asked: Iterable[str], groups: Mapping[str, Any], what: str) -> None:
    """Refuse tasks that a command asks for and that there aren't, or that the results don't have.

    Raises:
        UserError: A task that there isn't.
    """
    for name in asked:
        check_task("task", name)
        check_choice(f"task of the {what}", name, groups)


def in_order(tasks: Iterable[str]) -> list[str]:
    """Tasks in the registry's order, then the others by name."""
    there = set(tasks)
    return [
        *(task for task in registered_by_task() if task in there),
        *sorted(there - registered_by_task().keys()),
    ]


def benchmark_of_task(task: str) -> Benchmark:
    """What is known of a task's benchmark. Of one that only lmms-eval knows, its numbers say the rule."""
    known = registered_by_task().get(task)
    if known is not None:
        return known
    said = _said(task)
    if said is not None:
        return benchmark_of(said)
    info = describe(task, "hub")
    return Benchmark(
        key=task, name=task, task=task, split=info.split, metric="", scale=info.scale,
        direction=info.direction, scoring=info.scoring, columns=(), comparable="no", why="",
        cluster=info.cluster, paper=False,
    )  # fmt: skip


def info_of_task(task: str) -> TaskInfo:
    """What is known of a task that runs from lmms-eval's own files."""
    return describe(task, "hub")


def metrics_of(task: str) -> list[str]:
    """The metrics that lmms-eval's files of a task name, in their order."""
    return [str(entry.get("metric")) for entry in _metric_list(task)]


def is_mean(task: str, metric: str) -> bool:
    """Whether lmms-eval's files of a task say that a metric is the mean of what questions earned."""
    return any(
        entry.get("metric") == metric and entry.get("aggregation") == "mean" for entry in _metric_list(task)
    )


def counted(names: Iterable[str]) -> list[str]:
    """The metrics that are no file for somebody else's server."""
    return [name for name in names if SUBMISSION not in name]


def definition_of(known: Benchmark) -> dict[str, str] | None:
    """What a record says of a benchmark as a run or a folder describes it; None for the registry's."""
    if known.task in registered_by_task():
        return None
    return {name: getattr(known, name) for name in _DEFINITION}


def version_of(task: str) -> float | None:
    """The version of a task that the installed lmms-eval's file says; None where it says none."""
    from pdrop_eval.benchmarks.installed.chain import task_chain

    found = installed_names().get(task)
    if found is None or found.kind != TASK:
        return None
    return version_in(task_chain(task_file(task)).get("metadata"))


def version_in(metadata: Any) -> float | None:
    """The version in a task's `metadata`, which may be a list of one."""
    found = metadata[0] if isinstance(metadata, list) and metadata else metadata
    found = found.get("version") if isinstance(found, dict) else found
    return float(str(found)) if is_finite_number(found) else None


def _metric_list(task: str) -> list[Mapping[str, Any]]:
    from pdrop_eval.benchmarks.installed.chain import task_chain

    if not is_lmms_evals(task):
        return []
    found = task_chain(task_file(task)).get("metric_list")
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _described() -> list[str]:
    return [str(said.get("task") or key) for key, said in definitions.known().items()]


def _said(task: str) -> str | None:
    """The key of the benchmark that a record or a folder has described, by its task."""
    found = (key for key, said in definitions.known().items() if (said.get("task") or key) == task)
    return next(found, None)
