"""The tasks: short YAMLs that include lmms-eval's installed ones, filled in with what is known at run time.

`tasks/hub/<task>.yaml` includes the installed YAML and changes what must be (see tasks/README.md);
`tasks/rendered/<task>.yaml` includes that one and only says where the data are. The folders are the registry
of tasks. Reading them needs neither lmms-eval nor torch.
"""

import hashlib
import json
import string
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pdrop_eval.benchmarks.installed.chain import Function, task_chain
from pdrop_eval.benchmarks.installed.folder import installed_tasks as installed_folder
from pdrop_eval.benchmarks.installed.index import is_installed
from pdrop_eval.benchmarks.installed.kinds import source_files, task_file
from pdrop_eval.benchmarks.registry import IMAGES, by_task, check_benchmark, registered_by_task
from pdrop_eval.benchmarks.scoring.rules import rule_module, scoring_rule
from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.code.source_code import hash_modules, import_closure
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import PACKAGE, TASKS
from pdrop_eval.utils.text.fast_yaml import FastLoader
from pdrop_eval.utils.validation import check_choice

if TYPE_CHECKING:
    from pdrop_eval.benchmarks.scoring.metric import Metric

SOURCES = ("rendered", "hub")
# Of a benchmark's entry, what isn't computed with; a subset's questions have a hash of their own.
_WORDS = ("name", "comparable", "why", "paper", "groups")
_INSTALLED = "pdrop_eval.benchmarks.installed.items"  # finds the rule of a task's numbers
_JUDGED = "pdrop_eval.benchmarks.judging.mmvet"  # scores what a judge has read


@dataclass(frozen=True)
class TaskInfo:
    """What the runner has to know of a task: its entry in the registry of benchmarks, and where its data are.

    `scale` is "sum", "percent" or "percent_of_one" (lmms-eval says 0 to 1, the record 0 to 100); `scoring`
    names the rule that makes the score (see `benchmarks.scoring.rules`), `cluster` what is resampled
    together; `judge` is true for a task that only a language model can score.

    Attributes:
        installed: It runs from lmms-eval's own files: it has none in `tasks`.
        registered: It has an entry in the registry. Without one, metric and rule are found later.
        name: The benchmark's.
        direction: Whether higher or lower is better.
        item: See `registry.Benchmark`.
    """

    task: str
    benchmark: str
    metric: str
    scale: str
    scoring: str
    cluster: str
    split: str
    columns: tuple[str, ...]
    unique: tuple[str, ...]
    groups: tuple[str, ...]
    judge: bool
    dataset: str
    subset: str | None
    installed: bool = False
    registered: bool = True
    name: str = ""
    direction: str = "higher"
    item: str | None = None

    @property
    def rule(self) -> "Metric":
        """How the score is made."""
        return scoring_rule(self.scoring)

    @property
    def factor(self) -> float:
        """From lmms-eval's number to the record's."""
        return 100.0 if self.scale == "percent_of_one" else 1.0

    @property
    def record_scale(self) -> str:
        """The scale as the record names it."""
        return "sum" if self.scale == "sum" else "0-100"


def task_names(source: str) -> list[str]:
    """The tasks that there are for a source of data, in the registry's order."""
    found = {path.stem for path in (TASKS / source).glob("*.yaml")}
    return [*(task for task in by_task() if task in found), *sorted(found - set(by_task()))]


@lru_cache
def describe(task: str, source: str) -> TaskInfo:
    """The task's description. Raises UserError for an unknown source or task."""
    check_choice("suite.source", source, SOURCES)
    if task not in task_names(source) and task not in by_task() and is_installed(task):
        return _describe_installed(task)
    check_benchmark("task", task, task_names(source))
    own = by_task().get(task)
    if own is None:
        raise UserError(
            f"The task {task} has a file in tasks/{source}, but no entry in "
            "pdrop_eval/benchmarks/benchmarks.yaml, which says how it is scored. Add one."
        )
    hub = read_chain(TASKS / "hub" / f"{task}.yaml")
    read_chain(TASKS / source / f"{task}.yaml")  # lmms-eval would run what a Python tag in it asks for
    return TaskInfo(
        task=task,
        benchmark=own.key,
        metric=own.metric,
        scale=own.scale,
        scoring=own.scoring,
        cluster=own.cluster,
        split=own.split,
        columns=own.columns,
        unique=own.unique,
        groups=own.groups,
        judge=own.judge,
        dataset=hub["dataset_path"],
        subset=hub.get("dataset_name"),
    )


