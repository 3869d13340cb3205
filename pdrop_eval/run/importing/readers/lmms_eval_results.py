"""What a results file of lmms-eval says beside the samples: numbers, counts, versions, the model."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import registered_by_task
from pdrop_eval.run.importing.benchmarks import version_in, version_of
from pdrop_eval.utils.text.redact import redact
from pdrop_eval.utils.validation import is_finite_number

_RENDERED = "_rendered"  # how the rendered tasks are called in lmms-eval's own command
_SAID = ("lmms_eval_version", "git_hash", "date", "model_name")
_OF_MACHINE = ("device", "device_map", "batch_size")
OLD_NAMES = {"mme_perception_score": "mme_percetion_score"}  # as versions before 0.3 spelt it
_ARGUMENTS = re.compile(r"(?:^|,)(?:pretrained|model|model_version|model_name|model_path)=([^,]+)")

Results = dict[Path, Mapping[str, Any]]


def plain_name(name: str) -> str:
    """The task of a name in a log: rendered tasks have another one in lmms-eval's own command."""
    short = name.removesuffix(_RENDERED)
    return short if short in registered_by_task() else name


def cleaned(found: Mapping[str, Any]) -> dict[str, Any]:
    """Results without parts of another kind than lmms-eval writes: they say nothing."""

    def inner(name: str) -> dict[str, Any]:
        part = found.get(name)
        return {k: v for k, v in part.items() if isinstance(v, dict)} if isinstance(part, dict) else {}

    counts = inner("n-samples")
    whole = {k: v for k, v in counts.items() if all(_is_count(v.get(n)) for n in ("effective", "original"))}
    parts = {name: found[name] for name in ("config", "model_configs") if isinstance(found.get(name), dict)}
    others = {name: found[name] for name in _SAID if isinstance(found.get(name), (str, int, float))}
    versions = {"versions": found["versions"]} if isinstance(found.get("versions"), dict) else {}
    named = {"results": inner("results"), "configs": inner("configs"), "n-samples": whole}
    return {**named, **parts, **others, **versions}


def counts_of(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """How many questions each task has and was asked; versions before 0.2 don't say it."""
    return dict(found["n-samples"])


def claimed_by(task: str, metric: str, results: Results) -> float | None:
    """The number that the results say of a task's metric."""
    for found in results.values():
        for name, numbers in found["results"].items():
            if plain_name(name) == task and isinstance(numbers, dict):
                named = {name.partition(",")[0]: value for name, value in reversed(numbers.items())}
                value = named.get(metric, named.get(OLD_NAMES.get(metric, "")))
                return float(value) if value is not None and is_finite_number(value) else None
    return None


def metrics_told(task: str, results: Results) -> list[str]:
    """The metrics that the results have of a task, `exact_match,none` being one."""
    told = [found["results"].get(task) for found in results.values()]
    return [str(name).partition(",")[0] for numbers in told if isinstance(numbers, dict) for name in numbers]


def other_version_of(task: str, results: Results) -> str | None:
    """What a log says of a task's version, where the installed lmms-eval has another one; in words."""
    here = version_of(task)
    named = ((found, name) for found in results.values() for name in found["configs"])
    for found, name in named:
        there = version_in(found["configs"][name].get("metadata"))
        there = there if there is not None else version_in(found.get("versions", {}).get(name))
        if plain_name(name) == task and here is not None and there is not None and here != there:
            return f"version {there:g} of {task} in the log, {here:g} here"
    return None


def limit_of(results: Results, counts: Mapping[str, Any], tasks: Sequence[str]) -> int | None:
    """The most questions of a task, where not all were asked."""
    known = [counts[task] for task in tasks if task in counts]
    fewer = [one for one in known if one.get("effective") != one.get("original")]
    if known:
        return max(int(one["effective"]) for one in fewer) if fewer else None
    limits = [found["config"].get("limit") for found in results.values() if "config" in found]
    whole = [int(limit) for limit in limits if is_finite_number(limit) and limit >= 1]
    return max(whole, default=None)


def model_of(found: Mapping[str, Any]) -> str:
    """The model as the run's settings name it: `llava_hf of checkpoints/mini`."""
    config = found.get("config") or found.get("model_configs") or {}
    given = _ARGUMENTS.search(str(config.get("model_args") or ""))
    kind = str(config.get("model") or "unknown model")
    return f"{kind} of {given[1].strip()}" if given else kind


def settings_of(found: Mapping[str, Any]) -> str:
    """The model with its arguments, but for what changes no answer: a fork's own settings are among them."""
    config = found.get("config") or found.get("model_configs") or {}
    arguments = str(config.get("model_args") or "").split(",")
    kept = [one for one in arguments if one.partition("=")[0].strip() not in _OF_MACHINE]
    return redact(f"{config.get('model')} with {','.join(kept) or 'no arguments'}")


def facts_of(results: Results) -> dict[str, Any]:
    """What the first results file says of the run."""
    for found in results.values():
        config = found.get("config") or found.get("model_configs") or {}
        said = {name: found[name] for name in _SAID if found.get(name) is not None}
        return {**said, "model_args": config.get("model_args"), "batch_size": config.get("batch_size")}
    return {}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
