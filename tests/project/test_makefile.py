"""The Makefile: makes the environment once, mends a half-made one, and passes failures on.

A stand-in for Python records what it is asked to do, so nothing is downloaded.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")

PARALLEL = "-n logical --maxprocesses 8 --dist worksteal"
FAST, SLOW = "-m not (slow or browser or release)", "-m (slow or browser or release) and not whole"

# Makes what `python -m venv` and `pip install uv` would make: an environment whose tools log their arguments.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "$LOG"
case "$1 $2" in
  "-c "*) exit "${OLD:-0}" ;;
  "--version "*) echo Python 3.8.1 ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") for tool in uv ruff mypy pdrop-eval pdrop-eval-tables pdrop-eval-figures pdrop-eval-bench \\
      pdrop-eval-calibrate pdrop-eval-sweep; do
      cp "$0" "$(dirname "$0")/$tool"; done ;;
  "-m pytest") exit "${FAIL:-0}" ;;
  "pip install") exit "${FAIL_INSTALL:-0}" ;;
esac
exit 0
"""


@pytest.fixture
def make(tmp_path, make_environment):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / "stand-in"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    log = tmp_path / "log"

    def run(*arguments, **environment):
        log.write_text("")
        env = {**make_environment, "LOG": str(log), **environment}
        command = ["make", f"PYTHON={python}", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done, log.read_text().splitlines()

    return run


def test_make_alone_shows_every_target(make):
    done, asked = make()
    assert done.returncode == 0
    for target in ("setup", "check", "test", "eval", "tables", "train-mini", "suite", "clean"):
        assert f"make {target} " in done.stdout
    assert asked == []


def test_the_list_of_targets_fits_80_columns_and_has_the_maintainers_last(make):
    done, _ = make()
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("  make ") and len(line) > 80] == []
    (start,) = [number for number, line in enumerate(lines) if line.startswith("For maintainers")]
    maintained = {line.split()[1] for line in lines[start:] if line.startswith("  make ")}
    assert {"readme", "flops", "bench", "goals", "coverage", "reference"} <= maintained
    assert maintained & {"eval", "tables", "figures", "show", "page", "compare", "test", "check"} == set()


def test_the_readme_target_draws_and_writes_into_the_committed_folders(make):
    _, asked = make("readme")
    assert asked[-2:] == [
        "pdrop-eval-figures out=results/figures",
        "pdrop-eval-tables out=results/tables readme=README.md page=results/README.md",
    ]


def test_eval_makes_the_environment_once(make):
    done, asked = make("eval", "STRATEGY=fastv")
    assert done.returncode == 0, done.stderr
    assert asked[-1] == "pdrop-eval strategy=fastv model=mini576 suite=mini"
    install = "uv pip install --quiet --compile-bytecode --python .venv/bin/python"
    assert f"{install} -c constraints.txt -e .[dev,train]" in asked
    _, again = make("eval", "STRATEGY=fastv")
    assert again == ["pdrop-eval strategy=fastv model=mini576 suite=mini"]


def test_eval_passes_its_settings_on(make):
    _, asked = make("eval", "STRATEGY=pdrop", "MODEL=m", "SUITE=s", "LIMIT=8", "BATCH_SIZE=2", "ARGS=a=1 b=2")
    assert asked[-1] == "pdrop-eval strategy=pdrop model=m suite=s limit=8 batch_size=2 a=1 b=2"


def test_several_strategies_are_a_sweep(make):
    _, asked = make("eval", "STRATEGY=vanilla,fastv")
    assert asked[-1] == "pdrop-eval -m strategy=vanilla,fastv model=mini576 suite=mini"


def test_calibrate_takes_vtw_unless_another_strategy_is_named(make):
    _, asked = make("calibrate", "LIMIT=4", "ARGS=eta=1")
    assert asked[-1] == "pdrop-eval-calibrate strategy=vtw model=mini576 suite=mini limit=4 eta=1"
    _, asked = make("calibrate", "STRATEGY=fitprune", "MODEL=m")
    assert asked[-1] == "pdrop-eval-calibrate strategy=fitprune model=m suite=mini"


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("family", "python -m tools.mini.family a=1"),
        ("family-cards", "python -m tools.mini.cards.member_card a=1"),
        ("findings", "python -m pdrop_eval.report.findings.page a=1"),
        ("readme", "pdrop-eval-tables out=results/tables readme=README.md page=results/README.md a=1"),
        ("shelf", "pdrop-eval-tables table=shelf root=results/shelf out=results/tables readme=README.md"),
        ("bench-train", "python -m tools.speed.training a=1"),
        ("flops", "python -m tools.speed.prefill.flops a=1"),
        ("goals", "python -m tools.speed.prefill.goals a=1"),
        ("choosing", "python -m tools.speed.prefill.choosing a=1"),
        ("prefix-speed", "python -m tools.speed.answering.prefix a=1"),
        ("scaling", "python -m tools.speed.prefill.scaling a=1"),
        ("startup", "python -m tools.speed.answering.startup a=1"),
        ("decode-speed", "python -m tools.speed.prefill.decode a=1"),
        ("figures", "pdrop-eval-figures a=1"),
        ("reference", "python -m tools.mini.reference a=1"),
        ("matrix", "python -m tools.release.matrix a=1"),
        ("gain", "pdrop-eval-bench model=mini576 budget.tokens=64 batch_sizes=[1] a=1"),
    ],
)
def test_whatever_is_measured_is_one_command(make, target, command):
    done, asked = make(target, "ARGS=a=1")
    assert done.returncode == 0, done.stderr
    assert asked[-1] == command


