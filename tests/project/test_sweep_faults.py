"""What the fault injection into sweeps counts as lost."""

import json

import pytest

from pdrop_eval.records.journal import Journal
from tools.robustness import sweep_disturbed, sweep_equal, sweep_faults
from tools.robustness.compared import differences

RUN = "mini/fastv-0123456789"


@pytest.fixture
def results(tmp_path):
    """A run with a finished task, and one whose two answers are in a journal."""
    folder = tmp_path / RUN
    folder.mkdir(parents=True)
    entry = {"n": 4, "usage": {"recalled": 0}, "wall_seconds": 1.0}
    (folder / "record.json").write_text(json.dumps({"tasks": {"gqa": entry}}))
    with Journal(folder, "pope", 7, {}) as journal:
        journal.keep({"a": {"answer": "yes"}, "b": {"answer": "no"}})
    return tmp_path


def disturbed(results, tally):
    """A sweep whose driver has ended long ago, killed after both tasks of `results` had been begun."""
    made = sweep_disturbed.Disturbed.__new__(sweep_disturbed.Disturbed)
    vars(made).update(_results=results, _tally=tally, _given={f"{RUN}/pope": {20.0}, f"{RUN}/gqa": {1.0}})
    finished = dict(sweep_disturbed.entries(results))
    kept = sweep_disturbed.kept_answers(results)
    made._seen = [sweep_disturbed.Seen(10.0, finished, kept)]
    return made


def finish(results, recalled, again=False):
    path = results / RUN / "record.json"
    record = json.loads(path.read_text())
    record["tasks"]["pope"] = {"n": 4, "usage": {"recalled": recalled}, "wall_seconds": 1.0}
    if again:
        record["tasks"]["gqa"]["wall_seconds"] = 2.0
    path.write_text(json.dumps(record))


def test_answers_in_a_journal_must_be_recalled_and_finished_cells_stay(results):
    tally = sweep_disturbed.Tally()
    sweep = disturbed(results, tally)
    assert sweep._seen[0].kept == {f"{RUN}/pope": 2}
    finish(results, recalled=2)
    sweep._check_seen()
    assert (tally.wrong, tally.finished, tally.again) == ([], 1, 0)
    assert (tally.cut, tally.kept, tally.asked_again) == (1, 2, 0)


def test_what_was_asked_or_computed_again_is_wrong(results):
    tally = sweep_disturbed.Tally()
    sweep = disturbed(results, tally)
    finish(results, recalled=0, again=True)
    sweep._check_seen()
    assert (tally.again, tally.asked_again) == (1, 2)
    assert [words.partition(": ")[2] for words in tally.wrong] == [
        f"computed again: {RUN}/gqa", f"2 answers of {RUN}/pope were asked again",
    ]  # fmt: skip


def test_a_file_that_only_one_folder_has_is_a_difference():
    assert differences({"a": "1", "b": "2"}, {"a": "1", "c": "2"}) == ["b", "c"]


def test_the_page_says_what_was_killed_and_what_was_wrong(monkeypatch):
    code = {"version": "1", "commit": "0" * 40, "dirty": False}
    monkeypatch.setattr("pdrop_eval.utils.code.provenance.code_identity", lambda: code)
    tally = sweep_disturbed.Tally(kills=["worker", "node", "worker"], sweeps=2, wrong=["sweep-1: hangs"])
    page = sweep_faults.page(tally, 1)
    assert "**3 kills in 2 sweeps, 1 results lost or wrong**" in page
    assert "| worker | 2 |" in page
    assert "- WRONG: sweep-1: hangs" in page


def write_run(folder, seconds=1.0, score=50.0, sample="yes"):
    """A finished run beneath a folder of results."""
    run = folder / RUN
    (run / "samples").mkdir(parents=True)
    task = {"n": 4, "score": score, "usage": {}, "wall_seconds": seconds}
    record = {
        "created": str(folder),
        "command": "",
        "config": {"results": str(folder)},
        "tasks": {"gqa": task},
    }
    (run / "record.json").write_text(json.dumps(record))
    (run / "samples" / "gqa.jsonl").write_text(sample)
    return folder


def test_two_engines_may_differ_in_time_and_place_alone(tmp_path):
    one = write_run(tmp_path / "local")
    same = sweep_equal.compare(one, write_run(tmp_path / "ray", seconds=2.0))
    assert (same.cells, same.runs, same.files, same.differ) == (1, 1, {"record": 1, "samples": 1}, [])
    assert same.fields == {"created": 1, "config.results": 1, "wall_seconds": 1}
    other = sweep_equal.compare(one, write_run(tmp_path / "other", score=51.0, sample="no"))
    assert other.differ == [f"{RUN}/record.json", f"{RUN}/samples/gqa.jsonl"]
    assert sweep_equal.compare(one, tmp_path / "none").differ == other.differ
