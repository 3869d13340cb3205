"""One sweep of eight strategies against eight separate commands: questions a second, and images encoded.

    make sweep-gain                                   some minutes; results/efficiency/sweep.md and .json
    python -m tools.speed.answering.sweep_gain --limit 16 --rounds 1

The same strategies answer the same questions of the same model, once in a `pdrop-eval-sweep` of engine=local
and once by a `pdrop-eval` each, in turn in every round, from the start of a command to its end. Their
records must be the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdrop_eval.run.bench.statistics import quartiles
from pdrop_eval.utils.code.provenance import code_identity, hardware
from pdrop_eval.utils.files import write_atomically
from tools.robustness.compared import content, entries

PAGE = Path("results/efficiency/sweep.md")
STRATEGIES = ("vanilla", "fastv", "pdrop", "visionzip", "divprune", "random", "uniform", "fastervlm")
MODEL, TOKENS = "mini", 64
Given = Sequence[str]


def as_sweep(given: Given, results: Path) -> list[list[str]]:
    """The one command."""
    lists = [f"models=[{MODEL}]", f"strategies=[{','.join(STRATEGIES)}]", f"budgets=[{TOKENS}]"]
    return [["pdrop_eval.run.sweep.cli", *lists, *given, f"results={results}"]]


def one_by_one(given: Given, results: Path) -> list[list[str]]:
    """The eight commands."""
    budget = [f"budget.tokens={TOKENS}"]
    return [
        ["pdrop_eval.run.evaluate.cli", f"model={MODEL}", f"strategy={name}",
         *(budget if name != "vanilla" else []), *given, f"results={results}"]
        for name in STRATEGIES
    ]  # fmt: skip


def timed(commands: Sequence[Sequence[str]], results: Path) -> dict[str, Any]:
    """Run commands one after the other; returns the seconds, and what they have asked and encoded."""
    start = time.perf_counter()
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"error: {' '.join(command)} ended with {done.returncode}: {done.stderr}")
    seconds = time.perf_counter() - start
    found = [entry for _, entry in entries(results)]
    return {
        "seconds": seconds,
        "questions": sum(entry["n"] for entry in found),
        "encoded": sum(entry["usage"]["encoded"] for entry in found),
        "cells": sum(entry["wall_seconds"] for entry in found),
    }


def measure(given: Given, rounds: int, work: Path) -> dict[str, Any]:
    """Both ways in every round, each first in turn."""
    ways = {"sweep": as_sweep, "separate": one_by_one}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            results = work / f"{name}-{number}"
            found[name].append(timed(ways[name](given, results), results))
        if content(work / f"sweep-{number}") != content(work / f"separate-{number}"):
            raise SystemExit("error: the sweep's records are others than those of separate commands")
    return found


def text_of(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    code, gain = result["code"], result["gain"]
    changed = " with changes" if code["dirty"] else ""
    names = {"sweep": f"one sweep of {len(STRATEGIES)} strategies", "separate": "a command for each"}
    lines = [
        "# One sweep against separate commands", "",
        f"**{gain['whole'][1]:.2f} times the questions a second** in one sweep, and {gain['cells'][1]:.2f} "
        f"times without the starts of processes and models (medians of {result['rounds']} rounds).", "",
        f"`make sweep-gain`: {', '.join(STRATEGIES)} at {TOKENS} tokens a layer "
        f"on {MODEL}, "
        f"`{' '.join(result['given'])}` (code {code['version']} at {str(code['commit'])[:10]}{changed}; "
        f"{result['hardware']}).", "",
        "| | questions | questions a second | without starts | images encoded |",
        "|:--|--:|--:|--:|--:|",
        *(
            f"| {names[name]} | {rounds[0]['questions']} | {_rate(rounds, 'seconds'):.1f} "
            f"| {_rate(rounds, 'cells'):.1f} | {rounds[0]['encoded']} |"
            for name, rounds in result["found"].items()
        ), "",
        "- In a sweep, the images that the first strategy has encoded are there for all others, bit for bit: "
        "records and samples were the same both ways.",
        "- Without starts: the time of cells alone, in which questions are prepared, answered and scored.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _rate(rounds: Sequence[dict[str, Any]], of: str) -> float:
    return quartiles([one["questions"] / one[of] for one in rounds])[1]


def gains(found: dict[str, list[dict[str, Any]]]) -> dict[str, list[float]]:
    """The sweep's rate as a multiple of that of separate commands, in each round; quartiles."""
    pairs = list(zip(found["separate"], found["sweep"], strict=True))
    of = {"whole": "seconds", "cells": "cells"}
    return {name: quartiles([alone[key] / swept[key] for alone, swept in pairs]) for name, key in of.items()}


def main() -> None:
    """Measures, prints and writes the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=int, default=64, help="questions of each task")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("overrides", nargs="*", help="of pdrop-eval, such as device=cuda")
    asked = parser.parse_args()
    given = ["tasks=[gqa,pope]", f"limit={asked.limit}", "batch_size=8", *asked.overrides]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(given, asked.rounds, Path(folder))
    machine = hardware()
    result = {
        "given": given, "rounds": asked.rounds, "found": found, "gain": gains(found), "code": code_identity(),
        "hardware": f"{machine['cpu']}, {machine['cores']} cores",
    }  # fmt: skip
    text = text_of(result)
    print(text, end="")
    write_atomically(asked.out, text)
    write_atomically(asked.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
