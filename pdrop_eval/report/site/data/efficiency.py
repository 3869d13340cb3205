"""What pdrop-eval-bench has measured, for the page's charts: times, memory, throughput by batch size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.overrides import override
from pdrop_eval.report.bench.text import about, batch_title, batches, made_with, variant_name
from pdrop_eval.report.site.data.tables import rounded
from pdrop_eval.report.site.names import file_name, unique
from pdrop_eval.report.site.notices import Notices
from pdrop_eval.run.bench.record import read
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import as_run_here


def efficiency(root: Path, notices: Notices) -> dict[str, Any]:
    """All records of benchmarks beneath a folder, oldest first; one that can't be read becomes a notice."""
    found, taken = [], set[str]()
    for path in sorted(root.rglob("record.json")) if root.is_dir() else ():
        try:
            record = read(path)
            entry = _record(record)
        except UserError as error:
            notices.add(f"The benchmark {path.parent.name}: {error}")
            continue
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            notices.add(f"The benchmark {path.parent.name} can't be shown: {type(error).__name__} {error}.")
            continue
        key = unique(file_name(f"{entry['model']}.{path.parent.name}"), taken)
        taken.add(key.lower())
        found.append({"key": key, **entry})
    return {"records": sorted(found, key=lambda one: (str(one["created"]), one["key"]))}


def _record(record: Mapping[str, Any]) -> dict[str, Any]:
    model, settings, machine = record["model"], record["settings"], record["hardware"]
    strategies = {one["label"]: one for one in record["strategies"]}
    on_cpu = settings["device"] == "cpu"
    return {
        "model": str(model["name"]),
        "weights": model["weights"],
        "status": record["status"],
        "device": settings["device"],
        "dtype": settings["dtype"],
        "hardware": machine["cpu"] if on_cpu else ", ".join(machine["gpus"][:1]),
        "created": record["created"],
        "command": as_run_here(str(record["command"])) if record.get("command") else None,
        "image_tokens": record["sample"]["image_tokens"],
        "text_tokens": record["sample"]["text_tokens"],
        "about": [*about(record), made_with(record)],
        "batches": [_batch(batch, strategies) for batch in batches(record)],
    }


def _batch(batch: Mapping[str, Any], strategies: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "batch_size": batch["batch_size"],
        "title": batch_title(batch),
        "out_of_memory": [variant_name(label) for label in batch["out_of_memory"]],
        "variants": [_variant(one, strategies.get(one["label"], {})) for one in batch["variants"]],
    }


def _variant(one: Mapping[str, Any], strategy: Mapping[str, Any]) -> dict[str, Any]:
    _, tokens, _ = one["tokens_per_second"]
    fields = strategy.get("fields") or {}
    return {
        "label": variant_name(one["label"]),
        "strategy": strategy.get("strategy"),
        "settings": [override(name, value) for name, value in fields.items() if value is not None],
        "tokens_per_layer": strategy.get("schedule"),
        "prefill_ms": _milliseconds(one["prefill"]),
        "decode_ms": _milliseconds(one.get("decode")),
        "speedup": _range(one["prefill"].get("speedup")),
        "bound": rounded(one["prefill"].get("bound")),
        "tokens_per_second": rounded(tokens),
        "memory_bytes": one["peak_bytes"],
        "kv_cache_bytes": sum(one["kv_bytes_per_layer"]),
        "tflops": rounded(strategy.get("tflops")),
    }


def _milliseconds(phase: Mapping[str, Any] | None) -> dict[str, float | None] | None:
    """Median and quartiles of a phase."""
    return _range([1e3 * seconds for seconds in phase["seconds"]]) if phase and phase.get("seconds") else None


def _range(values: Any) -> dict[str, float | None] | None:
    if values is None:
        return None
    low, median, high = values
    return {"median": rounded(median), "low": rounded(low), "high": rounded(high)}
