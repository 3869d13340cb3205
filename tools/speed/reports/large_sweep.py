"""A sweep of many cells from synthetic records: how long its table takes, and in how much memory.

    make sweep-speed                                  some minutes; results/sweep_speed.md and .json
    python -m tools.speed.reports.large_sweep --records 625   a tenth of it

Writes records as the runner does, each with its samples and what they add up to (other answers in every
cell), and makes `table=budgets` of them: first with nothing known, then again with the cache of comparisons.
A cell is one benchmark of one run.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.stored_tally import stored_tally
from pdrop_eval.records.migration import SCHEMA
from pdrop_eval.records.samples import checksum, tally_of
from pdrop_eval.strategies.registry import VANILLA, installed
from pdrop_eval.utils.code.provenance import code_identity, hardware
from pdrop_eval.utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[3]
PAGE = Path("results/sweep_speed.md")
AIM_SECONDS, AIM_BYTES = 10.0, 2e9
MODELS, QUESTIONS, IMAGE_TOKENS, LAYERS = 25, 16, 576, 8
BUDGETS = tuple(range(288, 31, -8))


def write_sweep(
    root: Path, records: int, questions: int = QUESTIONS, keys: Sequence[str] | None = None
) -> int:
    """Writes so many records of some benchmarks (None: all), 25 models alike, each with vanilla.

    Returns:
        Their bytes.
    """
    strategies = [name for name, info in installed().items() if info.solved_fields]
    cells = [(VANILLA, 0), *itertools.product(strategies, BUDGETS)]
    kinds = itertools.islice(itertools.product(range(MODELS), cells[: -(-records // MODELS)]), records)
    written = 0
    for number, (model, (strategy, tokens)) in enumerate(kinds):
        written += _write_run(root, number, model, strategy, tokens, questions, keys)
    return written


def _write_run(
    root: Path, number: int, model: int, strategy: str, tokens: int, questions: int,
    keys: Sequence[str] | None = None,
) -> int:  # fmt: skip
    rng, written = random.Random(number), 0
    identity = {"number": number, "code": {"sha256": "0" * 64}}
    folder = root / f"model{model}" / f"{strategy}-{number:010x}"
    (folder / "samples").mkdir(parents=True)
    tasks = {}
    right = 0.85 if strategy == VANILLA else 0.6 + 0.2 * tokens / IMAGE_TOKENS
    for key, known in benchmarks().items():
        if keys is not None and key not in keys:
            continue
        lines, score = samples_of(key, questions, rng, right)
        (folder / "samples" / f"{known.task}.jsonl").write_bytes(lines)
        tasks[known.task] = entry_of(key, score, questions, lines, tokens or IMAGE_TOKENS)
        written += len(lines)
    record = record_of(folder.name, identity, model, strategy, tokens, tasks)
    text = json.dumps(record, indent=2)
    (folder / "record.json").write_text(text, encoding="utf-8")
    return written + len(text)


def samples_of(key: str, questions: int, rng: random.Random, right: float) -> tuple[bytes, float]:
    """Return the lines of a file of samples, and the score of the metric."""
    marks = [rng.random() < right for _ in range(questions)]
    text = "".join(_lines(key, place)[mark] for place, mark in enumerate(marks))
    rule = benchmarks()[key].rule
    samples = [
        {**_sample(key, place), "score": float(mark), "answer": "yes" if mark else "no"}
        for place, mark in enumerate(marks)
    ]
    return text.encode(), float(rule.score(samples))


_MADE: dict[tuple[str, int], tuple[str, str]] = {}


def _lines(key: str, place: int) -> tuple[str, str]:
    """A question's line with a wrong answer, and with the right one."""
    if (key, place) not in _MADE:
        one = _sample(key, place)
        _MADE[key, place] = tuple(  # type: ignore[assignment]
            json.dumps({**one, "answer": answer, "score": score}) + "\n"
            for answer, score in (("no", 0.0), ("yes", 1.0))
        )
    return _MADE[key, place]


def _sample(key: str, place: int) -> dict[str, Any]:
    part = {"mme": ("existence", "count")[place % 2], "mmstar": "math", "pope": "adversarial"}.get(key)
    return {
        "doc_id": place, "prompt": f"Question {place} of {key}?", "target": "yes", "answer": "yes",
        "score": 1.0, "cluster": place, "part": part, "prompt_tokens": 600, "image_tokens": IMAGE_TOKENS,
        "content_sha256": hashlib.sha256(f"{key} {place}".encode()).hexdigest(),
        "images_sha256": hashlib.sha256(f"{key} picture {place}".encode()).hexdigest(),
    }  # fmt: skip


