"""Records as a pandas data frame, for what no table says. Only this imports pandas: it is slow."""

from typing import TYPE_CHECKING, Any

from pdrop_eval.records.rows.run import Run, to_runs

if TYPE_CHECKING:
    import pandas as pd

_EFFICIENCY = ("tflops", "convention", "kv_cache_bytes", "image_tokens", "image_tokens_per_layer")
_MODEL = ("architecture", "patches", "size", "train", "train_ratio", "dtype")
_RESULT = (
    "benchmark", "metric", "status", "score", "stderr", "n", "data_sha256", "wall_seconds", "tflops_mean",
    "image_tokens_mean", "image_tokens_max",
)  # fmt: skip
_RECORD = ("folder", "run_id", "limit", "seed", "batch_size", "created")
_CODE = ("version", "commit", "dirty")
COLUMNS = [
    *_RECORD, "model", *_MODEL, "checkpoint", "suite", "source", "strategy", "changes", *_CODE, *_EFFICIENCY,
    "task", *_RESULT,
]  # fmt: skip


def to_frame(records: list[dict]) -> "pd.DataFrame":
    """One row for each benchmark that a run has finished; runs without any give no row.

    `score` and `stderr` are on the paper's scale, `changes` says how the run's configuration differs from the
    one in `conf/` (overrides, empty for the default), and `limit` is missing where all questions were asked.
    """
    import pandas as pd

    rows = [
        {**_run_columns(run), "task": task, **{name: result.get(name) for name in _RESULT}}
        for run in to_runs(records)
        for task, result in run.record["tasks"].items()
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _run_columns(run: Run) -> dict[str, Any]:
    return {
        **{name: run.record.get(name) for name in _RECORD},
        **{name: run.of("model", name) for name in _MODEL},
        **{name: run.of("code", name) for name in _CODE},
        **{name: run.of("efficiency", name) for name in _EFFICIENCY},
        "model": run.model,
        "checkpoint": run.checkpoint,
        "suite": run.suite,
        "source": run.of("suite", "source"),
        "strategy": run.strategy,
        "changes": " ".join(run.changes),
    }
