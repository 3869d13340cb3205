"""What it costs to start: processor time of each command, against an earlier commit in the same run.

    make startup                          about ten minutes; results/efficiency/startup.md and .json
    python -m tools.speed.answering.startup --rounds 1

Both codes run under the same interpreter and packages, in turn in every round, each with its byte code
written before the first one. Time is user and system time of the whole process, its threads and its end.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.utils.code.provenance import code_identity, hardware
from pdrop_eval.utils.files import write_atomically
from tools.speed.answering.startup_page import page_of

PAGE = Path("results/efficiency/startup.md")
BEFORE = "3c6f181"
EVALUATE = "pdrop_eval.run.evaluate.cli"
TWO = ("model=mini", "strategy=pdrop", "tasks=[gqa]", "limit=2")
SCRIPTS = {
    "pdrop-eval": EVALUATE,
    "pdrop-eval-sweep": "pdrop_eval.run.sweep.cli",
    "pdrop-eval-tables": "pdrop_eval.report.readme.cli",
    "pdrop-eval-figures": "pdrop_eval.report.figures.cli",
    "pdrop-eval-show": "pdrop_eval.report.show.cli",
    "pdrop-eval-page": "pdrop_eval.report.site.cli",
    "pdrop-eval-doctor": "pdrop_eval.run.doctor.cli",
    "pdrop-eval-train": "pdrop_eval.run.train.cli",
    "pdrop-eval-bench": "pdrop_eval.report.bench.cli",
    "pdrop-eval-calibrate": "pdrop_eval.run.calibrate.cli",
    "pdrop-eval-compare": "pdrop_eval.report.compare.cli",
    "pdrop-eval-merge": "pdrop_eval.report.share.merge",
    "pdrop-eval-check-results": "pdrop_eval.report.share.check",
    "pdrop-eval-import": "pdrop_eval.run.importing.cli",
}


def commands(results: Path) -> dict[str, tuple[list[str], int, float]]:
    """Every command that is timed: its module with its settings, its exit status, and its goal in seconds."""
    two = [EVALUATE, *TWO, f"results={results}"]
    named = {"two questions": (two, 0, 8.0), "nothing to do": (two, 0, 1.5)}
    for script, module in SCRIPTS.items():
        named[f"{script} --help"] = ([module, "--help"], 0, 1.5)
        named[f"{script} with a typo"] = ([module, "resluts=here"], 2, 1.5)
    return named


def processor_seconds(command: Sequence[str], status: int, code: Path) -> float:
    """Run a command of the code in a folder; its processor time. Raises SystemExit for another status.

    The folder is the current one, too: `python -m` looks there first.
    """
    env = {**os.environ, "PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = [sys.executable, "-m", *command]
    done = subprocess.run(whole, capture_output=True, text=True, check=False, env=env, cwd=code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != status:
        raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def measure(codes: Mapping[str, Path], rounds: int, work: Path) -> dict[str, dict[str, list[float]]]:
    """The seconds of each command in each round, by command and code; the first round warms up."""
    found: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds + 1):
        for name in commands(work):
            for code in list(codes)[:: 1 if number % 2 else -1]:
                results = work / code
                if name == "two questions":
                    shutil.rmtree(results, ignore_errors=True)
                command, status, _ = commands(results)[name]
                seconds = processor_seconds(command, status, codes[code])
                if number:
                    found.setdefault(name, {}).setdefault(code, []).append(seconds)
    return found


def summary(name: str, seconds: Mapping[str, Sequence[float]], goal: float) -> dict[str, Any]:
    """A command's quartiles before and now, and those of their ratio in each round."""
    pairs = list(zip(seconds["before"], seconds["now"], strict=True))
    now = quartiles(list(seconds["now"]))
    return {
        "command": name, "before": quartiles(list(seconds["before"])), "now": now,
        "ratio": quartiles([one / other for other, one in pairs]), "goal": goal, "met": now[1] <= goal,
    }  # fmt: skip


def earlier(commit: str, folder: Path) -> Path:
    """The files of a commit."""
    packed = subprocess.run(["git", "archive", commit], check=True, capture_output=True).stdout
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], check=True, input=packed)
    return folder


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch).resolve()
        os.environ["PDROP_EVAL_CACHE"] = str(work / "cache")
        codes = {"before": earlier(BEFORE, work / "code"), "now": Path.cwd()}
        found = measure(codes, chosen.rounds, work)
    goals = {name: goal for name, (_, _, goal) in commands(Path()).items()}
    rows = [summary(name, seconds, goals[name]) for name, seconds in found.items()]
    machine = hardware()
    result = {
        "schema": 1, "before": BEFORE, "rounds": chosen.rounds, "rows": rows, "code": code_identity(),
        "hardware": f"{machine['cpu']}, {machine['cores']} cores",
    }  # fmt: skip
    text = page_of(result)
    print(text, end="")
    write_atomically(chosen.out, text)
    write_atomically(chosen.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