def _describe_installed(task: str) -> TaskInfo:
    """The description of a task that runs from lmms-eval's own files."""
    config, own = task_chain(task_file(task)), registered_by_task().get(task)
    metrics = [entry.get("higher_is_better", True) for entry in config.get("metric_list") or ()]
    subset = config.get("dataset_name")
    known: dict[str, Any] = {
        "benchmark": own.key, "metric": own.metric, "scale": own.scale, "scoring": own.scoring,
        "cluster": own.cluster, "columns": own.columns, "unique": own.unique, "judge": own.judge,
        "name": own.name, "direction": own.direction, "item": own.item,
        "groups": own.groups,
    } if own else {
        "benchmark": task, "metric": "", "scale": "percent_of_one", "scoring": "mean", "cluster": IMAGES,
        "columns": (), "unique": (), "judge": False, "name": task, "groups": (),
        "direction": "lower" if metrics and metrics[0] is False else "higher",
    }  # fmt: skip
    return TaskInfo(
        task=task,
        split=str(config.get("test_split") or config.get("validation_split") or "test").strip(),
        dataset=str(config.get("dataset_path")),
        subset=None if subset is None else str(subset),
        installed=True,
        registered=own is not None,
        **known,
    )


def task_sha256(task: str, source: str) -> str:
    """SHA-256 of what a task is: the task's files with all that they include, and its entry in the registry.

    Of the entry, only what is computed with: not the benchmark's name, nor the words on it. The project's
    functions that the files name count with all that they import, and so does the scoring rule; lmms-eval's
    own are its version's.
    """
    if describe(task, source).installed:
        return _installed_sha256(task)
    chain = read_chain(TASKS / source / f"{task}.yaml")
    entry = {key: value for key, value in asdict(by_task()[task]).items() if key not in _WORDS}
    if entry["item"] is None:  # as before there were any
        del entry["item"]
    modules = {name.rpartition(".")[0] for name in _texts(chain) if name.startswith(f"{PACKAGE.name}.")}
    modules |= {_JUDGED} if entry["judge"] else set()
    modules.add(rule_module(entry["scoring"]))
    code = hash_modules(import_closure(modules, PACKAGE))
    said = json.dumps([chain, entry, code], sort_keys=True, default=str)
    return hashlib.sha256(said.encode()).hexdigest()


def _installed_sha256(task: str) -> str:
    """The same of a task that runs from lmms-eval's own files: these, with the files of its functions."""
    chain = task_chain(task_file(task))
    own = registered_by_task().get(task)
    entry = {key: value for key, value in asdict(own).items() if key not in _WORDS} if own else {}
    files = {path.name: file_sha256(path) for path in source_files(task)}
    code = hash_modules(import_closure({_INSTALLED}, PACKAGE))
    said = json.dumps([chain, entry, files, code], sort_keys=True, default=_said)
    return hashlib.sha256(said.encode()).hexdigest()


