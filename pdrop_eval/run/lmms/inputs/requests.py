"""A request of lmms-eval: its generation arguments, the end of its answer, and its name in messages."""

from collections.abc import Sequence
from typing import Any

from lmms_eval.api.instance import Instance

from pdrop_eval.benchmarks.installed.kinds import GENERATION, asked_of_generation
from pdrop_eval.utils.validation import check_choice


def arguments_of(given: dict[str, Any], max_new_tokens: int) -> tuple[dict[str, Any], list[str]]:
    """A task's generation arguments as transformers wants them, and the texts that end an answer."""
    given = asked_of_generation(given)
    for key in given:
        check_choice("generation argument of the task", key, GENERATION)
    until = given.get("until") or []
    sample = bool(given.get("do_sample", (given.get("temperature") or 0) > 0))
    arguments = {
        "max_new_tokens": int(given.get("max_new_tokens") or max_new_tokens),
        "num_beams": int(given.get("num_beams") or 1),
        "do_sample": sample,
        # None: neither the task's nor the checkpoint's sampling values apply to greedy decoding
        "temperature": given.get("temperature") if sample else None,
        "top_p": given.get("top_p") if sample else None,
        "top_k": None,
    }
    return arguments, [until] if isinstance(until, str) else list(until)


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the texts that end an answer."""
    ends = [text.index(stop) for stop in until if stop and stop in text]
    return text[: min(ends)] if ends else text


def where(batch: Sequence[Instance]) -> str:
    """The task and the samples of a batch, in words."""
    ids = ", ".join(str(request.args[3]) for request in batch)
    return f"task {batch[0].args[4]}, sample{'s' if len(batch) > 1 else ''} {ids}"
