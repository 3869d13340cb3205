"""Results folders of several machines as one: what is alike joins, what differs is named, nothing is half."""

import json
from types import SimpleNamespace

import pytest
import shelf_records as made
from report_records import edit

from pdrop_eval.records.rows.left_out import LeftOut, note_left_out, read_left_out
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.samples import checksum
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.report.share import merging
from pdrop_eval.report.share.merge import merge_text
from pdrop_eval.report.share.merging import merge
from pdrop_eval.utils.errors import UserError


@pytest.fixture
def roots(tmp_path):
    """Two machines: both have vanilla, each a part of FastV, the second PDrop."""
    one, two = tmp_path / "A", tmp_path / "B"
    for root, key in ((one, "gqa"), (two, "textvqa")):
        made.add(root, "vanilla", 80)
        made.add(root, "fastv", 70, 48, budget={"tokens": 48}, keys=(key,))
    made.add(two, "pdrop", 60, 48, budget={"tokens": 48})
    return one, two, tmp_path / "C"


def files(root):
    paths = [path for path in root.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def change_samples(run, task, change):
    """Edits a file of samples as a run would have written it: with its checksum."""
    path = run.folder / "samples" / f"{task}.jsonl"
    samples = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    change(samples)
    text = "".join(json.dumps(sample) + "\n" for sample in samples)
    path.write_text(text, "utf-8")
    edit(run, lambda record: record["tasks"][task].update(samples_sha256=checksum(text.encode())))


def test_runs_and_tasks_of_both_are_there_and_the_sources_stay(roots):
    one, two, into = roots
    before = files(one), files(two)
    text = merge_text([one, two], into)
    assert "3 runs with 6 finished tasks; 3 runs written, 2 tasks found more than once and alike." in text
    found = {run.strategy: run for run in to_runs(load_records(into))}
    assert {name: sorted(run.results) for name, run in found.items()} == {
        name: ["gqa", "textvqa"] for name in ("vanilla", "fastv", "pdrop")
    }
    for record in load_records(into):
        for task in record["tasks"]:
            assert len(load_samples(into / "mini576" / record["run_id"], task)) == made.N
    (resumed,) = found["fastv"].record["resumed"]
    assert (resumed["merged"], resumed["code"]["version"]) == (["textvqa_val"], "0.1.0")
    assert (files(one), files(two)) == before


def test_again_changes_nothing_and_later_runs_join(roots):
    one, two, into = roots
    merge([one, two], into)
    before = files(into)
    again = merge([one, two], into)
    assert (again.written, again.tasks) == (0, 6)
    assert files(into) == before
    made.add(one, "dart", 50, 48, budget={"tokens": 48})
    assert merge([one], into).written == 1


def test_the_time_that_a_task_took_may_differ(roots):
    one, two, into = roots
    run = made.add(two, "dart", 50, 48, budget={"tokens": 48})
    made.add(one, "dart", 50, 48, budget={"tokens": 48})
    edit(run, lambda record: record["tasks"]["gqa"].update(wall_seconds=3.5, batch_size=32))
    assert merge([one, two], into).same == 4


def test_one_record_may_keep_what_samples_add_up_to_and_the_other_not(roots):
    one, two, into = roots
    made.add(one, "dart", 50, 48, budget={"tokens": 48}, tally=True)
    made.add(two, "dart", 50, 48, budget={"tokens": 48})
    assert merge([one, two], into).same == 4


def test_what_differs_is_named_with_both_records_and_nothing_is_written(roots):
    one, two, into = roots
    made.add(one, "dart", 50, 48, budget={"tokens": 48})
    run = made.add(two, "dart", 50, 48, budget={"tokens": 48})
    change_samples(run, "gqa", lambda samples: samples[7].update(answer="maybe"))
    with pytest.raises(UserError) as caught:
        merge([one, two], into)
    said = str(caught.value)
    assert "Nothing was merged" in said
    assert f"gqa: {one}/mini576/{run.folder.name} and {run.folder}: 1 of 100 answers differ" in said
    assert "the first of doc_id 7 in answers 'yes' and 'maybe'" in said
    assert not into.exists()


def test_another_score_is_told_with_both_values(roots):
    one, two, into = roots
    run = made.add(two, "dart", 50, 48, budget={"tokens": 48})
    made.add(one, "dart", 50, 48, budget={"tokens": 48})
    edit(run, lambda record: record["tasks"]["gqa"].update(score=51.0))
    with pytest.raises(UserError, match=r"score 50\.0 and 51\.0"):
        merge([one, two], into)


def test_a_judged_task_takes_the_place_of_one_that_waits(roots):
    one, two, into = roots
    waiting = made.add(one, "dart", 50, 48, budget={"tokens": 48})
    judged = made.add(two, "dart", 50, 48, budget={"tokens": 48})
    change_samples(waiting, "gqa", lambda samples: [sample.update(score=None) for sample in samples])
    edit(waiting, lambda record: record["tasks"]["gqa"].update(
        status="needs_judge", score=None, predictions="predictions/gqa.json"))  # fmt: skip
    (waiting.folder / "predictions").mkdir()
    (waiting.folder / "predictions" / "gqa.json").write_text("{}")
    merge([one, two], into)
    record = json.loads((into / "mini576" / judged.folder.name / "record.json").read_text("utf-8"))
    assert (record["tasks"]["gqa"]["status"], record["tasks"]["gqa"]["score"]) == ("scored", 50.0)


def _only(root, strategy):
    (folder,) = root.glob(f"*/{strategy}-*")
    return SimpleNamespace(folder=folder)


@pytest.mark.parametrize("which", [0, 1])
def test_a_file_that_is_not_what_its_record_vouches_for_is_refused(roots, which):
    path = next(roots[which].glob("*/vanilla-*")) / "samples" / "gqa.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"yes"', b'"yea"', 1))
    with pytest.raises(UserError, match=f"{path} is not what was written with its record"):
        merge(roots[:2], roots[2])
    path.unlink()
    with pytest.raises(UserError, match=f"{path} can't be read"):
        merge(roots[:2], roots[2])
    assert not roots[2].exists()


def test_a_merge_that_is_cut_off_leaves_whole_runs_and_goes_on(roots, monkeypatch):
    one, two, into = roots
    write, count = merging.write_atomically, [0]

    def failing(path, content):
        count[0] += 1
        if count[0] == 5:  # in the second run, before its record
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(merging, "write_atomically", failing)
    with pytest.raises(KeyboardInterrupt):
        merge([one, two], into)
    there = load_records(into)
    assert len(there) == 1
    assert all(load_samples(into / "mini576" / r["run_id"], task) for r in there for task in r["tasks"])
    monkeypatch.setattr(merging, "write_atomically", write)
    assert merge([one, two], into).written == 2
    whole = into.parent / "whole"
    merge([one, two], whole)
    assert files(whole) == files(into)


def test_a_folder_without_records_is_refused_and_its_level_named(roots):
    one, _, into = roots
    (one.parent / "empty").mkdir()
    told = {
        one / "none": "none is no folder",
        one.parent / "empty": "no record",
        one / "mini576": "runs of one model",
    }
    for wrong, words in told.items():
        with pytest.raises(UserError, match=words):
            merge([wrong], into)
    with pytest.raises(UserError, match="It is a run"):
        merge([next(one.glob("mini576/*"))], into)


def test_an_edited_identity_is_refused(roots):
    one, two, into = roots
    edit(_only(two, "vanilla"), lambda record: record["identity"].update(name="other"))
    with pytest.raises(UserError, match="have different identities"):
        merge([one, two], into)


def test_reasons_of_what_could_not_be_run_come_along(roots):
    one, two, into = roots
    left = [LeftOut("mini576", "mini", name, (), "why") for name in ("hired", "dart")]
    note_left_out(one, left[:1], [])
    note_left_out(two, left, [])
    merge([one, two], into)
    assert read_left_out(into) == sorted(left, key=lambda entry: entry.run)


def test_public_records_name_no_folder_and_no_secret(roots):
    one, _, into = roots
    edit(_only(one, "vanilla"), lambda record: record.update(
        command="pdrop-eval model.pretrained=/srv/me/llava judge.api_key=abcdefghij"))  # fmt: skip
    merge([one], into, public=True)
    text = "".join(path.read_text("utf-8") for path in into.rglob("record.json"))
    assert "/srv/me" not in text
    assert "abcdefghij" not in text
    assert merge([one], into, public=True).written == 0
