"""Answers are kept batch by batch: what is written, what is recalled, what a stopped run computes again."""

import errno
import json
import os
from pathlib import Path

import pytest
import runner_tiny as tiny

from pdrop_eval.records.journal import Journal, drop_journal
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.errors import UserError

SCOPE = {"identity": {"strategy": "pdrop"}, "data_sha256": "d"}


def journal(folder, scope=SCOPE, rank=0):
    return Journal(folder, "gqa", rank, scope)


def test_what_was_kept_is_recalled_by_another_process(tmp_path):
    with journal(tmp_path) as first:
        keys = [first.key({"doc_id": i}) for i in range(3)]
        first.keep({keys[0]: {"text": "a\nb\u2028\x00é"}, keys[1]: {"text": ""}})
    with journal(tmp_path) as second:
        assert second.recall(keys[:2]) == [{"text": "a\nb\u2028\x00é"}, {"text": ""}]
        assert second.recall(keys) is None
        assert second.recall([second.key({"doc_id": 1})]) == [{"text": ""}]


def test_processes_read_the_answers_of_all(tmp_path):
    with journal(tmp_path, rank=0) as zero, journal(tmp_path, rank=1) as one:
        key = one.key({"doc_id": 1})
        one.keep({key: {"text": "of one"}})
        zero.keep({zero.key({"doc_id": 0}): {"text": "of zero"}})
    with journal(tmp_path, rank=0) as later:
        assert later.recall([key]) == [{"text": "of one"}]
        assert len(later) == 2


def test_another_scope_or_question_recalls_nothing(tmp_path):
    with journal(tmp_path) as kept:
        kept.keep({kept.key({"doc_id": 1}): {"text": "a"}})
    with journal(tmp_path) as same:
        assert same.recall([same.key({"doc_id": 1})]) is not None
        assert same.recall([same.key({"doc_id": 2})]) is None
    with journal(tmp_path, {**SCOPE, "data_sha256": "e"}) as other:
        assert other.recall([other.key({"doc_id": 1})]) is None
        assert len(other) == 0  # so that nobody is told that the task goes on
        assert list(other.answers()) == []
    with journal(tmp_path) as same:
        assert len(same) == 1


@pytest.mark.parametrize("left", range(0, 200, 7))
def test_a_line_that_was_cut_off_is_as_if_it_were_not_there(tmp_path, left):
    with journal(tmp_path) as kept:
        keys = [kept.key({"doc_id": i}) for i in range(2)]
        kept.keep({keys[0]: {"text": "first"}})
        path = tmp_path / "journal" / "gqa.0.jsonl"
        size = path.stat().st_size
        kept.keep({keys[1]: {"text": "second"}})
    whole = path.read_bytes()
    path.write_bytes(whole[: min(size + left, len(whole) - 2)])  # at least the line's last character is gone
    with journal(tmp_path) as again:
        assert again.recall(keys[:1]) == [{"text": "first"}]
        assert again.recall(keys[1:]) is None
        again.keep({keys[1]: {"text": "third"}})  # not swallowed by what was cut off
    with journal(tmp_path) as last:
        assert last.recall(keys) == [{"text": "first"}, {"text": "third"}]


def test_a_damaged_line_is_not_believed(tmp_path):
    with journal(tmp_path) as kept:
        key = kept.key({"doc_id": 1})
        kept.keep({key: {"text": "right"}})
    path = tmp_path / "journal" / "gqa.0.jsonl"
    path.write_bytes(path.read_bytes().replace(b"right", b"wrong"))
    with journal(tmp_path) as again:
        assert again.recall([key]) is None


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path):
    with journal(tmp_path) as kept, open("/dev/full", "wb") as full:
        key = kept.key({"doc_id": 1})
        kept.keep({key: {"text": "a"}})
        os.dup2(full.fileno(), kept._file.fileno())
        with pytest.raises(UserError, match="the disk or the quota is full"):
            kept.keep({kept.key({"doc_id": 2}): {"text": "b"}})
    with journal(tmp_path) as again:
        assert again.recall([key]) == [{"text": "a"}]


