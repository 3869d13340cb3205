"""`results/efficiency/prefix.md`: what sharing prefixes brings, from `make prefix-speed`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.strategies.registry import display_name

FILE = Path("results/efficiency/prefix.json")
GOAL = 2.0  # times the questions per second, for vanilla on both tasks
_EXPLAINED = """Questions of one image have the same prompt up to the last image token. Its keys and values
are computed once and kept in every layer before a strategy's first drop
([how](../../docs/engine.md#one-image-many-questions)). So vanilla and strategies before the decoder gain in
all layers, where what they leave of an image is long beside a question; strategies in the decoder gain in the
layers before their first drop only. What doesn't shrink with the width (Python, hooks, copies of keys) stands
against the gain, so a model of the full width can be expected to gain more. CDPruner, which chooses by the
question, and Random, which draws for each, share nothing.

"Memory" is what the prefix of an image takes of LLaVA-1.5-7B in half precision, with the 35 tokens before the
image; `prefix_memory` bounds what is kept. Where the image decides how many tokens stay, it is the most."""


def prefix_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    intro = (
        "# One image, many questions\n\nMade by `make prefix-speed`: the same questions with "
        "`prefix_cache=off` and `auto`, in turn in one run, each from empty caches, through the harness "
        "(vision tower, image processing, prefill, decoding)."
    )
    parts = [intro, _verdict(found), _goals(found), "## Each strategy", _strategies(found), _where(found)]
    return "\n\n".join([*parts, _EXPLAINED]) + "\n"


def gain(one: Mapping[str, Any]) -> float:
    """How many times as many questions a second, of the processor's time."""
    return sum(one["off"]) / sum(one["on"])


def _verdict(found: Mapping[str, Any]) -> str:
    missed = [one for one in found["goals"] if gain(one) < GOAL]
    words = ", ".join(f"{gain(one):.2f} times on {one['task'].upper()}" for one in found["goals"])
    return f"**Goal: at least {GOAL:g} times vanilla's questions a second. " + (
        f"Missed: {words}.**" if missed else f"Met: {words}.**"
    )


def _goals(found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["goals"]:
        wall = sum(one["wall"][0]) / sum(one["wall"][1])
        each = one["questions"] // found["images"]
        rows.append(
            [
                one["task"].upper(), str(each), str(one["questions"]), _rate(one, "off"), _rate(one, "on"),
                f"{gain(one):.2f}", f"{wall:.2f}", f"{one['same']} of {one['questions']}",
            ]
        )  # fmt: skip
    heads = [
        "vanilla", "Questions an image", "Asked", "Off, questions/s", "Auto, questions/s", "Gain",
        "By the clock", "Same answers",
    ]  # fmt: skip
    return pipes(heads, rows, set(range(1, 7)))


def _strategies(found: Mapping[str, Any]) -> str:
    rows = []
    for one in found["strategies"]:
        name = display_name(one["strategy"])
        if one["why"]:
            rows.append([name, "0", _rate(one, "off"), "", "", "", escaped(one["why"])])
            continue
        memory = f"{one['bytes_7b'] / 1e6:,.0f} MB"
        same = f"{one['same']} of {one['questions']} answers the same"
        rows.append(
            [name, str(one["layers"]), _rate(one, "off"), _rate(one, "on"), f"{gain(one):.2f}", memory, same]
        )
    rows.sort(key=lambda row: -float(row[4] or 0))
    heads = ["Strategy", "Layers shared", "Off, questions/s", "Auto, questions/s", "Gain", "Memory", ""]
    return "Settings are the defaults; one image with POPE's 18 questions.\n\n" + pipes(
        heads, rows, set(range(1, 6))
    )


def _rate(one: Mapping[str, Any], which: str) -> str:
    rounds = len(one[which])
    return f"{one['questions'] * rounds / sum(one[which]):.2f}"


def _where(found: Mapping[str, Any]) -> str:
    packages, code, hardware = found["packages"], found["code"], found["hardware"]
    others = found["load"].get("others")
    busy = "" if others is None else f" Others kept {others:.1f} cores busy meanwhile."
    rounds = "1 round" if found["rounds"] == 1 else f"{found['rounds']} rounds"
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    return (
        f"Random weights: {found['layers']} layers, 576 tokens an image and a prompt as LLaVA-1.5's, width "
        f"{found['width']} in place of 4,096; answers of {found['new_tokens']} tokens, {found['batch_size']} "
        f"questions a batch, {rounds} of vanilla. Seconds are the processor's, of one thread "
        f"of {escaped(hardware['cpu'])}; torch {packages['torch']}, transformers {packages['transformers']}; "
        f"code {code['version']}{commit}.{busy}"
    )
