"""The questions of a calibration: seeded, about pictures that no evaluation shows."""

import json
from itertools import islice

import pyarrow.parquet as pq
import pytest

from pdrop_eval.benchmarks.data.prepare import prepare_data
from pdrop_eval.benchmarks.rendered import calibration, suite
from pdrop_eval.benchmarks.rendered.asked import TASKS, asked
from pdrop_eval.run.config.spec import SuiteSpec

SOME = ("gqa", "mme", "pope", "docvqa_val")


@pytest.fixture
def two_tasks(monkeypatch):
    """The pictures of two tasks stand for all that are evaluated: to render those takes seconds."""
    shown = {calibration.pixels_sha256(p) for task in ("gqa", "pope") for p, _, _ in suite.render(task)}
    monkeypatch.setattr(calibration, "evaluated_pictures", lambda: frozenset(shown))
    return shown


@pytest.mark.slow
def test_no_picture_and_no_row_of_any_task_is_one_that_is_evaluated():
    seen = calibration.evaluated_pictures()
    assert len(seen) == 2800  # 240 questions a task: 120 pictures of two, 240 of one, 40 of POPE's six
    shown = {calibration.pixels_sha256(p) for task in SOME for p, _, _ in suite.render(task, 24)}
    assert shown < seen
    for task in TASKS:
        rendered = calibration.render_calibration(task, 12, seed=0)
        assert len(rendered) == 12
        assert not {calibration.pixels_sha256(picture) for picture, _, _ in rendered} & seen


@pytest.mark.parametrize("task", ["gqa", "pope"])
def test_a_tasks_calibration_shows_no_picture_of_its_evaluation(two_tasks, task):
    rendered = calibration.render_calibration(task, 240, seed=0)
    assert len(rendered) == 240
    assert not {calibration.pixels_sha256(picture) for picture, _, _ in rendered} & two_tasks


def test_a_picture_of_the_suite_is_left_out(monkeypatch):
    monkeypatch.setattr(calibration, "evaluated_pictures", frozenset)
    first = [calibration.pixels_sha256(p) for p, _, _ in calibration.render_calibration("gqa", 6, 3)]
    assert first[::2] == first[1::2]  # two questions a picture
    known = frozenset({first[2]})
    monkeypatch.setattr(calibration, "evaluated_pictures", lambda: known)
    second = [calibration.pixels_sha256(p) for p, _, _ in calibration.render_calibration("gqa", 4, 3)]
    assert second == [first[0], first[1], first[4], first[5]]


def test_the_seed_decides_which_questions_they_are(two_tasks):
    def hashes(seed, number=8):
        rows = calibration.render_calibration("pope", number, seed)
        return [suite.content_hash(picture, row) for picture, _, row in rows]

    assert hashes(0) == hashes(0)
    assert hashes(0)[:4] == hashes(0, 4)
    assert not {*hashes(0)} & {*hashes(1)}


def test_the_suites_own_questions_stay_what_they_were():
    ours = [question.prompt for _, question, _ in islice(asked("gqa"), 3)]
    assert ours == [question.prompt for _, question, _ in suite.render("gqa", 3)]


@pytest.mark.parametrize("number", [4])
def test_they_are_read_like_a_suite(two_tasks, tmp_path, number):
    folder = calibration.ensure_calibration(SOME, number, 0, tmp_path)
    assert calibration.ensure_calibration(SOME, number, 0, tmp_path) == folder
    assert calibration.ensure_calibration(SOME, number, 1, tmp_path) != folder
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {task: entry["rows"] for task, entry in manifest["tasks"].items()} == dict.fromkeys(SOME, number)
    assert pq.read_table(folder / "gqa.parquet").num_rows == number
    data = prepare_data(SuiteSpec("mini", "rendered", SOME), str(folder), SOME)
    assert data.identity == {}
    assert data.sha256 == {task: entry["sha256"] for task, entry in manifest["tasks"].items()}
