"""The oldest and newest supported Python, torch, transformers and lmms-eval, in environments of their own.

    python -m tools.release.matrix                  # makes what is missing beneath .cache/matrix; tests there
    python -m tools.release.matrix --only oldest

An environment has this checkout, the pinned versions of constraints.txt, and in the place of some of them the
oldest or the newest that pyproject.toml allows, on the oldest or the newest Python if this machine has it. In
each run the core's tests, those of the runner that meet lmms-eval and transformers, and the regression
baselines, of which nothing may differ. Exits with 1 if something fails.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version
from tabulate import tabulate

from pdrop_eval.utils.code.versions import requirements, tested
from pdrop_eval.utils.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(".cache/matrix")
PAGE = Path("results/reference/matrix.md")
VARIED = ("torch", "torchvision", "transformers", "lmms-eval")
PYTHONS = {"oldest": "3.10", "newest": "3.13"}
# What those ask for themselves, each in a version of its own.
FOLLOWING = re.compile(r"(tokenizers|huggingface-hub|triton|setuptools|(nvidia|cuda)-[\w-]+)$")
TESTS = (
    "tests/core",
    "tests/golden",
    "tests/runner/model/test_llava_model.py",
    "tests/runner/model/test_family_wrapper.py",
    "tests/runner/running/test_run.py",
)
CHOSEN = "not whole"  # each strategy with two families a check
_VERSIONS = (
    "import json, platform; from importlib.metadata import version; "
    "print(json.dumps([platform.python_version(), *map(version, ('torch', 'transformers', 'lmms-eval'))]))"
)


@dataclass
class Row:
    """What came out in one environment. versions: of Python, torch, transformers and lmms-eval."""

    name: str
    versions: list[str]
    tests: str
    reference: str
    seconds: float
    passed: bool


def lowest(needed: Requirement) -> str:
    """The requirement that asks for the lowest version of a range: "transformers==5.20.0"."""
    bounds = [Version(part.version) for part in needed.specifier if part.operator in (">=", "==")]
    major, minor, *rest = (*max(bounds).release, 0)
    return f"{needed.name}=={'.'.join(map(str, (major, minor, *rest[:1])))}"


def environments(needed: Sequence[Requirement]) -> dict[str, list[str]]:
    """What to install in the place of the pinned versions, by the environment's name."""
    return {
        "oldest": [lowest(one) for one in needed],
        "newest": [f"{one.name}{one.specifier}" for one in needed],
    }


def unpinned(constraints: str) -> str:
    """The constraints without those of the packages that vary and of what those ask for themselves."""
    lines = [(re.split(r"[=\s]", line)[0], line) for line in constraints.splitlines(keepends=True)]
    return "".join(line for name, line in lines if name not in VARIED and not FOLLOWING.match(name))


def python_of(name: str) -> str:
    """The Python of an end of the matrix: its path; this one where the machine doesn't have that version."""
    uv = Path(sys.executable).with_name("uv")
    done = subprocess.run(
        [uv, "python", "find", "--no-python-downloads", "--no-project", "--system", PYTHONS[name]],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYENV_VERSION": PYTHONS[name]},  # else a shim of pyenv names no Python
    )  # fmt: skip
    return done.stdout.strip() or sys.executable


def make(folder: Path, interpreter: str, wanted: Sequence[str]) -> Path:
    """The environment's Python; installs if what is wanted isn't what was installed there."""
    python, stamp = folder / "bin" / "python", folder / "wanted.json"
    constraints = unpinned((ROOT / "constraints.txt").read_text(encoding="utf-8"))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    asked = json.dumps([interpreter, list(wanted), constraints, project])
    if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == asked):
        uv = Path(sys.executable).with_name("uv")
        print(f"Installing {', '.join(wanted)} into {folder}", flush=True)
        write_atomically(folder.with_suffix(".txt"), constraints)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", interpreter, folder], check=True)
        subprocess.run(
            [uv, "pip", "install", "--quiet", "--python", python, "-c", folder.with_suffix(".txt"), *wanted,
             "-e", f"{ROOT}[dev,train]"], check=True,
        )  # fmt: skip
        stamp.write_text(asked, encoding="utf-8")
    return python


def examine(name: str, python: Path, workers: str) -> Row:
    """Tests and baselines in one environment; their output goes to the terminal."""
    started = time.perf_counter()
    versions = json.loads(subprocess.run([python, "-c", _VERSIONS], check=True, capture_output=True).stdout)
    print(f"== {name}: Python, torch, transformers, lmms-eval {', '.join(versions)}", flush=True)
    failed, out = run(
        python,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-n",
        workers,
        "--dist",
        "worksteal",
        "-m",
        CHOSEN,
        *TESTS,
    )
    counts = re.findall(r"^(.*(?:passed|failed|errors?)\b.*?) in [\d.]+s", out, re.M)
    tests = counts[-1].strip("= ") if counts else "nothing ran"
    differs, out = run(python, "-m", "tools.mini.reference", "--check")
    unequal = re.findall(r"^\w+: \d+ difference\(s\)", out, re.M)
    equal = len(re.findall(r"^\w+: equal", out, re.M))
    reference = ", ".join(unequal) or ("failed" if differs else f"{equal} equal")
    passed = not failed and not differs
    return Row(name, versions, tests, reference, time.perf_counter() - started, passed)


def run(*command: object) -> tuple[int, str]:
    """Exit status and standard output of a command, which is shown too."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    return done.returncode, done.stdout


def page(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    head = ["", "Python", "torch", "transformers", "lmms-eval", "tests", "baselines", "minutes"]
    cells = [[row.name, *row.versions, row.tests, row.reference, f"{row.seconds / 60:.1f}"] for row in rows]
    ranges = ", ".join(f"{one.name} {tested(one)}" for one in requirements() if one.name in VARIED)
    return (
        f"# Tested versions\n\nSupported: {ranges}. Written by `make matrix`: the golden cases, the tests of "
        "the core and of the runner, and the regression baselines of the embedded model, of which not one "
        "answer or retained "
        f"token may differ.\n\n{tabulate(cells, head, tablefmt='pipe', disable_numparse=True)}\n"
    )


def main() -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Tests with the oldest and the newest supported versions.")
    parser.add_argument("--only", nargs="*", default=["oldest", "newest"], choices=["oldest", "newest"])
    parser.add_argument("--workers", default="2", help="of pytest (2)")
    parser.add_argument("--place", type=Path, default=PLACE, help=f"of the environments ({PLACE})")
    parser.add_argument("--out", type=Path, default=PAGE, help=f"the table ({PAGE}), if all of them ran")
    options = parser.parse_args()
    wanted = environments([one for one in requirements() if one.name in VARIED])
    rows = []
    for name in options.only:
        python = make(options.place.absolute() / name, python_of(name), wanted[name])
        rows.append(examine(name, python, options.workers))
    print(page(rows))
    if len(rows) == len(wanted):
        write_atomically(options.out, page(rows))
    return 0 if all(row.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
