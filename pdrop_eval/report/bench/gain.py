"""What a budget gains: the schedule found, FLOPs, time and memory, and scores of evaluations near it."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.records.rows.run import Run, to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.bench.text import batches, layers_text, variant_name
from pdrop_eval.strategies.combinations import as_parts, is_combined, is_strategy, shown
from pdrop_eval.strategies.make import settings_of
from pdrop_eval.strategies.registry import VANILLA, StrategyInfo, info_of
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import command

_NAME = 12  # characters of a line's name
NEAR = 0.1  # of the share of tokens a layer: evaluations so close to a budget speak for it


def gain_text(record: Mapping[str, Any], scores: Path) -> str:
    """The answer to "what do I gain at this budget?", a paragraph a strategy."""
    asked = ", ".join(f"{kind}={value:g}" for kind, value in record["budget"].items())
    model = record["model"]["name"]
    runs = [] if _resized(record) else _runs(scores, model)
    parts = [f"What budget.{asked} gains, against vanilla"]
    vanilla = next(one for one in record["strategies"] if one["label"] == VANILLA)
    for one in record["strategies"]:
        if one.get("reached"):
            parts.append(
                "\n".join([*_found(one, vanilla), *_measured(record, one), *_scores(one, runs, model)])
            )
    return "\n\n".join(parts)


def _found(one: Mapping[str, Any], vanilla: Mapping[str, Any]) -> list[str]:
    reached, flops, whole = one["reached"], one["flops"], vanilla["flops"]
    drops = ", ".join(
        f"{count} after {layer}" if layer else f"{count} before the decoder"
        for layer, count in zip(reached["layers"], reached["counts"], strict=True)
    )
    fields = [
        f"{key}={_plain(one['fields'][key])}"
        for key in info_of(one["strategy"]).decided
        if one["fields"].get(key) is not None
    ]
    return [
        f"{variant_name(one['label'])} {' '.join(fields)}",
        _entry(
            "Image tokens",
            f"{reached['image_tokens']:,}, {drops} of {len(reached['schedule'])} layers: "
            f"{reached['tokens']:.1f} a layer in the mean",
        ),
        _entry(
            "FLOPs",
            f"{one['tflops'] / vanilla['tflops']:.1%} of vanilla's by the paper's formula, "
            f"{flops['ttft'] / whole['ttft']:.1%} of the whole model's to the first token",
        ),
    ]


def _entry(name: str, text: str) -> str:
    indent = " " * (_NAME + 3)
    return textwrap.fill(f"  {name:<{_NAME}} {text}", 80, subsequent_indent=indent, break_on_hyphens=False)


def _plain(value: Any) -> str:
    return f"[{', '.join(f'{item:.4g}' for item in value)}]" if isinstance(value, list) else f"{value:.6g}"


def _measured(record: Mapping[str, Any], one: Mapping[str, Any]) -> list[str]:
    lines = []
    for batch in batches(record):
        own, vanilla = (
            next((v for v in batch["variants"] if v["label"] == label), None)
            for label in (one["label"], VANILLA)
        )
        if own is None or vanilla is None:
            continue
        times = ", ".join(
            f"{words} {own[phase]['speedup'][1]:.2f}x"
            for phase, words in (
                ("prefill", "prefill"),
                ("ttft", "first token"),
                ("decode", "decoding"),
                ("answer", "throughput"),
            )
        )
        cache = sum(own["kv_bytes_per_layer"]) / sum(vanilla["kv_bytes_per_layer"])
        peak = own["peak_bytes"] / vanilla["peak_bytes"]
        lines.append(_entry(f"Batch {batch['batch_size']}", times))
        lines.append(_entry("", f"KV cache {cache:.0%}, peak memory {peak:.0%} of vanilla's"))
        layers = [size / 2**10 for size in own["kv_bytes_per_layer"]]
        lines.append(_entry("", f"KV cache a layer, KiB: {layers_text(layers)}"))
    return lines


def _resized(record: Mapping[str, Any]) -> bool:
    """Whether the model has other sizes than the one of its name, which no score is of."""
    config = record["config"]
    return config["architecture"] is not None or any(value is not None for value in config["sizes"].values())


def _runs(scores: Path, model: str) -> list[Run]:
    """Completed evaluations of a model, of all questions; none where they can't be read."""
    try:
        runs = to_runs(load_records(scores))
    except UserError:
        return []
    return [
        run
        for run in runs
        if run.model == model and run.record["status"] == "completed" and run.limit is None
        if not run.contradiction
    ]


