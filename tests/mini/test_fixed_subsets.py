"""Fixed subsets of the rendered suite: their questions' hashes stay what the file says, on every machine."""

import json

import pytest

from pdrop_eval.benchmarks.rendered import suite
from pdrop_eval.benchmarks.rendered.asked import TASKS
from pdrop_eval.benchmarks.subset import SUBSETS, choose
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.utils.paths import TASKS as FOLDER

LISTED = json.loads((FOLDER / "rendered" / "subsets.json").read_text())


@pytest.mark.thin(3)
@pytest.mark.parametrize("task", TASKS)
def test_the_questions_of_a_subset_are_those_that_are_listed(task):
    rows = [row for _, _, row in suite.render(task)]
    found = {name: choose(describe(task, "rendered"), name, rows) for name in SUBSETS}
    assert {name: one.ids_sha256 for name, one in found.items()} == LISTED[task]
    assert {name: len(one.places) for name, one in found.items()} == {"ci16": 16, "ci64": 64, "ci256": 240}


def test_all_tasks_are_listed():
    assert set(LISTED) == set(TASKS)
