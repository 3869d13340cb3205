"""MM-Vet's answers scored by a judge, with the few-shot prompt and the rules of lmms-eval's own task.

lmms-eval's module can't be imported without an API key, asks for minutes when a server is down, and counts an
answer that was never scored as wrong. So the prompt is read from its file and the asking is ours.
"""

import ast
import hashlib
import json
import os
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.judging.client import Judge, JudgeError
from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.benchmarks.scoring.score import score
from pdrop_eval.benchmarks.task_files import installed_tasks
from pdrop_eval.utils.files import writing_to
from pdrop_eval.utils.text.redact import redact_address
from pdrop_eval.utils.validation import is_finite_number, parse

_AT_ONCE = 8  # questions that wait for the judge at the same time
_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]{0,20})?|\.[0-9]{1,20}")  # float() takes 0_1 and other digits too
_GIVE_UP = 3  # questions that fail before no more are asked: the server is down, or refuses


class Judged:
    """The scores that judges have given so far: a file of one line each, written as they come.

    A line counts for the same judge (model and address), question and prompt only. What a kill cuts off is
    the last line, which is then asked for again.
    """

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._found: dict[tuple[str, ...], tuple[float, str]] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        for line in text.split("\n"):  # a model's name may hold what else ends a line
            try:
                row = parse(line)
                model, address, *asked = row["key"]
                key = (model, redact_address(address), *asked)  # earlier versions stored it as it was given
                self._found[key] = _stored_score(row["score"]), str(row["answered"])
            except (ValueError, KeyError, TypeError):
                continue
        self._torn = bool(text) and not text.endswith("\n")

    def get(self, judge: Judge, asked: dict[str, str]) -> tuple[float, str] | None:
        """The score of an answer and the model that gave it, if there is one."""
        return self._found.get(_key(judge, asked))

    def add(self, judge: Judge, asked: dict[str, str], found: tuple[float, str]) -> None:
        """Stores a score. Raises UserError if it can't be written."""
        key = _key(judge, asked)
        line = json.dumps({"key": key, "score": found[0], "answered": found[1]}, ensure_ascii=False)
        with self._lock:
            with writing_to(self.path.parent):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a", encoding="utf-8", newline="\n") as file:
                    file.write(("\n" if self._torn else "") + line + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            self._torn = False
            self._found[key] = found

    def drop(self) -> None:
        """Removes the file, once the record has the scores."""
        self.path.unlink(missing_ok=True)


def judge_entry(
    entry: dict[str, Any], samples: Sequence[dict[str, Any]], judge: Judge, resamples: int, seed: int,
    judged: Judged,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:  # fmt: skip
    """The record's entry for MM-Vet and its samples, with the judge's scores (0 to 100 in the entry).

    Only what is not in `judged` is asked.

    Raises:
        JudgeError: The judge leaves an answer unscored; the scores that it gave are in `judged` then.
    """
    found = _ask_all(judge, [sample["to_judge"] for sample in samples], judged)
    earned = [value for value, _ in found]
    result = score(
        scoring_rule("mean"), earned, [{}] * len(samples), [sample["images_sha256"] for sample in samples],
        lambda values: sum(values) / len(values), 100, resamples, seed,
    )  # fmt: skip
    scored = {
        **entry,
        "status": "scored",
        "score": result.value,
        "stderr": result.stderr,
        "clusters": result.clusters,
        "parts": _by_capability(samples, earned),
        "metrics": {entry["metric"]: result.value},
        "judge": {
            **judge.describe(),
            "answered": sorted({model for _, model in found}),
            "prompt_sha256": hashlib.sha256(few_shot_prompt().encode()).hexdigest(),
        },
    }
    return scored, [{**sample, "score": value} for sample, value in zip(samples, earned, strict=True)]


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
    words = text.split(maxsplit=1)
    found = float(words[0]) if words and _NUMBER.fullmatch(words[0]) else -1.0
    if not 0.0 <= found <= 1.0:
        raise ValueError(f"{text[:60]!r} does not begin with a number from 0 to 1")
    return found


def _stored_score(value: Any) -> float:
    if not is_finite_number(value) or not 0.0 <= value <= 1.0:
        raise ValueError(f"{value!r} is no score")
    return float(value)


def _ask_all(judge: Judge, questions: Sequence[dict[str, str]], judged: Judged) -> list[tuple[float, str]]:
    """The scores of all questions, in order. One that fails doesn't keep the others from being asked."""
    failures: list[JudgeError] = []

    def ask(asked: dict[str, str]) -> None:
        if len(failures) >= _GIVE_UP:
            return
        try:
            judged.add(judge, asked, judge.ask(judge_prompt(asked), read_score))
        except JudgeError as error:
            failures.append(JudgeError(f"MM-Vet, question {asked['question_id']}: {error}"))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            list(pool.map(ask, [asked for asked in questions if judged.get(judge, asked) is None]))
        except BaseException:  # Ctrl-C among it: the pool waits for its threads
            judge.stop()
            raise
    found = [judged.get(judge, asked) for asked in questions]
    if failures:
        left = found.count(None)
        raise JudgeError(
            f"{failures[0]} The answers are kept, and {len(found) - left} of {len(found)} have their score; "
            f"the same command asks the judge for the other {left}; without a judge MM-Vet stays unscored."
        ) from failures[0]
    return [score for score in found if score is not None]


def _key(judge: Judge, asked: dict[str, str]) -> tuple[str, ...]:
    prompt = hashlib.sha256(judge_prompt(asked).encode()).hexdigest()
    return (*judge.describe().values(), asked["question_id"], prompt)


def _by_capability(samples: Sequence[dict[str, Any]], earned: Sequence[float]) -> dict[str, float]:
    parts: dict[str, list[float]] = {}
    for sample, value in zip(samples, earned, strict=True):
        for capability in sample["to_judge"]["capability"].split(","):
            parts.setdefault(capability.strip(), []).append(value)
    return {name: 100 * sum(values) / len(values) for name, values in sorted(parts.items())}
