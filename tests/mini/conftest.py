"""Many tests look at the rendered suite: a process renders a task for them once, and keeps it compressed."""

import pickle
import zlib

import pytest

from pdrop_eval.benchmarks.rendered import suite
from tools.mini import answer


@pytest.fixture(scope="session", autouse=True)
def _rendered_once():
    """`render` from here on; each call gives pictures of its own, so that no test can change another's."""
    kept: dict[str, bytes] = {}
    original = suite.render

    def render(task, number=suite.QUESTIONS):
        if number != suite.QUESTIONS and task not in kept:
            return original(task, number)
        if task not in kept:
            kept[task] = zlib.compress(pickle.dumps(original(task)), 1)
        return pickle.loads(zlib.decompress(kept[task]))[:number]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "render", render)
        patch.setattr(answer, "render", render)
        yield
