"""The models behind the findings: how long each was trained, and where it stands beside its start."""

from collections.abc import Sequence

from pdrop_eval.benchmarks.registry import benchmark_of, benchmarks
from pdrop_eval.records.rows.run import Run
from pdrop_eval.records.rows.training_info import Training
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.strategies.registry import VANILLA


def trained(runs: Sequence[Run]) -> str:
    """How long the models were trained, as far as their records say: a list."""
    facts: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: run.model):
        if run.training.phases:
            names = facts.setdefault(_length(run.training), [])
            names += [run.model] if run.model not in names else []
    return "\n".join(f"- {escaped(', '.join(names))}: {escaped(words)}." for words, names in facts.items())


def standing(runs: Sequence[Run]) -> str:
    """How models that drop nothing compare with the one that they began with, where there is a run of it."""
    plain = {run.model: run for run in runs if run.key and run.key.train == run.strategy == VANILLA}
    lines = []
    for run in plain.values():
        start = plain.get(str((run.training.record.get("base") or {}).get("name")))
        both = [key for key in benchmarks() if start and _scored(run, key) and _scored(start, key)]
        if start is None or not both:
            continue
        own, before = (_mean(one, both) for one in (run, start))
        word = "above" if own > before else "below" if own < before else "as high as"
        lines.append(
            f"- {escaped(run.model)} began with {escaped(start.model)}. Without dropping it scores "
            f"{own:.1f} in the mean of {len(both)} benchmarks, {word} the {before:.1f} of its start."
        )
    return "\n".join(lines)


def _length(training: Training) -> str:
    samples = "" if training.samples is None else f" on {training.samples:,.0f} samples"
    return f"trained for {training.steps} steps{samples}, seed {training.seed}"


def _scored(run: Run, key: str) -> bool:
    return (run.results.get(key) or {}).get("score") is not None


def _mean(run: Run, keys: Sequence[str]) -> float:
    """The mean of some benchmarks, MME divided by 20."""
    return sum(run.results[key]["score"] / benchmark_of(key).divisor for key in keys) / len(keys)