@pytest.mark.parametrize(
    ("target", "run", "shown"),
    [
        ("shelf", "pdrop-eval experiment=shelf limit=8",
         "pdrop-eval-tables table=shelf root=mine out=results/tables readme=README.md"),
        ("qwen", "pdrop-eval experiment=qwen limit=8",
         "pdrop-eval-tables table=qwen root=mine out=results/tables"),
        ("budgets", "pdrop-eval experiment=rank limit=8",
         "pdrop-eval-tables table=budgets root=mine out=results/tables readme=README.md"),
        ("rank", "pdrop-eval experiment=rank limit=8", "python -m tools.mini.rank --root mine"),
        ("bench", "", "python -m tools.speed.prefill.bench_page --records mine"),
    ],
)  # fmt: skip
def test_what_is_run_is_shown_from_the_same_records(make, target, run, shown):
    asked = make(target, "LIMIT=8", "ARGS=tasks=[gqa] results=mine")[1]
    ran = asked[asked.index(shown) - 1]
    assert ran.startswith(run)
    assert ran.endswith(" tasks=[gqa] results=mine")


def test_the_order_of_strategies_gets_into_the_card_of_the_model_that_was_compared(make):
    done, asked = make("rank")
    assert done.returncode == 0, done.stderr
    assert asked[-2] == "python -m tools.mini.rank --root results/rank"
    card = "pdrop_eval/models/checkpoints/mini576"
    assert asked[-1] == f"python -m tools.mini.cards.member_card --written {card}"


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_new_requirements_are_installed(make, tmp_path, changed):
    make("setup")
    later = (tmp_path / ".venv" / ".pdrop-eval-installed").stat().st_mtime + 10
    os.utime(tmp_path / changed, (later, later))
    _, asked = make("test")
    assert any(line.startswith("uv pip install") for line in asked)


def test_an_environment_that_was_left_half_made_is_finished(make):
    done, _ = make("test", FAIL_INSTALL="1")
    assert done.returncode != 0
    done, asked = make("test")
    assert done.returncode == 0
    assert any(line.startswith("uv pip install") for line in asked)
    assert asked[-1] == f"python -m pytest {PARALLEL} {FAST}"


def test_the_environment_can_be_elsewhere(make, tmp_path):
    _, asked = make("test", "VENV=other")
    assert (tmp_path / "other" / "bin" / "python").is_file()
    assert not (tmp_path / ".venv").exists()
    assert asked[-1] == f"python -m pytest {PARALLEL} {FAST}"


def test_an_old_python_is_refused_with_the_fix(make, tmp_path):
    done, _ = make("setup", OLD="1")
    assert done.returncode != 0
    assert "needs Python 3.10 or newer" in done.stderr
    assert "make setup PYTHON=python3.11" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_failing_tests_fail_the_target(make):
    done, asked = make("test", FAIL="1")
    assert asked[-1] == f"python -m pytest {PARALLEL} {FAST}"
    assert done.returncode != 0


def test_some_tests_alone_and_in_one_process(make):
    _, asked = make("test", "ARGS=tests/core -k pdrop", "WORKERS=0")
    assert asked[-1] == f"python -m pytest -n 0 --maxprocesses 8 --dist worksteal {FAST} tests/core -k pdrop"


def test_slow_tests_are_all_that_the_fast_run_leaves_out(make):
    assert make("test-slow", "ARGS=-x")[1][-1] == f"python -m pytest {PARALLEL} {SLOW} -x"
    assert make("test-all", "ARGS=-x")[1][-1] == f"python -m pytest {PARALLEL} -x"


def test_goldens_are_those_of_the_repository_or_of_a_folder(make):
    command = f"python -m pytest {PARALLEL} tests/golden --golden-dir"
    assert make("goldens")[1][-1].strip() == f"{command} tests/golden/cases"
    assert make("goldens", "GOLDENS=mine", "ARGS=-x")[1][-1] == f"{command} mine -x"


def test_check_only_looks(make):
    _, asked = make("check")
    assert asked[-3:] == ["ruff check .", "ruff format --check .", "mypy "]
