"""What the project's tests share."""

import os
import re
from pathlib import Path

import pytest

MAKEFILE = (Path(__file__).resolve().parents[2] / "Makefile").read_text(encoding="utf-8")


@pytest.fixture
def make_environment():
    """The environment without what an outer `make test NAME=value` hands down to a make inside of it."""
    settings = re.findall(r"^([A-Z_]+) \?=", MAKEFILE, re.M)
    handed_down = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", *settings}
    return {key: value for key, value in os.environ.items() if key not in handed_down}