def entry_of(key: str, score: float, n: int, lines: bytes, tokens: int) -> dict[str, Any]:
    """Return what a record says of a task."""
    sha256, tally = checksum(lines), stored_tally(key, [*map(json.loads, lines.splitlines())])
    return {
        "benchmark": key, "metric": "m", "status": "scored", "score": score, "stderr": 5.0, "n": n,
        "data_sha256": "0" * 64, "tflops_mean": tokens * 0.0066, "image_tokens_mean": float(IMAGE_TOKENS),
        "image_tokens_max": IMAGE_TOKENS, "retained_tokens_per_layer": [float(tokens)] * LAYERS,
        "samples_sha256": sha256, "tally": tally and tally_of(sha256, tally),
    }  # fmt: skip


def record_of(
    name: str, identity: dict, model: int, strategy: str, tokens: int, tasks: dict[str, Any]
) -> dict[str, Any]:
    """Return a record."""
    count = tokens or IMAGE_TOKENS
    return {
        "schema": SCHEMA, "run_id": name, "status": "completed", "created": "2026-01-01T00:00:00+00:00",
        "updated": "2026-01-01T00:00:00+00:00", "identity": identity, "seed": 1, "limit": None,
        "batch_size": 8, "code": {"version": "0.1.0", "commit": "0" * 40, "dirty": False},
        "config": {"seed": 1, "limit": None, "batch_size": 8, "budget": {"tokens": tokens or None}},
        "changes": [f"budget.tokens={tokens}"] if tokens else [],
        "model": {
            "name": f"model{model}", "architecture": "llava-1.5", "patches": 1, "size": f"{model}b",
            "train": "vanilla", "sha256": f"{model:064x}", "dtype": "float32", "layers": LAYERS,
        },
        "strategy": {"name": strategy, "fields": {}}, "suite": {"name": "paper", "source": "hub"},
        "efficiency": {
            "tflops": count * 0.0066, "image_tokens": IMAGE_TOKENS, "kv_cache_bytes": 1000 * count,
            "image_tokens_per_layer": [count] * LAYERS, "convention": "multiply-adds",
        },
        "tasks": tasks,
    }  # fmt: skip


def timed(root: Path, out: Path) -> dict[str, float]:
    """Seconds of the whole command, those of processors, and the most memory that it had."""
    command = [
        sys.executable, "-m", "pdrop_eval.report.readme.cli", f"root={root}", f"out={out}", "table=budgets"
    ]  # fmt: skip
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"error: the table ended with status {status}")
    seconds = time.perf_counter() - start
    kilo = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "bytes": float(used.ru_maxrss * kilo),
    }


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code = result["code"]
    changed = " with changes" if code["dirty"] else ""
    lines = [
        "# The table of a large sweep", "",
        f"`make sweep-speed`: {result['records']:,} synthetic records with {result['cells']:,} cells of "
        f"{result['questions']} questions each, {result['size'] / 1e6:,.0f} MB of files "
        f"(code {code['version']} at {str(code['commit'])[:10]}{changed}; {result['hardware']}).", "",
        "| `pdrop-eval-tables table=budgets` | seconds | of a processor | most memory |",
        "|:--|--:|--:|--:|",
        *map(_line, _runs(result)), "",
        "- First: no comparison is known, so each run is paired with vanilla and with the best of its block. "
        "Of every file of samples the checksum is looked at; what they add up to is in the record.",
        "- Again: the records are read and checked; comparisons are those of the cache, which holds while a "
        "file's size and time are the same and its record vouches for the same checksum. Samples are not "
        "read again.",
        "- Another run: the same after one record more; only what it is compared with is computed.",
        f"- Aims: under {AIM_SECONDS:.0f} s of a processor and {AIM_BYTES / 1e9:.0f} GB for each; "
        f"{'met' if met(result) else 'NOT MET'}.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _line(named: tuple[str, dict[str, float]]) -> str:
    name, one = named
    seconds = f"{one['seconds']:.1f} | {one['processor_seconds']:.1f}"
    return f"| {name} | {seconds} | {one['bytes'] / 1e6:,.0f} MB |"


def _runs(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    yield from (("first", result["first"]), ("again", result["again"]), ("another run", result["more"]))


def met(result: dict[str, Any]) -> bool:
    """Whether the aims are met: seconds of a processor, so that other work on the machine doesn't count."""
    return all(
        one["processor_seconds"] < AIM_SECONDS and one["bytes"] < AIM_BYTES for _, one in _runs(result)
    )


def main() -> None:
    """Measures, prints and writes the figures; exits with 1 where an aim isn't met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--records", type=int, default=6250)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "runs", Path(folder) / "out"
        size = write_sweep(root, asked.records, asked.questions)
        first, again = timed(root, out), timed(root, out)
        _write_run(root, asked.records, 0, "fastv", 32, asked.questions)
        more = timed(root, out)
    machine = hardware()
    result = {
        "records": asked.records, "cells": asked.records * len(benchmarks()), "questions": asked.questions,
        "size": size, "first": first, "again": again, "more": more, "code": code_identity(),
        "hardware": f"{machine['cpu']}, {machine['cores']} cores",
    }  # fmt: skip
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    sys.exit(0 if met(result) else 1)


if __name__ == "__main__":
    main()
