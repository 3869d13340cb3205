"""The matrix of versions: what it installs, and what it makes of what came out."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("matrix", ROOT / "tools" / "release" / "matrix.py")
matrix = importlib.util.module_from_spec(SPEC)
sys.modules["matrix"] = matrix
SPEC.loader.exec_module(matrix)


@pytest.mark.parametrize(
    ("needed", "lowest"),
    [
        ("transformers>=5.0,<5.25", "transformers==5.0.0"),
        ("torch>=2.9,<2.16", "torch==2.9.0"),
        ("transformers<5.24,>=5.20.1", "transformers==5.20.1"),
        ("lmms-eval==0.7.3", "lmms-eval==0.7.3"),
        ("lmms-eval>=0.7,<0.8", "lmms-eval==0.7.0"),
    ],
)
def test_the_oldest_is_the_lower_bound(needed, lowest):
    assert matrix.lowest(Requirement(needed)) == lowest


def test_an_environment_varies_what_answers_come_from_and_pins_the_rest():
    needed = [Requirement("transformers>=5.20,<5.24"), Requirement("lmms-eval==0.7.3")]
    assert matrix.environments(needed) == {
        "oldest": ["transformers==5.20.0", "lmms-eval==0.7.3"],
        "newest": ["transformers<5.24,>=5.20", "lmms-eval==0.7.3"],
    }
    followed = "nvidia-nccl-cu13==2.29.7\ncuda-toolkit==13.0.3.0\ntriton==3.7.1 ; x < '1'\n"
    pinned = f"torch==2.13.0\n{followed}transformers==5.23.0 ; x < '1'\nlmms-eval==0.7.3\n"
    assert matrix.unpinned(f"{pinned}transformers-stream-generator==0.0.5\n") == (
        "transformers-stream-generator==0.0.5\n"
    )


@pytest.fixture
def examine(monkeypatch):
    """The row for what pytest and the baselines print."""

    def row(tests, baselines, status=(0, 0)):
        answers = iter(zip(status, (tests, baselines), strict=True))
        monkeypatch.setattr(matrix, "run", lambda *command: next(answers))
        done = subprocess.CompletedProcess([], 0, stdout='["3.11.7", "2.13.0", "5.20.0", "0.7.3"]')
        monkeypatch.setattr(matrix.subprocess, "run", lambda *_, **__: done)
        return matrix.examine("oldest", Path("python"), "2")

    return row


EQUAL = "mini_pdrop: equal; transformers 5.23.0 -> 5.20.0\nmini_fastv: equal\n"


@pytest.mark.parametrize(
    ("tests", "baselines", "status", "said"),
    [
        ("...\n812 passed in 61.20s (0:01:01)\n", EQUAL, (0, 0), ("812 passed", "2 equal")),
        ("812 passed, 3 skipped in 61.20s\n", EQUAL, (0, 0), ("812 passed, 3 skipped", "2 equal")),
        ("FAILED x\n1 failed, 811 passed in 9s\n", EQUAL, (1, 0), ("1 failed, 811 passed", "2 equal")),
        ("2 errors in 1.02s\n", EQUAL, (2, 0), ("2 errors", "2 equal")),
        ("", EQUAL, (4, 0), ("nothing ran", "2 equal")),
        ("9 passed in 9.1s\n", "", (0, 2), ("9 passed", "failed")),
        (
            "9 passed in 9.1s\n",
            "mini_pdrop: 2 difference(s)\n  gqa question 0: answer 'a' -> 'b'\nmini_fastv: equal\n",
            (0, 1),
            ("9 passed", "mini_pdrop: 2 difference(s)"),
        ),
    ],
)
def test_a_row_passes_only_if_tests_and_baselines_did(examine, tests, baselines, status, said):
    row = examine(tests, baselines, status)
    assert (row.tests, row.reference) == said
    assert row.passed is (status == (0, 0))


def test_the_page_shows_versions_and_outcomes(examine):
    text = matrix.page([examine("812 passed in 61.20s\n", EQUAL)])
    assert text.startswith("# Tested versions\n")
    assert "transformers >=5.0,<5.25" in text
    assert "torch >=2.9,<2.16" in text
    assert "| oldest | 3.11.7   | 2.13.0  | 5.20.0         | 0.7.3       | 812 passed | 2 equal" in text
