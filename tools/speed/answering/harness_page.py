"""`results/efficiency/harness.md`: the harness beyond the model's own time, from `make harness-speed`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdrop_eval.report.formats.markdown import escaped, pipes
from pdrop_eval.strategies.registry import display_name

FILE = Path("results/efficiency/harness.json")
GOAL = 0.05  # of the model's own time
SLOW = 40  # milliseconds of the model for a question, from which on the goal holds
_INTRO = """# Harness and model

Made by `make harness-speed`: random models with the miniature's vision tower, words and image processing
before a decoder that is wide and deep enough to take about 40, 80 and 160 ms a question answer rendered
questions through all of the harness, which reads, decodes and processes pictures, makes prompts, forms
batches, hashes and journals. Each batch goes through the model a second time at once, prepared beforehand and
with caches of its own, in turn before and after: that is the model's own time (vision tower, engine, prefill,
decoding)."""
_EXPLAINED = """Times are the processor's, in milliseconds a question, over all rounds. "Beyond" is what the
run takes outside of the model: the whole less what is inside of vision tower and generate. The share is of
the model alone. The last two columns hold the whole against the model alone: two long times, whose difference
is as much chance as harness where a machine has other work. Nothing runs beside the model here (`workers=0`,
one thread), so on the wall's clock of an idle machine the share is the same; where cores are free, or the
model is on a GPU, threads prepare questions meanwhile, and it is less. "Preparing" is reading documents,
pictures, prompts and hashes, "noting" the journal; what is left is forming batches and measuring what was
retained. A picture has six questions here; where each has its own, it is decoded and processed for each."""


def harness_page(found: Mapping[str, Any]) -> str:
    """The whole page."""
    parts = [_INTRO, f"**{_verdict(found)}**", _table(found), _where(found), _EXPLAINED]
    return "\n\n".join(parts) + "\n"


def harness_lines(found: Mapping[str, Any]) -> str:
    """The shares alone, as a list."""
    return "\n".join(
        f"- {_each(one, 'alone'):.1f} ms of the model: {100 * share(one):.1f}% beyond"
        for one in found["sizes"]
    )


def share(one: Mapping[str, Any]) -> float:
    """What the harness takes outside of the model, as a share of the model alone, by the processor's time."""
    return (_total(one, "whole") - _total(one, "inside")) / _total(one, "alone")


def _against(one: Mapping[str, Any], clock: int) -> float:
    """The whole beside the model alone; clock 0: processor, 1: wall."""
    return _total(one, "whole", clock) / _total(one, "alone", clock) - 1


def _total(one: Mapping[str, Any], part: str, clock: int = 0) -> float:
    return float(sum(spent[part][clock] for spent in one["rounds"]))


def _each(one: Mapping[str, Any], part: str) -> float:
    """Milliseconds of the processor for a question."""
    return 1e3 * _total(one, part) / (one["questions"] * len(one["rounds"]))


def _verdict(found: Mapping[str, Any]) -> str:
    counted = [one for one in found["sizes"] if _each(one, "alone") >= SLOW]
    goal = f"Goal: at most {GOAL:.0%} beyond the model's own time, from {SLOW} ms a question on."
    if not counted:
        return f"{goal} No model here takes so long."
    most = max(map(share, counted))
    met = "Met" if most <= GOAL else f"Missed by {100 * (most - GOAL):.1f} points"
    return f"{goal} {met}: {', '.join(f'{100 * share(one):.1f}%' for one in counted)}."


def _table(found: Mapping[str, Any]) -> str:
    rows = [
        [
            str(one["layers"]), display_name(one["strategy"]), f"{_each(one, 'alone'):.1f}",
            f"{_each(one, 'whole') - _each(one, 'inside'):.2f}", f"{_each(one, 'preparing'):.2f}",
            f"{_each(one, 'noting'):.2f}", f"{100 * share(one):.1f}%", f"{100 * _against(one, 0):+.1f}%",
            f"{100 * _against(one, 1):+.1f}%",
        ]
        for one in found["sizes"]
    ]  # fmt: skip
    heads = [
        "Layers", "", "Model alone", "Beyond", "of it preparing", "noting", "Share", "Whole to alone",
        "On the wall",
    ]  # fmt: skip
    return pipes(heads, rows, {0, 2, 3, 4, 5, 6, 7, 8})


def _where(found: Mapping[str, Any]) -> str:
    packages, code, hardware = found["packages"], found["code"], found["hardware"]
    first, others = found["sizes"][0], found["load"].get("others")
    busy = "" if others is None else f" Others kept {others:.1f} cores busy meanwhile."
    commit = f" at {code['commit'][:10]}" if code.get("commit") else ""
    changed = " with changes" if code.get("dirty") else ""
    return (
        f"{first['questions']} questions of {', '.join(first['tasks'])}, {len(first['rounds'])} rounds, "
        f"width {found['width']}, 144 tokens an image, answers of {found['new_tokens']} tokens, batches of "
        f"{first['batch_size']}, {found['threads']} thread(s) of {escaped(hardware['cpu'])}, float32; torch "
        f"{packages['torch']}, transformers {packages['transformers']}; code {code['version']}{commit}"
        f"{changed}.{busy}"
    )
