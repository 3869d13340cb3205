"""The core's tests run on one thread: the models are tiny, and results then don't depend on the machine."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread):
    """Every test here."""
