"""`make compare` passes its variables on, and says which of the three it was; make always leaves with 2."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make(tmp_path):
    """Runs `make compare` where the command is a stand-in that leaves with a status: what came of it."""
    names = re.findall(r"^([A-Z_]+) \?=", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    outer = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", *names}
    environment = {key: value for key, value in os.environ.items() if key not in outer}
    command = tmp_path / "bin" / "pdrop-eval-compare"
    command.parent.mkdir()
    command.write_text('#!/bin/sh\necho "$*"\nexit "$LEAVE"\n')
    command.chmod(0o755)
    (tmp_path / ".pdrop-eval-installed").touch()  # the environment is made already

    def run(status, *settings):
        return subprocess.run(
            ["make", f"VENV={tmp_path}", "compare", *settings],
            cwd=ROOT,
            env={**environment, "LEAVE": str(status)},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_its_variables_become_settings(make):
    done = make(0, "BASELINE=fastv", "CANDIDATE=a/b", "LIMIT=64", "ARGS=max_drop=3 gate=possible")
    assert done.returncode == 0
    assert done.stderr == ""
    expected = "baseline=fastv candidate=a/b model=mini576 suite=mini limit=64 max_drop=3 gate=possible"
    assert done.stdout.split() == expected.split()


@pytest.mark.parametrize(
    ("status", "words"), [(1, "regressed"), (2, "could not compare"), (137, "could not")]
)
def test_a_failure_is_told_from_what_could_not_be_compared(make, status, words):
    done = make(status)
    assert done.returncode == 2
    assert f"make compare: {words}" in done.stderr
    assert f"exit status {status} " in done.stderr
