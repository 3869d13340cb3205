"""What a benchmark found, as the rows of a table; for the terminal and for pages. Needs no torch."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from pdrop_eval.run.bench.machine import is_busy
from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.strategies.registry import VANILLA, display_name

NAMES = {"keep_all": "keep-all"}
_PHASES = (("prefill", "Prefill, ms"), ("ttft", "First token, ms"), ("decode", "Decode, ms a token"))


def bench_text(record: Mapping[str, Any], width: int = 80) -> str:
    """All of a record for a terminal of `width` columns."""
    parts = ["\n".join(_wrapped(line, width) for line in about(record))]
    for batch in batches(record):
        parts.append(_wrapped(batch_title(batch), width))
        parts += _blocks(*batch_table(record, batch), width) if batch["variants"] else []
    return "\n\n".join(parts)


def batches(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The batch sizes that were measured, by size."""
    return sorted(record["batches"].values(), key=lambda batch: batch["batch_size"])


def about(record: Mapping[str, Any]) -> list[str]:
    """What was measured, and where, in short lines."""
    model, sample, settings = record["model"], record["sample"], record["settings"]
    machine = record["hardware"]
    where = machine["cpu"] if settings["device"] == "cpu" else ", ".join(machine["gpus"][:1])
    threads = f", {settings['threads']} thread(s)" if settings["device"] == "cpu" else ""
    compiled = ", torch.compile" if settings.get("compile") else ""
    images = f"{sample['images']} image{'s' * (sample['images'] > 1)}"
    return [
        f"{model['name']}, {_weights(model)}: {model['layers']} layers, width {model['width']:,}.",
        f"A sample: {images} of {sample['tiles'] // sample['images']} tile(s), {sample['image_tokens']:,} "
        f"image + {sample['text_tokens']} text tokens.",
        f"{where}{threads}; {settings['dtype']}, {settings['attention']}{compiled}.",
        f"Medians of {settings['rounds']} rounds, [quartiles]; speed-ups within a round.",
    ]


def made_with(record: Mapping[str, Any]) -> str:
    """Return packages and code, `torch 2.9, transformers 5.1; code 0.1.0 at 0123456789 with changes`.

    Batch sizes can be measured under different code, if a benchmark went on later.
    """
    packages = record["packages"]
    codes = [batch.get("code") or record["code"] for batch in record.get("batches", {}).values()]
    found = dict.fromkeys(_code(code) for code in codes or [record["code"]])
    return f"torch {packages['torch']}, transformers {packages['transformers']}; code {' and '.join(found)}."


def _code(code: Mapping[str, Any]) -> str:
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    return f"{code['version']}{commit}{' with changes' if code.get('dirty') else ''}"


def _weights(model: Mapping[str, Any]) -> str:
    if model["weights"] == "random":
        return "random weights"
    adapter = model.get("adapter")
    return "its own weights" + (f" and the adapter {adapter['adapter']}" if adapter else "")


def batch_title(batch: Mapping[str, Any]) -> str:
    """`Batch 4: vision tower 12.3 [12.1, 12.6] ms`; what ran out of memory is named."""
    parts = [f"Batch {batch['batch_size']}"]
    vision = batch.get("vision")
    if vision and vision["seconds"]:
        parts.append(f"vision tower and projector {_milliseconds(quartiles(vision['seconds']))} ms")
    if batch["out_of_memory"]:
        parts.append(f"out of memory: {', '.join(map(variant_name, batch['out_of_memory']))}")
    if is_busy(batch["load"]):
        parts.append(f"busy machine, {batch['load']['others']:.1f} cores taken by others")
    before = batch.get("before") or {}
    if before.get("gpu") and is_busy({"others": None, "gpu": before["gpu"]}):
        parts.append(f"busy GPU, {before['gpu']['percent']}% before this benchmark")
    return parts[0] + (": " + "; ".join(parts[1:]) if parts[1:] else "")