def test_what_is_in_the_record_is_dropped(tmp_path):
    for task in ("gqa", "pope"):
        with Journal(tmp_path, task, 0, SCOPE):
            pass
    drop_journal(tmp_path, "gqa")
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["pope.0.jsonl"]
    drop_journal(tmp_path)
    assert list((tmp_path / "journal").iterdir()) == []


# Whole runs


class Killed(BaseException):
    """What ends a process without giving it the chance to clean up."""


def run(llava, data, results, *overrides):
    given = [
        f"model.pretrained={llava}", f"data.root={data}", f"results={results}", "tasks=[gqa]", "batch_size=2",
    ]  # fmt: skip
    with tiny.short_answers():
        return cli.evaluate(compose_spec([*given, *overrides]))


@pytest.fixture(scope="module")
def whole(llava, data, tmp_path_factory, lmms_eval):
    """A run that nothing stopped."""
    return run(llava, data, tmp_path_factory.mktemp("whole"))


def stop_after(monkeypatch, batches):
    """Ends the run when it is about to answer one batch more."""
    from pdrop_eval.run.lmms.model import PdropLlava

    answer, seen = PdropLlava._answer, []

    def counted(self, batch):
        if len(seen) == batches:
            raise Killed
        seen.append(len(batch))
        return answer(self, batch)

    monkeypatch.setattr(PdropLlava, "_answer", counted)
    return seen


@pytest.mark.usefixtures("lmms_eval")
def test_a_stopped_task_goes_on_where_it_was_and_ends_the_same(
    whole, llava, data, tmp_path, monkeypatch, capsys
):
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(Killed):
            run(llava, data, tmp_path / "stopped")
    [record] = load_records(tmp_path / "stopped")
    assert (record["status"], record["tasks"]) == ("started", {})
    with monkeypatch.context() as patch:
        computed = stop_after(patch, 99)
        after = run(llava, data, tmp_path / "stopped")
        assert computed == [2]  # of the three batches of two, the last
    assert "gqa resumes: 4 answers are already stored." in capsys.readouterr().err
    folders = [Path(record["folder"]) for record in (whole, after)]
    assert load_samples(folders[0], "gqa") == load_samples(folders[1], "gqa")
    entries = [record["tasks"]["gqa"] for record in (whole, after)]
    timed = {"wall_seconds", "usage"}
    assert {k: v for k, v in entries[0].items() if k not in timed} == {
        k: v for k, v in entries[1].items() if k not in timed
    }
    assert [entry["usage"]["recalled"] for entry in entries] == [0, 4]
    assert not list(folders[1].glob("journal/*"))


