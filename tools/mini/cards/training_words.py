"""What a model card says of a training, from its record."""

from collections.abc import Iterator
from typing import Any

from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.report.formats.markdown import pipes
from pdrop_eval.strategies.registry import display_name
from pdrop_eval.utils.text import numbers

_SETTINGS = ("batch_size", "learning_rate", "schedule", "warmup_ratio", "weight_decay", "template", "train")


def strategy_words(training: Training) -> str:
    """What is dropped: `PyramidDrop, λ=0.5`."""
    name, ratio = training.strategy or ("vanilla", None)
    if name == "vanilla":
        return "nothing dropped"
    return full_name(name) + (f", λ={ratio:g}" if ratio is not None else "")


def full_name(strategy: str) -> str:
    """A strategy as its paper writes it out."""
    return {"pdrop": "PyramidDrop"}.get(strategy, display_name(strategy))


def root_of(training: Training) -> str:
    """The checkpoint that its first training began with; empty if no record says."""
    return next((name for name, _ in reversed([*_links(training)])), "")


def training_words(training: Training) -> str:
    """What the record says: the chain of trainings, the phases of the last, and their data."""
    parts = [_chain(training)]
    rows = []
    for phase in training.phases:
        settings = phase.get("hyperparameters") or {}
        flops = (phase.get("flops") or {}).get("image_tokens")
        unit = numbers.total_flops_unit([flops])
        rows.append(
            [
                str(phase.get("name")),
                f"{phase.get('steps'):,}",
                f"{phase.get('samples'):,}",
                numbers.NONE if phase.get("loss") is None else f"{phase['loss']:.3f}",
                numbers.NONE if phase.get("device_hours") is None else numbers.hours(phase["device_hours"]),
                f"{numbers.total_flops(flops, unit)} {unit}",
                "; ".join(f"{key} {_plain(settings[key])}" for key in _SETTINGS if key in settings),
            ]
        )
    label = training.hours[1] if training.hours else "hours"
    heads = ["Phase", "Steps", "Samples", "Last loss", label, "Image tokens, theory", "Settings"]
    parts.append(pipes(heads, rows, {1, 2, 3, 4, 5}))
    parts.append(_facts(training))
    return "\n\n".join(part for part in parts if part)


def _links(training: Training) -> Iterator[tuple[str, str]]:
    """What it began with, and what that did: names, each with the shape that it was made into."""
    before = training
    while before.record:
        base = before.record.get("base") or {}
        yield str(base.get("name") or base.get("pretrained")), str(base.get("as") or "")
        before = before.before


def _chain(training: Training) -> str:
    """Where it began, and where that did."""
    links = [f"`{name}`" + (f", made into a {shape}" if shape else "") for name, shape in _links(training)]
    return (
        f"It began with {', which began with '.join(links)}. Trained by `pdrop-eval-train`:" if links else ""
    )


def _facts(training: Training) -> str:
    lines = [f"Seed {training.seed}."]
    data = [entry for phase in training.phases for entry in phase.get("data") or []]
    if data:
        files = (
            f"{e['file']} ({e['conversations']:,} conversations, sha256 {e['sha256'][:12]})" for e in data
        )
        lines.append(f"Data: {', '.join(files)}.")
    if training.hardware:
        lines.append(f"Hardware: {training.hardware}. Hours are devices x wall time.")
    if training.convention:
        lines.append(f"Theory: {training.convention}.")
    lines.append("Every logged loss is in `training_log.jsonl`, the whole record in `training_record.json`.")
    return "\n".join(f"- {line}" for line in lines)


def _plain(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
