"""The constraints file: exact, without addresses, and in agreement with what pyproject.toml asks for."""

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()


def pins(python):
    """Name to version for one Python on Linux."""
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    requirements = [Requirement(line) for line in LINES]
    applying = [r for r in requirements if r.marker is None or r.marker.evaluate(environment)]
    names = [canonicalize_name(r.name) for r in applying]
    assert len(names) == len(set(names)), "two pins apply at once"
    return {name: str(r.specifier) for name, r in zip(names, applying, strict=True)}


def test_every_line_is_an_exact_version_without_an_address():
    exact = re.compile(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*( ; .+)?")
    assert [line for line in LINES if not exact.fullmatch(line)] == []


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_every_direct_dependency_is_pinned_within_its_range(python):
    pinned = pins(python)
    wanted = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["train"]]
    for requirement in map(Requirement, wanted):
        version = pinned[canonicalize_name(requirement.name)].removeprefix("==")
        assert requirement.specifier.contains(version), f"{requirement} but {version}"


def test_the_classifiers_claim_the_pythons_that_are_pinned_and_no_other():
    claimed = [c.rsplit(" ", 1)[1] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert claimed == ["3.10", "3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == ">=3.10"