def _scores(one: Mapping[str, Any], runs: Sequence[Run], model: str) -> list[str]:
    """The scores of the nearest evaluation of the same strategy, beside vanilla's that was run like it."""
    share = one["reached"]["share"]
    near = [
        run
        for run in runs
        if run.strategy == one["strategy"] and _rest(run.settings, run.info) == _rest(one["fields"], run.info)
        if _reference(run, runs) is not None and abs(_share(run) / share - 1) <= NEAR
    ]
    if not near:
        commands = ([*_chosen(one), f"budget.share={share:.3g}"], [f"strategy={VANILLA}"])
        return [
            _entry("Scores", "none near this budget yet. These commands measure them:"),
            *(command("pdrop-eval", [f"model={model}", *rest]) for rest in commands),
        ]
    # of those that are as near, the one with the most benchmarks, with the fewest settings of its own
    best = min(near, key=lambda run: (abs(_share(run) / share - 1), -len(run.results), len(run.deviations)))
    other = _reference(best, runs)
    assert other is not None
    tasks = [
        f"{name} {_score(result)} ({_score(other.results[name])})"
        for name, result in best.results.items()
        if name in other.results and result["score"] is not None
    ]
    settings = f" with {' '.join(best.deviations)}" if best.deviations else ""
    said = (
        f"of an evaluation of suite={best.suite}{settings} at {_share(best):.1%} of the tokens a layer "
        "(vanilla's in brackets):"
    )
    return [_entry("Scores", said), _entry("", ", ".join(tasks))]


def _chosen(one: Mapping[str, Any]) -> list[str]:
    """The strategy of a benchmark as overrides, with settings that are neither usual nor the budget's."""
    name, decided = one["strategy"], info_of(one["strategy"]).decided
    usual = settings_of(name) if is_strategy(name) else {}
    own = {
        key: value
        for key, value in one["fields"].items()
        if key not in decided and key in usual and value != usual[key]
    }
    if is_combined(name):
        return [f"combine={as_parts(name, own)}"]
    return [f"strategy={name}", *(f"strategy.{key}={shown(value)}" for key, value in own.items())]


def _reference(run: Run, runs: Sequence[Run]) -> Run | None:
    """The newest vanilla beside whose scores a run's can stand; None if there is none."""
    return next((one for one in reversed(runs) if one.strategy == VANILLA and _alike(one, run)), None)


def _alike(one: Run, other: Run) -> bool:
    """Whether suite, settings, code, weights and the data of the tasks in common are the same."""
    same = ((run.suite, run.deviations, run.source, run.checkpoint) for run in (one, other))
    in_common = one.data.keys() & other.data.keys()
    return next(same) == next(same) and all(one.data[name] == other.data[name] for name in in_common)


def _rest(fields: Mapping[str, Any], info: StrategyInfo) -> dict[str, Any]:
    """A strategy's settings apart from those that say how many tokens remain: decided, or in its labels."""
    return {key: value for key, value in fields.items() if key not in {*info.decided, *info.labelled}}


def _share(run: Run) -> float:
    """The share of image tokens that a run's layers process in the mean, by its schedule."""
    schedule = run.of("efficiency", "image_tokens_per_layer")
    return float(sum(schedule) / len(schedule) / run.of("efficiency", "image_tokens"))


def _score(result: Mapping[str, Any]) -> str:
    return "no score" if result["score"] is None else f"{result['score']:.1f}"