@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize(("dtype", "asked"), [("float32", [2]), ("bfloat16", [4, 2])])
def test_of_a_batch_that_lost_an_answer_only_exact_ones_come_back(dtype, asked, llava, data, tmp_path):
    """In half precision an answer may depend on what else was in its batch: that is asked again, whole."""
    settings = (f"dtype={dtype}", "batch_size=4")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Killed):
            run(llava, data, tmp_path, *settings)
    [path] = tmp_path.glob("*/*/journal/gqa.0.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.strip()]
    assert len(kept) == 4
    path.write_bytes(b"".join(kept[:2] if dtype == "bfloat16" else kept))
    with pytest.MonkeyPatch.context() as patch:
        computed = stop_after(patch, 99)
        record = run(llava, data, tmp_path, *settings)
    assert computed == asked
    assert record["tasks"]["gqa"]["usage"]["recalled"] == 6 - sum(asked)


@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_with_batch_size_auto_a_stopped_task_makes_the_same_batches(
    dtype, llava, data, tmp_path, monkeypatch
):
    """The batch was halved in the task before: the process that goes on doesn't know it, the journal does."""
    from pdrop_eval.run.lmms import model as wrapper

    def batches(results, stop=99):
        """The batches of gqa, of a model that has memory for three, as chartqa showed; or until it dies."""
        found = []
        generate = wrapper.PdropLlava._generate

        def little(self, batch):
            if len(batch) > 3:
                raise torch.OutOfMemoryError("out of memory")
            if batch[0].request.args[4] == "gqa":
                if len(found) == stop:
                    raise Killed
                found.append([question.request.args[3] for question in batch])
            return generate(self, batch)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(wrapper.PdropLlava, "_generate", little)
            given = ("tasks=[chartqa,gqa]", "batch_size=auto", f"dtype={dtype}")
            if stop == 99:
                return found, run(llava, data, results, *given)
            with pytest.raises(Killed):
                run(llava, data, results, *given)
            return found, None

    import torch

    whole, record = batches(tmp_path / "whole")
    first, _ = batches(tmp_path / "stopped", stop=1)
    rest, after = batches(tmp_path / "stopped")
    assert first + rest == whole
    # Two windows of three; in each, two questions share their image's prefix, and the other runs before them.
    assert sorted(map(len, whole)) == [1, 1, 2, 2]
    sizes = [r["tasks"]["gqa"]["batch_size"] for r in (record, after)]
    assert sizes == [3, 3]
    assert load_samples(Path(after["folder"]), "gqa") == load_samples(Path(record["folder"]), "gqa")


@pytest.mark.usefixtures("lmms_eval")
def test_what_a_killed_process_was_writing_is_cleaned_away(llava, data, tmp_path):
    folder = Path(run(llava, data, tmp_path)["folder"])
    for left in (folder / ".record.json.1.tmp", folder / "samples" / ".gqa.jsonl.1.tmp"):
        left.write_text("half a fi")
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps({**record, "status": "started"}))
    run(llava, data, tmp_path)
    assert not list(folder.rglob("*.tmp"))
    assert json.loads((folder / "record.json").read_text())["tasks"] == record["tasks"]


@pytest.mark.usefixtures("lmms_eval")
@pytest.mark.parametrize("call", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 5))])
def test_a_disk_that_fills_up_loses_nothing(call, whole, llava, data, tmp_path, monkeypatch):
    replace, calls = os.replace, []

    def full(*args):
        calls.append(args)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        if call > 3:  # record, samples, record with the task: later it is "completed"
            run(llava, data, tmp_path / "full")
        else:
            with pytest.raises(UserError, match=r"the disk or the quota is full\. Please free some space"):
                run(llava, data, tmp_path / "full")
    after = run(llava, data, tmp_path / "full")
    assert load_samples(Path(after["folder"]), "gqa") == load_samples(Path(whole["folder"]), "gqa")
    assert after["status"] == "completed"


@pytest.mark.slow
@pytest.mark.usefixtures("lmms_eval")
def test_a_run_says_why_it_begins_anew_and_what_is_done(llava, data, tmp_path, monkeypatch, capsys):
    first = run(llava, data, tmp_path)
    run(llava, data, tmp_path, "tasks=[gqa,pope]")
    assert "1 of 2 tasks are done already." in capsys.readouterr().err
    monkeypatch.setattr(
        "pdrop_eval.records.run_identity.code_sha256", lambda target, family: {"sha256": target}
    )
    again = run(llava, data, tmp_path)
    assert again["run_id"] != first["run_id"]
    assert f"The record {first['run_id']} was made with other code or packages" in capsys.readouterr().err
    run(llava, data, tmp_path, "seed=2")
    assert "other code" not in capsys.readouterr().err


@pytest.mark.usefixtures("lmms_eval")
def test_sampling_does_not_depend_on_what_was_asked_before(llava):
    import torch
    from asking_model import make, requests, texts

    def ask(first):
        model = make(llava, batch_size=1)
        torch.manual_seed(7)
        wanted = requests(model, do_sample=True, temperature=1.0, max_new_tokens=12)
        return texts(model.generate_until(wanted[first:]))

    everything = ask(0)
    assert ask(2) == everything[2:]
    assert len(set(everything)) > 1
