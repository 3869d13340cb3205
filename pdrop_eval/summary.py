"""What is printed at the end of a run: at most 80 columns."""

import textwrap
from pathlib import Path
from typing import Any


def summary(record: dict[str, Any], tasks: list[str], path: Path) -> str:
    """The scores of `tasks` in a record, what they cost, where the record is, and what to run next."""
    model, efficiency = record["model"], record["efficiency"]
    limit = record["limit"] or "none"
    head = [
        f"{record['strategy']['name']} on {model['name']}, suite {record['suite']['name']} "
        f"({record['suite']['source']})",
        f"{model['dtype']}, batch size {record['batch_size']}, limit {limit}, "
        f"images: {model['image_processing']}, prompt: {model['chat_template']}",
        *textwrap.wrap(f"image tokens per layer: {_runs(efficiency['image_tokens_per_layer'])}", 80),
        "",
        f"{'task':<16}{'score':>10} +- {'stderr':<7}{'n':>7}{'tokens/layer':>14}{'TFLOPs':>11}",
    ]
    return "\n".join(
        [*head, *(_row(task, record["tasks"][task]) for task in tasks), "", *_foot(record, path)]
    )


def _row(task: str, entry: dict[str, Any]) -> str:
    stderr = "-" if entry["stderr"] is None else f"{entry['stderr']:.2f}"
    layers = entry["retained_tokens_per_layer"]
    tokens = f"{sum(layers) / len(layers):.1f}" if layers else "-"
    tflops = "-" if entry["tflops_mean"] is None else f"{entry['tflops_mean']:.3g}"
    return f"{task:<16}{entry['score']:>10.2f} +- {stderr:<7}{entry['n']:>7}{tokens:>14}{tflops:>11}"


def _foot(record: dict[str, Any], path: Path) -> list[str]:
    other = "vanilla" if record["strategy"]["name"] != "vanilla" else "pdrop"
    results = record["config"]["results"]
    tables = "pdrop-eval-tables" + ("" if results == "results/runs" else f" root={results}")
    return [
        "mme is a sum over categories (200 each at most), the others are 0 to 100.",
        *textwrap.wrap(f"TFLOPs: {record['efficiency']['convention']}", 80),
        f"record: {path}",
        f"next: the same command with strategy={other}, then {tables}",
    ]


def _runs(tokens: list[int]) -> str:
    """Equal neighbours written once: `2x144 2x72 2x36 2x18`."""
    runs: list[list[int]] = []
    for count in tokens:
        if runs and runs[-1][1] == count:
            runs[-1][0] += 1
        else:
            runs.append([1, count])
    return " ".join(f"{times}x{count}" for times, count in runs)
