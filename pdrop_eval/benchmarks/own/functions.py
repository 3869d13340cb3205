"""What a task of the user's own data names with `!function`: its pictures, prompt and right answer."""

from typing import Any

from pdrop_eval.benchmarks.own.metric import letters


def pictures(doc: dict[str, Any]) -> list[Any]:
    """The pictures of a question, in the order of the data."""
    return list(doc["image"])


def prompt(doc: dict[str, Any], lmms_eval_specific_kwargs: dict[str, Any]) -> str:
    """The question, its choices where the metric shows them, and the ending."""
    choices = doc["choices"] if lmms_eval_specific_kwargs["options"] else ()
    lines = [f"{letter}. {choice}" for letter, choice in zip(letters(len(choices)), choices, strict=True)]
    return "\n".join([doc["question"], *lines]) + lmms_eval_specific_kwargs["post_prompt"]


def target(doc: dict[str, Any]) -> str | list[str]:
    """The right answer; a list where several are."""
    return doc["answers"][0] if len(doc["answers"]) == 1 else list(doc["answers"])