def _said(value: Any) -> str:
    """A function by its name: its file lies elsewhere on another machine."""
    return value.text if isinstance(value, Function) else str(value)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def materialise(
    info: TaskInfo,
    source: str,
    folder: Path,
    data: Path | None,
    revision: str | None,
    ocr: bool,
    local: "Local | None" = None,
) -> Path:
    """Writes the task's YAML chain with all values filled in; returns the folder to give to a TaskManager.

    `folder` has to stay until the task has run: a rendered task's data are unpacked there. `data` is the
    folder of parquet files of a rendered suite, `revision` the commit of a data set on the hub, `local` the
    files of a data set that was downloaded.
    """
    values = {
        "LMMS_EVAL": str(installed_tasks()),
        "DATA": str(data),
        "CACHE": str(folder / "cache"),
        "REVISION": "null" if revision is None else revision,
        "OCR": str(bool(ocr)).lower(),
    }
    if info.installed:
        _write_installed(info, folder / source, revision)
    for kind in dict.fromkeys([] if info.installed else ["hub", source]):
        text = (TASKS / kind / f"{info.task}.yaml").read_text(encoding="utf-8")
        target = folder / kind / f"{info.task}.yaml"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(string.Template(text).substitute(values), encoding="utf-8")
    questions, images = local.read if local else ((), ())
    if not info.installed:
        _use_images(info.task, source, images)
    if local is None:
        return folder / source
    target = folder / "local" / f"{info.task}.yaml"
    target.parent.mkdir(exist_ok=True)
    files = json.dumps({info.split: [str(path) for path in questions]})
    kind = "parquet" if local.converted else local.kind
    unpacked = f", cache_dir: {json.dumps(values['CACHE'])}" if source == "rendered" else ""
    target.write_text(
        f"include: ../{source}/{info.task}.yaml\ndataset_path: {kind}\ndataset_name: null\n"
        f"dataset_kwargs: {{data_files: {files}{unpacked}}}\n",
        encoding="utf-8",
    )
    return target.parent


def _write_installed(info: TaskInfo, folder: Path, revision: str | None) -> None:
    """Writes a file that includes lmms-eval's own, and says which version of the data is read.

    The data sets are public: a token would require a login.
    """
    config = task_chain(task_file(info.task))
    kept = {key: value for key, value in (config.get("dataset_kwargs") or {}).items() if key != "token"}
    kept |= {} if revision is None else {"revision": revision}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{info.task}.yaml").write_text(
        f"include: {json.dumps(str(task_file(info.task)))}\ntask: {json.dumps(info.task)}\n"
        f"dataset_kwargs: {json.dumps(kept)}\n",
        encoding="utf-8",
    )


def _use_images(task: str, source: str, images: tuple[Path, ...]) -> None:
    """Tells the module that prepares a task's rows, if it asks (`use_local_images`), where its pictures are.

    The task names the module: imported by name, it would decide the numbers of every other task, too.
    """
    named = str(read_chain(TASKS / source / f"{task}.yaml").get("process_docs"))
    if named.startswith(f"{PACKAGE.name}."):
        use = getattr(import_module(named.rpartition(".")[0]), "use_local_images", None)
        if use is not None:
            use(images)


def installed_tasks() -> Path:
    """The folder of lmms-eval's own task files. Raises UserError if it isn't installed."""
    found = installed_folder()
    if found is None:
        raise UserError("lmms-eval is not installed. Install it with: pip install lmms-eval==0.7.3")
    return found


def read_chain(path: Path) -> dict[str, Any]:
    """A YAML and what it includes, merged as lmms-eval merges them; functions stay names.

    Raises:
        UserError: A file can't be read, or has Python tags.
    """
    installed = str(installed_tasks())
    try:
        config = yaml.load(path.read_text(encoding="utf-8").replace("$LMMS_EVAL", installed), _Loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"The task file {path} can't be read: {reason}. Fix it; see tasks/README.md."
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"The task file {path} names no settings. Fix it; see tasks/README.md.")
    include = config.pop("include", None)
    base = read_chain((path.parent / include).resolve()) if include else {}
    return {**base, **config}


class _Loader(FastLoader):
    """Reads lmms-eval's YAMLs without importing what their `!function` tags name."""


_Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))


@dataclass(frozen=True)
class Local:
    """The files of one split, in order. `commit` is the Hub's name for their content, where it is known."""

    files: tuple[Path, ...]
    kind: str  # parquet | arrow
    commit: str | None = None
    images: tuple[Path, ...] = ()  # GQA's pictures, which the Hub keeps apart
    converted: tuple[Path, ...] = ()  # what is read in the place of `files`, where these are of another form
    converted_images: tuple[Path, ...] = ()

    @property
    def read(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """The files of questions and of pictures that are read."""
        return self.converted or self.files, self.converted_images or self.images
