"""The three steps of CONTRIBUTING add a strategy: followed to the letter in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    (ROOT / "CONTRIBUTING.md")
    .read_text(encoding="utf-8")
    .partition("## Add a strategy")[2]
    .partition("\n## ")[0]
)
CONTRACT = "tests/core/contract.py"

# Evaluates the new strategy on a random model of 4 layers and 16 image tokens, then makes the table.
EVALUATE = """
import sys
from pathlib import Path

import runner_tiny

runner_tiny.checkpoint(Path("tiny"), layers=4)
runner_tiny.suite(Path("data"), n=2, tasks=("gqa",))
sys.argv[1:] = ["strategy=uniform", "tasks=[gqa]", "model.pretrained=tiny", "data.root=data", "results=runs"]
from pdrop_eval.run.evaluate.cli import main

main()
sys.argv[1:] = ["root=runs", "out=tables", "table=5"]
from pdrop_eval.report.tables.cli import main

main()
"""


def steps():
    """The blocks of the example by the file that they belong to."""
    found = re.findall(r"`([\w/.]+)`[^`]*\n\n```\w+\n(.*?)\n```", STEPS, re.S)
    return {path: block + "\n" for path, block in found}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the strategy added."""
    folder = tmp_path_factory.mktemp("project")
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("pdrop_eval", "conf", "tasks", "tests/core", "tests/runner"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    blocks = steps()
    assert len(blocks) == 3
    line = blocks.pop(CONTRACT)
    for path, text in blocks.items():
        (folder / path).write_text(text, encoding="utf-8")
    add_line(folder / CONTRACT, line)
    return folder


def add_line(contract, line):
    """Puts the entry at the head of the contract's list of strategies."""
    before, start, after = contract.read_text(encoding="utf-8").partition("STRATEGIES = [\n")
    assert start
    assert line.count("\n") == 1
    contract.write_text(before + start + "    " + line + after, encoding="utf-8")


def run(project, *command):
    paths = [project, project / "tests" / "runner"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_contract_runs_on_the_new_strategy(project):
    some = "uniform and (llava_gqa or bare_llama)"  # all families take half a minute
    out = run(project, "-m", "pytest", "tests/core", "-k", some, "-p", "no:cacheprovider")
    assert int(re.search(r"(\d+) passed", out)[1]) >= 10


def test_the_runner_and_the_table_know_the_new_strategy(project):
    out = run(project, "-c", EVALUATE)
    (path,) = (project / "runs" / "mini").glob("uniform-*/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["status"] == "completed"
    assert record["efficiency"]["image_tokens_per_layer"] == [16, 16, 8, 8]
    assert record["tasks"]["gqa"]["retained_tokens_per_layer"] == [16, 16, 8, 8]
    assert re.search(r"^uniform", out, re.M)
    assert "| uniform" in (project / "tables" / "table5.md").read_text(encoding="utf-8")


def test_the_new_code_is_as_clean_as_the_rest(project):
    files = [path for path in steps() if path.startswith("pdrop_eval/")]
    run(project, "-m", "ruff", "check", "--no-cache", *files)
    run(project, "-m", "ruff", "format", "--no-cache", "--check", *files)
