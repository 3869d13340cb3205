"""MM-Vet's answers scored by a judge, with the few-shot prompt and the rules of lmms-eval's own task.

lmms-eval's module can't be imported without an API key, asks for minutes when a server is down, and counts an
answer that was never scored as wrong. So the prompt is read from its file and the asking is ours.
"""

import ast
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from pdrop_eval.judge import Judge, JudgeError
from pdrop_eval.lmms.scores import score
from pdrop_eval.lmms.tasks import installed_tasks

_AT_ONCE = 8  # questions that wait for the judge at the same time


def judge_entry(
    entry: dict[str, Any], samples: Sequence[dict[str, Any]], judge: Judge, resamples: int, seed: int
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The record's entry for MM-Vet and its samples, with the judge's scores (0 to 100 in the entry).

    Raises JudgeError if the judge leaves an answer unscored.
    """
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = list(pool.map(lambda sample: _ask(judge, sample["to_judge"]), samples))
    earned = [value for value, _ in found]
    result = score(
        "images", earned, [{}] * len(samples), [sample["images_sha256"] for sample in samples],
        lambda values: sum(values) / len(values), resamples, seed,
    )  # fmt: skip
    judged = {
        **entry,
        "status": "scored",
        "score": 100 * result.value,
        "stderr": None if result.stderr is None else 100 * result.stderr,
        "clusters": result.clusters,
        "parts": _by_capability(samples, earned),
        "metrics": {entry["metric"]: 100 * result.value},
        "judge": {
            **judge.describe(),
            "answered": sorted({model for _, model in found}),
            "prompt_sha256": hashlib.sha256(few_shot_prompt().encode()).hexdigest(),
        },
    }
    return judged, [{**sample, "score": value} for sample, value in zip(samples, earned, strict=True)]


def submission(samples: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The answers in the form that MM-Vet's own evaluation takes: {"v1_0": "...", ...}."""
    return {sample["to_judge"]["question_id"]: sample["answer"] for sample in samples}


@cache
def few_shot_prompt() -> str:
    """MM-Vet's prompt for the judge, from lmms-eval's source."""
    tree = ast.parse((installed_tasks() / "mmvet" / "utils.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "MM_VET_PROMPT":
            return str(ast.literal_eval(node.value))
    raise RuntimeError("lmms-eval's mmvet/utils.py has no MM_VET_PROMPT")


def judge_prompt(asked: dict[str, str]) -> str:
    """What the judge is asked about one answer."""
    truth = asked["answer"].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    return f"{few_shot_prompt()}\n{asked['question']} | {truth} | {asked['prediction']} |"


def read_score(text: str) -> float:
    """The number that the judge's answer begins with. Raises ValueError unless it is one from 0 to 1."""
    words = text.split()
    try:
        found = float(words[0])
    except (IndexError, ValueError):
        found = -1.0
    if not 0.0 <= found <= 1.0:  # NaN is refused too
        raise ValueError(f"{text[:60]!r} does not begin with a number from 0 to 1")
    return found


def _ask(judge: Judge, asked: dict[str, str]) -> tuple[float, str]:
    try:
        return judge.ask(judge_prompt(asked), read_score)
    except JudgeError as error:
        raise JudgeError(
            f"MM-Vet, question {asked['question_id']}: {error} The answers are kept; the same command asks "
            "the judge again, and without a judge MM-Vet stays unscored."
        ) from error


def _by_capability(samples: Sequence[dict[str, Any]], earned: Sequence[float]) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for sample, value in zip(samples, earned, strict=True):
        for capability in sample["to_judge"]["capability"].split(","):
            parts.setdefault(capability.strip(), []).append(value)
    return {name: 100 * sum(values) / len(values) for name, values in sorted(parts.items())}