def batch_table(record: Mapping[str, Any], batch: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of one batch size: a quantity a row, a variant a column."""
    variants = batch["variants"]
    rows: list[list[str]] = []
    for phase, name in _PHASES:
        rows.append([name, *(_milliseconds(one[phase]["seconds"]) for one in variants)])
        rows.append(["  speed-up", *(_speedup(one, phase) for one in variants)])
        rows.append(["  FLOPs bound", *(_bound(one, phase) for one in variants)])
    rows.append(["Samples a second", *(_range(one["samples_per_second"]) for one in variants)])
    rows.append(["  speed-up", *(_speedup(one, "answer") for one in variants)])
    rows.append(["  FLOPs bound", *(_bound(one, "answer") for one in variants)])
    rows.append(["Tokens a second", *(_range(one["tokens_per_second"]) for one in variants)])
    rows.append(["Peak memory, MiB", *(f"{one['peak_bytes'] / 2**20:,.1f}" for one in variants)])
    rows.append(["KV cache, MiB", *(f"{sum(one['kv_bytes_per_layer']) / 2**20:,.2f}" for one in variants)])
    vanilla = next((one for one in variants if one["label"] == VANILLA), None)
    for name, key in (("Ranking, ms", "ranking_seconds"), ("Dropping, ms", "dropping_seconds")):
        rows.append([name, *(_part(one, key, vanilla) for one in variants)])
    return ["", *(variant_name(one["label"]) for one in variants)], rows


def variant_name(label: str) -> str:
    """A variant's name in a table: `PDrop ratio=0.4`, `keep-all`."""
    name, _, fields = label.partition(" ")
    return f"{NAMES.get(name, display_name(name))} {fields}".strip()


def layers_text(values: Sequence[float], unit: str = "") -> str:
    """Values of all layers, equal neighbours together: `8 layers 12.0, 24 layers 6.0`."""
    runs: list[tuple[int, float]] = []
    for value in values:
        count = runs.pop()[0] + 1 if runs and runs[-1][1] == value else 1
        runs.append((count, value))
    return ", ".join(f"{value:,.4g}{unit} x {count}" for count, value in runs)


def _wrapped(line: str, width: int) -> str:
    return textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)


def _blocks(heads: list[str], rows: list[list[str]], width: int) -> list[str]:
    """The table in blocks of as many columns as fit, the first variant in each of them."""
    others = list(range(2, len(heads)))
    blocks: list[str] = []
    while others or not blocks:
        taken = len(others)
        while taken > 1 and _width(_block(heads, rows, [0, 1, *others[:taken]])) > width:
            taken -= 1
        blocks.append(_block(heads, rows, [0, 1, *others[:taken]]))
        others = others[taken:]
    return blocks


def _block(heads: list[str], rows: list[list[str]], columns: list[int]) -> str:
    shown = [[row[index] for index in columns] for row in rows]
    return tabulate(
        [row for row in shown if any(row[1:])],
        [heads[index] for index in columns],
        tablefmt="simple",
        disable_numparse=True,
        colalign=["left", *["right"] * (len(columns) - 1)],
        preserve_whitespace=True,
    )


def _width(text: str) -> int:
    return max(map(len, text.splitlines()))


def _speedup(one: Mapping[str, Any], phase: str) -> str:
    return "" if one["label"] == VANILLA or one[phase]["speedup"] is None else _range(one[phase]["speedup"])


def _bound(one: Mapping[str, Any], phase: str) -> str:
    bound = one[phase]["bound"]
    return "" if one["label"] == VANILLA or bound is None else f"{bound:.2f}"


def _part(one: Mapping[str, Any], key: str, vanilla: Mapping[str, Any] | None) -> str:
    """The median of a part of the prefill, with its share of vanilla's."""
    if not one[key]:
        return ""
    middle = quartiles(one[key])[1]
    share = "" if vanilla is None else f" ({middle / vanilla['prefill']['seconds'][1]:.1%})"
    return f"{1e3 * middle:.3g}{share}"


def _milliseconds(values: Sequence[float]) -> str:
    return _range([1e3 * value for value in values])


def _range(values: Sequence[float]) -> str:
    """Median with quartiles: `1.62 [1.60, 1.66]`."""
    low, middle, high = (_number(value) for value in values)
    return f"{middle} [{low}, {high}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
