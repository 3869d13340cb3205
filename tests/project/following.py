"""Follows the steps of a section of CONTRIBUTING in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CONTRACT = "tests/core/contract.py"


def steps(title):
    """The blocks of a section's example by the file that they belong to."""
    text = TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]
    step = r"\*\*\d\.\*\*.*?`((?:pdrop_eval|conf|tests)/[\w/.]+)`.*?\n\n```\w+\n(.*?)\n```"
    found = re.findall(step, text, re.S)
    return {path: block + "\n" for path, block in found}


def project_with(folder, sections):
    """Copy the project to a folder, and add what sections have.

    Args:
        folder: an empty one.
        sections: by the list of the contract that gets a line, the title of the section.
    """
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in ("pdrop_eval", "conf", "tasks", "tests/core", "tests/runner"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in ("conftest.py", "composing.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    for entries, title in sections.items():
        blocks = steps(title)
        assert len(blocks) == 3
        add_line(folder / CONTRACT, blocks.pop(CONTRACT), entries)
        for path, text in blocks.items():
            (folder / path).write_text(text, encoding="utf-8")
    return folder


def add_line(contract, line, entries):
    """Puts the entry at the head of a list of the contract."""
    before, start, after = contract.read_text(encoding="utf-8").partition(f"\n{entries} = [\n")
    assert start
    assert line.count("\n") == 1
    contract.write_text(before + start + "    " + line + after, encoding="utf-8")


def run(project, *command):
    """What a Python command prints in the copy."""
    paths = [project, project / "tests" / "runner"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, *command]
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
