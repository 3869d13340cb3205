"""A user's folder as a task of lmms-eval: what it is, and the YAML that says so."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.data.prepare import Data, prepare_data
from pdrop_eval.benchmarks.own.definition import GROUP, SCALE, SPLIT, own_definition
from pdrop_eval.benchmarks.own.metrics import metric_module, own_metric
from pdrop_eval.benchmarks.own.store import SOURCE, store_folder
from pdrop_eval.benchmarks.scoring.rules import rule_module
from pdrop_eval.benchmarks.task_files import Local, TaskInfo, describe, task_sha256
from pdrop_eval.utils.code.source_code import hash_modules, import_closure
from pdrop_eval.utils.paths import PACKAGE

_FUNCTIONS = f"{PACKAGE.name}.benchmarks.own.functions"


def info_of(suite: Any, task: str) -> TaskInfo:
    """What a task of a suite is. Raises UserError for one that there isn't."""
    return describe(task, suite.source) if suite.own is None else own_info(suite)


def sha256_of(suite: Any, task: str) -> str:
    """SHA-256 of what a task of a suite is, as `task_files.task_sha256`."""
    return task_sha256(task, suite.source) if suite.own is None else own_sha256(suite)


def data_of(suite: Any, given: Any, tasks: Sequence[str]) -> Data:
    """The data of a suite's tasks, checked.

    Of the user's own questions, other ones, other answers or other pictures make another run.

    Args:
        suite: The suite's settings.
        given: The group `data` of the settings.
        tasks: Of the suite.

    Raises:
        UserError: As `prepare_data` and `store_folder`.
    """
    if suite.own is None:
        return prepare_data(suite, given.root, tasks)
    found = store_folder(given.folder, suite.own.metric, given.ignore or ())
    sha256 = {suite.name: found.sha256}
    return Data(None, {}, sha256, sha256, {suite.name: Local((found.path,), "parquet")})


def own_info(suite: Any) -> TaskInfo:
    """What the task of a suite with `own` is."""
    metric = own_metric(suite.own.metric)
    return TaskInfo(
        task=suite.name,
        benchmark=suite.name,
        metric=metric.name,
        scale=SCALE,
        scoring=metric.scoring,
        cluster=GROUP,
        split=SPLIT,
        columns=(),
        unique=("id",),
        groups=(),
        judge=False,
        dataset="data.folder",
        subset=None,
    )


def definition_of(suite: Any) -> dict[str, Any]:
    """What a record says, as `definition`, of a benchmark that no registry has; nothing of the others."""
    return {} if suite.own is None else {"definition": own_definition(suite.name, suite.own.metric)}


def own_sha256(suite: Any) -> str:
    """SHA-256 of what the task is: its file, and the code of its functions, metric and scoring rule."""
    modules = [_FUNCTIONS, metric_module(suite.own.metric), rule_module(own_metric(suite.own.metric).scoring)]
    said = json.dumps([_settings(suite), hash_modules(import_closure(modules, PACKAGE))], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def write_task(suite: Any, stored: Path, folder: Path) -> Path:
    """Writes the task's YAML; returns the folder to give to a TaskManager.

    Args:
        suite: With `own`.
        stored: The Parquet file of the questions.
        folder: Has to stay until the task has run.
    """
    settings = _settings(suite)
    functions = {name: f"!function {settings.pop(name)}" for name in _FUNCTION_FIELDS}
    data = {"data_files": {SPLIT: [str(stored)]}, "cache_dir": str(folder / "cache")}
    lines = [f"{name}: {json.dumps(value)}" for name, value in {**settings, "dataset_kwargs": data}.items()]
    lines += [f"{name}: {value}" for name, value in functions.items()]
    target = folder / SOURCE / f"{suite.name}.yaml"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target.parent


_FUNCTION_FIELDS = ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results")


def _settings(suite: Any) -> dict[str, Any]:
    """The YAML, but for where the data lie."""
    own, metric = suite.own, own_metric(suite.own.metric)
    return {
        "task": suite.name,
        "dataset_path": "parquet",
        "dataset_name": None,
        "test_split": SPLIT,
        "output_type": "generate_until",
        "doc_to_visual": f"{_FUNCTIONS}.pictures",
        "doc_to_text": f"{_FUNCTIONS}.prompt",
        "doc_to_target": f"{_FUNCTIONS}.target",
        "process_results": f"{metric_module(metric.name)}.process_results",
        "generation_kwargs": {
            "max_new_tokens": own.max_new_tokens, "temperature": 0, "do_sample": False, "num_beams": 1,
        },
        "metric_list": [{"metric": metric.name, "aggregation": "mean", "higher_is_better": True}],
        "lmms_eval_specific_kwargs": {
            "default": {"post_prompt": own.prompt_ending, "options": metric.options}
        },
    }  # fmt: skip
