"""What a calibration prints: what was found, what was tried, and how to use it, in 80 columns."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from pdrop_eval.records.rows.overrides import override
from pdrop_eval.strategies.combinations import as_parts, is_combined
from pdrop_eval.utils.presets import presets
from pdrop_eval.utils.terminal.console import script, typed
from pdrop_eval.utils.text.escape import visible
from pdrop_eval.utils.text.numbers import NONE

_SHOWN = 12  # of what a search tried
_NUMBERS = f"{'loss':>10} +- {'error':<8}{'agree':>6}{'tokens':>8}  "


def calibration_text(document: Mapping[str, Any], path: str, width: int = 80) -> str:
    """Return what is said of a recipe.

    Args:
        document: the recipe with all that it says.
        path: its file.
        width: columns of the terminal.
    """
    part = {"vtw": _vtw, "fitprune": _fitprune}.get(document["rule"]["name"], _search)
    lines = [*_head(document), "", *part(document), "", *_foot(document, path)]
    return "\n".join(line if line.startswith(_COMMAND) else _wrapped(line, width) for line in lines)


_COMMAND = "next: "


def _head(document: Mapping[str, Any]) -> list[str]:
    model, asked = document["model"], document["questions"]
    split = {
        "calibration": "calibration questions, which no evaluation asks",
        "evaluation": "questions of the evaluation itself (split=evaluation)",
    }[asked["split"]]
    tasks = ", ".join(f"{task} {n}" for task, n in asked["tasks"].items())
    return [
        f"{document['strategy']} on {model['name']} ({model['layers']} layers), {asked['n']} {split}, suite "
        f"{asked['suite']}",
        f"questions of each task: {tasks}",
    ]


def _vtw(document: Mapping[str, Any]) -> list[str]:
    k, eta = document["settings"]["k"], document["rule"]["settings"]["eta"]
    rows = [
        f"{one['settings']['k']:>4}{_numbers(one)}{'<- K' if one['settings']['k'] == k else ''}".rstrip()
        for one in document["tried"]
    ]
    return [
        f"{'K':>4}{_NUMBERS}".rstrip(),
        *rows,
        "",
        f"K={k}: the first layer from {document['rule']['settings']['first']} whose mean divergence (loss, "
        f"in nats) is at most {eta:g}.",
    ]


def _fitprune(document: Mapping[str, Any]) -> list[str]:
    rule, found = document["rule"]["settings"], document["rule"]["found"]
    (removed,) = document["settings"].values()
    return [
        f"image tokens removed after each layer: {' '.join(map(str, removed))}",
        f"{sum(removed)} of {document['model']['image_tokens']} in all, {found['cost']:.1%} of vanilla's "
        f"multiply-adds (asked: {100 - rule['ratio']:g}%; in the method's own count, image tokens only), "
        f"alpha={found['alpha']:.3g}",
        f"with it, {found['agreement']:.0%} of these answers begin with the same token (mean divergence "
        f"{found['loss']:.3g} +- {_error(found)} nats)",
    ]


def _search(document: Mapping[str, Any]) -> list[str]:
    tried = sorted(document["tried"], key=lambda one: one["loss"])
    shown = tried[:_SHOWN]
    usual = next(one for one in tried if one["usual"])
    if usual not in shown:
        shown = [*shown[:-1], usual]
    places, most = document["rule"]["found"]["places"], document["rule"]["settings"]["candidates"]
    rest = "" if len(tried) == places else "; the others can't meet it" if len(tried) < most else ""
    lines = [
        f"budget {document['budget']['reached']['asked']}: {len(tried)} of {places} choices were tried{rest}",
        f"{_NUMBERS}settings",
    ]
    for one in shown:
        settings = words(one["settings"])
        if one is usual:
            settings += " (what the budget alone gives)"
        head, *more = textwrap.wrap(settings, 80 - len(_NUMBERS))
        lines += [f"{_numbers(one)}{head}", *(f"{'':{len(_NUMBERS)}}{line}" for line in more)]
    if len(shown) < len(tried):
        lines.append(f"... and {len(tried) - len(shown)} more, in the file")
    least = (
        f"Least loss (mean divergence of the answer's first token, in nats): {words(tried[0]['settings'])}"
    )
    if tried[0] is usual:
        return [*lines, "", f"{least}, what the budget alone gives."]
    gain = document["rule"]["found"]["gain"]
    return [
        *lines,
        "",
        f"{least}, {gain['mean']:.3g} +- {_error(gain)} less than what the budget alone gives.",
        "It was chosen by these questions, so its loss on others is larger: evaluate it.",
    ]


def _numbers(one: Mapping[str, Any]) -> str:
    return f"{one['loss']:>10.4g} +- {_error(one):<8}{one['agreement']:>6.0%}{one['tokens']:>8.1f}  "


def _error(one: Mapping[str, Any]) -> str:
    """A standard error; of a single question there is none."""
    return NONE if one["stderr"] is None else f"{one['stderr']:.2g}"


def _foot(document: Mapping[str, Any], path: str) -> list[str]:
    preset = document["made"]["preset"]
    given = [f"strategy.recipe={path}"]
    chosen = f"strategy={preset}"
    if document["rule"]["name"] == "search":
        usual, found = presets("strategy").get(preset, {}), document["rule"]["found"]["fields"]
        if is_combined(preset):
            chosen = f"combine={as_parts(preset, {k: v for k, v in found.items() if v is not None})}"
            usual = found
        changed = [name for name in found if found[name] != usual.get(name)]
        given = [override(f"strategy.{name}", found[name]) for name in changed]
    model = document["model"]["name"]
    command = " ".join(map(typed, [chosen, f"model={model}", *given]))
    return [f"recipe: {visible(path)}", f"{_COMMAND}{script('pdrop-eval')} {visible(command)}"]


def words(settings: Mapping[str, Any]) -> str:
    """Return settings as a person reads them, those that are set: `layers=[2, 4] ratios=[0.5, 0.25]`."""
    return " ".join(f"{name}={_value(value)}" for name, value in settings.items() if value is not None)


def _value(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    return textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
