"""Records as a pandas data frame, and which run stands for a strategy when there are several."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from pdrop_eval.paths import CONF

# Settings that can change a score; the device and the folder do not belong here.
SETTINGS = ("seed", "dtype", "batch_size", "attention")
COLUMNS = [
    "folder", "run_id", "model", "checkpoint", "suite", "source", "strategy", "changes", "limit", "seed",
    "dtype", "batch_size", "status", "created", "version", "commit", "dirty", "tflops", "convention",
    "kv_cache_bytes", "image_tokens", "image_tokens_per_layer", "task", "benchmark", "metric", "score",
    "stderr", "n", "data_sha256", "wall_seconds", "tflops_mean",
]  # fmt: skip


def to_frame(records: list[dict]) -> pd.DataFrame:
    """One row for each benchmark that a run has finished; runs without any give no row.

    `score` and `stderr` are on the paper's scale, `changes` says how the run's configuration differs from the
    one in `conf/` (overrides, empty for the default), and `limit` is missing where all questions were asked.
    """
    rows = [
        {**_run_columns(record), "task": task, **_task_columns(result)}
        for record in records
        for task, result in record["tasks"].items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def pick_runs(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Chooses one run for each model, suite and strategy: the rows of the chosen runs, and of the others.

    The default strategy comes before a changed one, all questions before a limit and a higher limit before a
    lower one, then the fewest other changes of the configuration, then the most finished benchmarks, then the
    newest.
    """
    chosen = [
        min(group.groupby("folder", sort=False), key=lambda run: _preference(run[1]))[0]
        for _, group in frame.groupby(["model", "suite", "strategy"], sort=False)
    ]
    used = frame["folder"].isin(chosen)
    return frame[used].reset_index(drop=True), frame[~used].reset_index(drop=True)


def changes_from_default(config: Mapping, conf: Path = CONF) -> list[str]:
    """How a resolved configuration differs from `conf/`, as overrides (`strategy.ratio=0.6`).

    Only what can change a score is compared: the strategy, the model and `SETTINGS` (the limit has its own
    place). A setting that the record doesn't know yet is no change.
    """
    changes = _changes(config.get("strategy"), conf / "strategy", "strategy")
    changes += _changes(config.get("model"), conf / "model", "model")
    defaults = _yaml(conf / "evaluate.yaml") or {}
    changes += [
        _override(key, config[key])
        for key in SETTINGS
        if key in config and key in defaults and config[key] != defaults[key]
    ]
    return changes


def _changes(values: Any, folder: Path, group: str) -> list[str]:
    """Differences of a config group from the file that it was composed from, found by target or name."""
    if not isinstance(values, Mapping):
        return []
    key = "_target_" if "_target_" in values else "name"
    files = [_yaml(path) for path in sorted(folder.glob("*.yaml"))]
    default = next((file for file in files if file and file.get(key) == values.get(key)), None)
    if default is None:
        return []
    wrong = [name for name in values if name not in default or values[name] != default[name]]
    return [_override(f"{group}.{name}", values[name]) for name in wrong]


def _override(name: str, value: Any) -> str:
    """A value as it is written on the command line: `null`, `true`, `[8,16,24]`, plain text."""
    return f"{name}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


@cache
def _yaml(path: Path) -> dict | None:
    if not path.is_file():
        return None
    loaded = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else None


def _run_columns(record: dict) -> dict[str, Any]:
    model, code, efficiency = record["model"], record.get("code") or {}, record.get("efficiency") or {}
    config, suite = record.get("config") or {}, record.get("suite") or {}
    same_names = ("folder", "run_id", "limit", "seed", "batch_size", "status", "created")
    efficiency_names = ("tflops", "convention", "kv_cache_bytes", "image_tokens", "image_tokens_per_layer")
    return {
        **{name: record.get(name) for name in same_names},
        **{name: efficiency.get(name) for name in efficiency_names},
        **{name: code.get(name) for name in ("version", "commit", "dirty")},
        "model": model.get("name"),
        "checkpoint": model.get("sha256") or model.get("commit") or model.get("revision"),
        "dtype": model.get("dtype"),
        "suite": suite.get("name"),
        "source": suite.get("source"),
        "strategy": record["strategy"].get("name"),
        "changes": " ".join(changes_from_default(config)),
    }


def _task_columns(result: dict) -> dict[str, Any]:
    names = ("benchmark", "metric", "score", "stderr", "n", "data_sha256", "wall_seconds", "tflops_mean")
    return {name: result.get(name) for name in names}


def _preference(run: pd.DataFrame) -> tuple:
    first = run.iloc[0]
    changes = first["changes"].split()
    limit = float("inf") if pd.isna(first["limit"]) else first["limit"]
    newest = -pd.Timestamp(first["created"]).timestamp()
    return any(c.startswith("strategy.") for c in changes), -limit, len(changes), -len(run), newest
