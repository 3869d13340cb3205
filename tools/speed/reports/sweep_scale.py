"""A sweep of 100,000 cells, half of them there: how long its plan and its status take, in how much memory.

    make sweep-scale                             some minutes; results/sweep_scale.md and .json
    python -m tools.speed.reports.sweep_scale --cells 10000

Plans the sweep on the embedded miniatures, writes synthetic records with samples for half of its runs, and
its board as if it were running. Each command is timed from its start to its end.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.run.sweep.plan.runs import PlannedRun, plan_runs
from pdrop_eval.run.sweep.spec import read_sweep
from pdrop_eval.run.sweep.state.board import DONE, FAILED, RUNNING, Board
from pdrop_eval.run.sweep.state.definition import cells_of, define
from pdrop_eval.utils.code.provenance import code_identity, hardware
from pdrop_eval.utils.files import write_atomically
from tools.speed.reports.large_sweep import IMAGE_TOKENS, QUESTIONS, entry_of, record_of, samples_of

PAGE = Path("results/sweep_scale.md")
AIM_SECONDS, AIM_BYTES = 10.0, 2e9
MODELS = ("mini", "mini_next_p5", "mini_qwen2_5_vl", "mini576", "mini576_pdrop_05")
STRATEGIES = ("fastv", "pdrop", "visionzip", "divprune", "random")
BUDGETS = (0.7, 0.6, 0.5, 0.4, 0.33)  # as shares: the models have 144 to 720 image tokens
_PER_SEED = len(MODELS) * (1 + len(STRATEGIES) * len(BUDGETS)) * 16  # cells, with vanilla


def settings(cells: int) -> list[str]:
    """The sweep as its command line: so many cells at least, by seeds."""
    seeds = range(1, 1 + -(-cells // _PER_SEED))
    return [
        f"models=[{','.join(MODELS)}]", f"strategies=[vanilla,{','.join(STRATEGIES)}]",
        f"budgets=[{','.join(f'{{share:{share}}}' for share in BUDGETS)}]",
        f"seeds=[{','.join(map(str, seeds))}]",
    ]  # fmt: skip


def write_half(asked: Sequence[str], results: Path, questions: int) -> tuple[int, int]:
    """Write records of every other run, and the board of a sweep that has come so far.

    Returns:
        How many cells and runs the sweep has.
    """
    spec = read_sweep(asked)
    planned = plan_runs(spec)
    for number, run in enumerate(planned.runs):
        if number % 2 == 0:
            _write_record(results, number, run, questions)
    board = Board(results)
    definition = define(spec, planned, "pdrop-eval-sweep")
    board.begin(definition)
    there = {run.id for run in planned.runs[::2]}
    lines = []
    for number, cell in enumerate(cells_of(definition)):
        ended = DONE if cell.run in there else FAILED if number % 1000 == 1 else None
        if ended or number % 1000 == 3:
            lines.append({"at": time.time(), "cell": cell.id, "state": RUNNING, "worker": "host, worker 1"})
        if ended:
            more = {"reason": "out of memory"} if ended == FAILED else {"seconds": 1.0, "n": questions}
            lines.append({"at": time.time(), "cell": cell.id, "state": ended, **more})
    with open(board.folder / "events" / "driver.jsonl", "a", encoding="utf-8") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    return planned.cells, len(planned.runs)


def _write_record(results: Path, number: int, run: PlannedRun, questions: int) -> None:
    """A record of a planned run with all of its tasks, as the runner leaves it."""
    rng, folder, plan = random.Random(number), results / run.id, run.plan
    (folder / "samples").mkdir(parents=True)
    tokens = round(run.asked.budget[1] * IMAGE_TOKENS) if run.asked.budget else 0
    keys = {known.task: key for key, known in benchmarks().items()}
    tasks = {}
    for task in plan.tasks:
        lines, score = samples_of(keys[task], questions, rng, 0.8)
        (folder / "samples" / f"{task}.jsonl").write_bytes(lines)
        own = {"data_sha256": plan.data.sha256.get(task), "task_sha256": plan.task_sha256.get(task)}
        usage = {"wall_seconds": 1.0 + rng.random(), "usage": {"recalled": 0}}
        tasks[task] = {**entry_of(keys[task], score, questions, lines, tokens), **own, **usage}
    record = record_of(folder.name, plan.identity, 0, plan.strategy, tokens, tasks)
    record["model"]["name"] = run.asked.model
    (folder / "record.json").write_text(json.dumps(record, indent=2), encoding="utf-8")


def timed(arguments: Sequence[str]) -> dict[str, Any]:
    """Seconds of the whole command, those of processors, the most memory that it had, and its first line."""
    command = [sys.executable, "-m", "pdrop_eval.run.sweep.cli", *arguments]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(command, stdout=output) as process:
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        output.seek(0)
        said = output.read()
    if status:
        raise SystemExit(f"error: the command ended with status {status}")
    kilo = 1 if sys.platform == "darwin" else 1024
    return {
        "seconds": seconds, "processor_seconds": used.ru_utime + used.ru_stime,
        "bytes": float(used.ru_maxrss * kilo), "said": next(x for x in said.splitlines() if "cells" in x),
    }  # fmt: skip


def measure(cells: int, questions: int, results: Path) -> dict[str, Any]:
    """Make the sweep beneath a folder and time its commands."""
    asked = [*settings(cells), f"results={results}"]
    # elsewhere: what a command is said to have had of memory begins with that of the process that starts it
    with ProcessPoolExecutor(1, get_context("spawn")) as elsewhere:
        count, runs = elsewhere.submit(write_half, asked, results, questions).result()
    size = sum(path.stat().st_size for path in results.rglob("*") if path.is_file())
    return {
        "cells": count, "runs": runs, "questions": questions, "size": size,
        "commands": {word: timed([*asked, word]) for word in ("plan=true", "status=true")},
    }  # fmt: skip


def met(result: dict[str, Any]) -> bool:
    """Whether the aims are met: seconds of a processor, so that other work on the machine doesn't count."""
    return all(
        one["processor_seconds"] < AIM_SECONDS and one["bytes"] < AIM_BYTES
        for one in result["commands"].values()
    )


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code = result["code"]
    changed = " with changes" if code["dirty"] else ""
    lines = [
        "# Plan and status of a large sweep", "",
        f"`make sweep-scale`: {result['cells']:,} cells of {result['runs']:,} runs, half of them there as "
        f"synthetic records of {result['questions']} questions a cell, {result['size'] / 1e6:,.0f} MB of "
        f"files (code {code['version']} at {str(code['commit'])[:10]}{changed}; {result['hardware']}).", "",
        "| `pdrop-eval-sweep` | seconds | of a processor | most memory | says |",
        "|:--|--:|--:|--:|:--|",
        *(
            f"| `{name}` | {one['seconds']:.1f} | {one['processor_seconds']:.1f} "
            f"| {one['bytes'] / 1e6:,.0f} MB | {one['said']} |"
            for name, one in result["commands"].items()
        ), "",
        f"- Aims: under {AIM_SECONDS:.0f} s of a processor and {AIM_BYTES / 1e9:.0f} GB for each; "
        f"{'met' if met(result) else 'NOT MET'}.",
        "- The table of a sweep of this size: [sweep_speed.md](sweep_speed.md), `make sweep-speed`.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measures, prints and writes the figures; exits with 1 where an aim isn't met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--cells", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(asked.cells, asked.questions, Path(folder) / "results")
    machine = hardware()
    result |= {"code": code_identity(), "hardware": f"{machine['cpu']}, {machine['cores']} cores"}
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    sys.exit(0 if met(result) else 1)


if __name__ == "__main__":
    main()
