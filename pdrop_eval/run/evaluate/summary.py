"""What is printed at the end of a run: at most 80 columns."""

import os
import textwrap
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from pdrop_eval.strategies.combinations import is_combined
from pdrop_eval.strategies.registry import VANILLA, installed
from pdrop_eval.utils.paths import options
from pdrop_eval.utils.terminal.console import command as console_command
from pdrop_eval.utils.text.numbers import exact

_OF_THE_PAPER = (VANILLA, "fastv", "pdrop")  # the rows of PyramidDrop's own tables


def summary(record: dict[str, Any], tasks: list[str], path: Path, advise: bool = True) -> str:
    """The scores of `tasks`, what they cost, where the record is and, with `advise`, what to run next."""
    model, efficiency = record["model"], record["efficiency"]
    limit = record["limit"] or "none"
    if record.get("subset"):
        limit = f"none, subset {record['subset']}"
    width = max(16, *map(len, tasks))
    budget, of_server = record.get("budget"), "server" in record
    head = [
        f"{record['strategy']['name']} on {model['name']}, suite {record['suite']['name']} "
        f"({record['suite']['source']})",
        *textwrap.wrap(_how(record, tasks, limit), 80),
        *(textwrap.wrap(f"budget {budget['reached']['words']}", 80) if budget else []),
        *(line for note in record["strategy"].get("notes") or () for line in textwrap.wrap(note, 80)),
        *textwrap.wrap(f"image tokens per layer: {_layers(efficiency, of_server)}", 80),
        "",
        f"{'task':<{width}}{'score':>10} +- {'stderr':<7}{'n':>7}{'tokens/layer':>14}{'TFLOPs':>11}",
    ]
    return "\n".join(
        [
            *head,
            *(_row(task, record["tasks"][task], width) for task in tasks),
            "",
            *_foot(record, tasks, path, advise),
        ]
    )


def _how(record: dict[str, Any], tasks: list[str], limit: Any) -> str:
    model = record["model"]
    if "server" in record:
        return f"served as {model['served']} at {record['server']['base_url']}, limit {limit}, images: PNG"
    return (
        f"{model['dtype']}, batch size {_batch(record, tasks)}, limit {limit}, images: "
        f"{model['image_processing']}, prompt: {model['chat_template']}"
    )


def _layers(efficiency: dict[str, Any], of_server: bool) -> str:
    return "the server's affair" if of_server else _runs(efficiency["image_tokens_per_layer"])


def _batch(record: dict[str, Any], tasks: list[str]) -> str:
    """The batch sizes that the tasks were run with: `batch_size=auto` may have found several."""
    used = {record["tasks"][task].get("batch_size", record["batch_size"]) for task in tasks}
    return "/".join(map(str, sorted(used)))


def _row(task: str, entry: dict[str, Any], width: int) -> str:
    if entry["status"] == "needs_judge":
        return f"{task:<{width}}{'needs judge':>21}{entry['n']:>7}{_cost(entry)}"
    stderr = f"{entry['stderr']:.2f}" if entry["stderr"] else "-"  # 0: nothing varied, so nothing is known
    return f"{task:<{width}}{entry['score']:>10.2f} +- {stderr:<7}{entry['n']:>7}{_cost(entry)}"


def _cost(entry: dict[str, Any]) -> str:
    layers = entry["retained_tokens_per_layer"]
    tokens = f"{sum(layers) / len(layers):.1f}" if layers else "-"
    tflops = "-" if entry["tflops_mean"] is None else f"{entry['tflops_mean']:.3g}"
    return f"{tokens:>14}{tflops:>11}"


def _foot(record: dict[str, Any], tasks: list[str], path: Path, advise: bool) -> list[str]:
    of_server = "server" in record
    alike = [task for task in tasks if record["tasks"][task].get("stderr") == 0]
    unjudged = [task for task in tasks if record["tasks"][task]["status"] == "needs_judge"]
    return [
        *(["mme is a sum over categories (200 each at most)."] if "mme" in tasks else []),
        *(["stderr -: all questions have the same score, so no error can be estimated."] if alike else []),
        *(_unjudged(record, unjudged) if unjudged else []),
        *([] if of_server else textwrap.wrap(f"TFLOPs: {record['efficiency']['convention']}", 80)),
        *_usage([record["tasks"][task] for task in tasks], of_server),
        f"record: {path}",
        *([f"next: {_next(record, path)}"] if advise and not _goes_on(record, path) else []),
    ]


def _usage(entries: list[dict[str, Any]], of_server: bool = False) -> list[str]:
    """What the model took of the time; nothing where a task's record is older than the numbers."""
    used = [entry["usage"] for entry in entries if "usage" in entry]
    if len(used) < len(entries):
        return []
    model = sum(one["model_seconds"] for one in used)
    encoded, images = (sum(one[key] for one in used) for key in ("encoded", "images"))
    wall = sum(entry["wall_seconds"] for entry in entries)
    if of_server:
        return [f"{wall:.0f} s, {model:.0f} of them for answers; {images:,} images sent"]
    shared = ", the others shared" if encoded < images else ""
    return [
        f"{wall:.0f} s, {model:.0f} of them the model's; {encoded:,} of {images:,} images encoded{shared}"
    ]


def _unjudged(record: dict[str, Any], tasks: list[str]) -> list[str]:
    files = ", ".join(record["tasks"][task]["predictions"] for task in tasks)
    return textwrap.wrap(
        f"{', '.join(tasks)}: the answers are in {files}, beside the record. A language model scores them: "
        "the same command with judge.model=<name> (and judge.base_url for another server than OpenAI's).",
        80,
    )


def _next(record: dict[str, Any], path: Path) -> str:
    """A strategy that this model has no record of, or else the table; in the words of make."""
    made = "MAKELEVEL" in os.environ
    if "server" not in record and (missing := _not_there(record, path)):
        changes = [change.partition("=")[0] for change in record.get("changes") or ()]
        own = [name for name in changes if name.startswith("strategy.")]  # which another one may not have
        left_out = ["combine"] if is_combined(record["strategy"]["name"]) else own
        without = f", without {', '.join(left_out)}" if left_out else ""
        return f"the same command with {'STRATEGY' if made else 'strategy'}={missing[0]}{without}"
    results = record["config"]["results"]
    root = [] if results == "results/runs" else [f"root={results}"]
    return console_command("pdrop-eval-tables", root, "tables")


def _not_there(record: dict[str, Any], path: Path) -> list[str]:
    """The strategies that this model has no record of; under a budget, of those that take one.

    Those of the PyramidDrop paper, and the user's own in the decoder, which name no paper: all that are
    published are too many to be advised one after the other.
    """
    compared = [
        name
        for name, info in installed().items()
        if name in _OF_THE_PAPER or (info.stage == "decoder" and not info.paper)
        if name in options("strategy")
        if info.solved_fields or not record.get("budget")
    ]
    return [name for name in compared if not any(path.parents[1].glob(f"{name}-*"))]


def _goes_on(record: dict[str, Any], path: Path) -> bool:
    """Whether this is one of a sweep's runs, and others may still bring what is missing."""
    sweep = HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN
    return sweep and "server" not in record and bool(_not_there(record, path))


def _runs(tokens: list[float] | None) -> str:
    """Equal neighbours written once: `2x144 2x72 2x36 2x18`."""
    runs: list[list[Any]] = []
    for count in tokens or ():
        if runs and runs[-1][1] == count:
            runs[-1][0] += 1
        else:
            runs.append([1, count])
    return " ".join(f"{times}x{exact(count)}" for times, count in runs) or "no sample has an image"
