"""Files of regression baselines: as text, read, and compared to the last retained token, in words."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.utils.errors import UserError

SCHEMA = "pdrop-eval-reference/1"
_FIRST = 8  # differences of a task that are listed
_ROUNDING = 1e-5  # scores of tokens that are nearer than this may change places by rounding alone


def spans(ids: Sequence[int]) -> str:
    """Whole numbers as they come, runs joined: [0, 1, 2, 7] is "0-2,7"."""
    parts: list[list[int]] = []
    for number in ids:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def unspan(text: str) -> list[int]:
    """The whole numbers that `spans` wrote."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def to_text(document: dict[str, Any]) -> str:
    """The document as JSON, a sample a line: a change shows in a commit as the samples that changed."""
    head = json.dumps({key: value for key, value in document.items() if key != "tasks"}, indent=1)
    tasks = []
    for task, content in document["tasks"].items():
        samples = ",\n".join(f"    {json.dumps(sample, ensure_ascii=False)}" for sample in content["samples"])
        score = json.dumps(content["score"])
        tasks.append(
            f'  {json.dumps(task)}: {{\n   "score": {score},\n   "samples": [\n{samples}\n   ]\n  }}'
        )
    return head[:-2] + ',\n "tasks": {\n' + ",\n".join(tasks) + "\n }\n}\n"


def read(path: Path) -> dict[str, Any]:
    """A reference file. Raises UserError if it is missing or no such file."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"The reference {path} can't be read: {error}. Write it with make reference."
        ) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise UserError(f"{path} is no reference of this version ({SCHEMA}). Write it with make reference.")
    return document


def differences(reference: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What differs, a line each, in words; empty if nothing does. Who made them is not compared.

    Only tasks of `found` are looked at: it may have been measured on some of them.
    """
    found = json.loads(json.dumps(found))
    lines = [
        f"{key}: {reference[key]!r} -> {found[key]!r}"
        for key in ("model_sha256", "fields", "settings")
        if reference[key] != found[key]
    ]
    for task, now in found["tasks"].items():
        before = reference["tasks"].get(task)
        if before is None:
            lines.append(f"{task}: not in the reference")
            continue
        if before["score"] != now["score"]:
            lines.append(f"{task}: score {before['score']} -> {now['score']}")
        lines += _first(task, list(_samples(before["samples"], now["samples"])))
    return lines


def _first(task: str, lines: list[str]) -> list[str]:
    more = [f"{task}: and {len(lines) - _FIRST} more"] if len(lines) > _FIRST else []
    return [f"{task} {line}" for line in lines[:_FIRST]] + more


def _samples(before: list[dict], now: list[dict]) -> Iterator[str]:
    if [sample["doc_id"] for sample in before] != [sample["doc_id"] for sample in now]:
        yield f"has {len(now)} samples, or others, in place of {len(before)}"
        return
    for old, new in zip(before, now, strict=True):
        name = f"question {old['doc_id']}:"
        if old["content_sha256"] != new["content_sha256"]:
            yield f"{name} another question or picture: what renders, prepares or asks has changed"
        for key in ("answer", "score", "image_tokens", "image_tokens_per_layer"):
            if old[key] != new[key]:
                yield f"{name} {key} {old[key]!r} -> {new[key]!r}"
        if list(old["retained"]) != list(new["retained"]):
            yield f"{name} drops before {', '.join(new['retained'])} in place of {', '.join(old['retained'])}"
            continue
        for layer, ids in old["retained"].items():
            if ids != new["retained"][layer]:
                changed = _changed(unspan(ids), unspan(new["retained"][layer]))
                yield f"{name} before {layer} {changed}{_near(old)}"


def _changed(old: list[int], new: list[int]) -> str:
    if sorted(old) == sorted(new):
        return "the same image tokens are retained, in another order"
    gone, come = sorted(set(old) - set(new)), sorted(set(new) - set(old))
    return f"{len(come)} other(s) of {len(new)} image tokens retained: +{spans(come)} -{spans(gone)}"


def _near(sample: dict[str, Any]) -> str:
    call = sample["closest_call"]
    if call is None or call >= _ROUNDING:
        return ""
    return f" (the scores of two tokens were {call:g} apart: rounding can do that)"


def other_versions(reference: dict[str, Any], found: dict[str, Any]) -> str:
    """Which versions are others than those that made the reference; empty if none is."""
    old, new = reference["packages"], found["packages"]
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    changed = [f"{name} {old.get(name, 'none')} -> {new.get(name, 'none')}" for name in names]
    if reference["processor"] != found["processor"]:
        changed.append(f"processor {reference['processor']} -> {found['processor']}")
    return ", ".join(changed)
