"""What must never be in the repository: huge files, machine paths, package addresses."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 15_000_000
# Written in pieces, so that this file passes its own test.
FORBIDDEN = {
    "a machine path": r"(?:^|[\s\"'=(`:])/(?:home|root|Users|work|farm)/\w",
    "a file outside of the project": r"\.\./shar" + "ed",
    "a package address": r"ind" + r"ex-url\b|pyp" + r"i\.org|pythonhos" + r"ted|https?://\S+/simp" + r"le\b",
    "a package file": r"https?://\S+\.wh" + r"l\b",
}


def tracked():
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


FILES = tracked()
pytestmark = pytest.mark.skipif(not FILES, reason="not a git checkout")


def test_no_two_test_files_have_one_name():
    """Pytest takes them for one module, and then refuses to run them together."""
    names = [path.name for path in FILES if path.name.startswith("test_") and path.suffix == ".py"]
    assert sorted(names) == sorted(set(names))


def test_no_file_is_over_15_mb():
    assert [str(path) for path in FILES if path.stat().st_size > LIMIT_BYTES] == []


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what):
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = []
    for path in FILES:
        content = path.read_bytes()
        if b"\0" not in content[:8000]:
            match = pattern.search(content.decode("utf-8", errors="replace"))
            found += [f"{path.relative_to(ROOT)}: {match[0].strip()}"] if match else []
    assert found == []


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("a machine path", "data: /ho" + "me/ann/data"),
        ("a file outside of the project", "see ../shar" + "ed/x"),
        ("a package address", "--extra-ind" + "ex-url=x"),
        ("a package address", "https://files.pythonhos" + "ted.org/x"),
        ("a package file", "https://example.com/torch-2.13.wh" + "l"),
    ],
)
def test_the_patterns_find_what_they_are_for(what, text):
    assert re.search(FORBIDDEN[what], text)
