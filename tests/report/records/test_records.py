"""Records: resumed, atomic, locked, and refused with a reason when something is wrong."""

import errno
import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval.records import store
from pdrop_eval.records.samples import lost_samples
from pdrop_eval.records.store import Run, load_records, load_samples, run_id
from pdrop_eval.utils import files
from pdrop_eval.utils.errors import UserError

IDENTITY = {"strategy": {"name": "pdrop", "ratio": 0.5}, "seed": 0, "limit": None}
HEADER = {"model": {"name": "mini"}, "strategy": {"name": "pdrop", "fields": {"ratio": 0.5}}, "seed": 0}
GQA = {
    "status": "scored",
    "benchmark": "gqa",
    "metric": "exact_match",
    "score": 61.5,
    "stderr": 2.4,
    "n": 400,
}
POPE = {"status": "scored", "benchmark": "pope", "metric": "f1", "score": 85.0, "stderr": 1.0, "n": 300}


def open_run(root: Path, **identity) -> Run:
    return Run.open(root, "mini", "pdrop", {**IDENTITY, **identity}, HEADER)


def stored(run: Run) -> dict:
    return json.loads((run.folder / "record.json").read_text(encoding="utf-8"))


def without_checksums(tasks: dict) -> dict:
    return {task: {k: v for k, v in entry.items() if k != "samples_sha256"} for task, entry in tasks.items()}


def test_a_new_run_is_on_disk_as_started_before_any_task(tmp_path):
    run = open_run(tmp_path)
    assert run.folder.parent == tmp_path / "mini"
    assert run.folder.name == f"pdrop-{run_id(IDENTITY)}"
    record = stored(run)
    assert (record["schema"], record["status"], record["tasks"]) == (3, "started", {})
    assert record["strategy"] == HEADER["strategy"]
    assert run.done == set()


def test_the_run_id_is_the_sha256_of_the_canonical_json():
    # printf '{"a":1,"b":[true,null]}' | sha256sum
    assert run_id({"b": (True, None), "a": 1}) == "1cc69c7fa2"


def test_the_order_of_keys_does_not_change_the_run_but_a_value_does():
    assert run_id({"a": 1, "b": 2}) == run_id({"b": 2, "a": 1})
    assert run_id({"a": 1, "b": 2}) != run_id({"a": 1, "b": 3})


def test_finished_tasks_are_kept_and_not_lost_by_the_next_call(tmp_path):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [{"doc_id": 0, "answer": "rot"}, {"doc_id": 1, "answer": "紅\u2028"}])
    run.close()
    again = open_run(tmp_path)
    assert again.done == {"gqa"}
    again.add_task("pope", POPE, [])
    again.complete()
    assert stored(again)["status"] == "completed"
    # sha256sum of the two files
    sums = [
        hashlib.sha256((again.folder / f"samples/{task}.jsonl").read_bytes()).hexdigest()
        for task in ("gqa", "pope")
    ]
    assert sums[1] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of nothing
    gqa, pope = {**GQA, "samples_sha256": sums[0]}, {**POPE, "samples_sha256": sums[1]}
    assert stored(again)["tasks"] == {"gqa": gqa, "pope": pope}
    assert load_samples(again.folder, "gqa")[1] == {"doc_id": 1, "answer": "紅\u2028"}


def test_a_resumed_run_says_where_it_was_resumed_but_a_completed_one_is_not_touched(tmp_path):
    open_run(tmp_path).close()
    run = Run.open(tmp_path, "mini", "pdrop", IDENTITY, {**HEADER, "hardware": {"cpu": "other"}})
    assert [entry["hardware"] for entry in stored(run)["resumed"]] == [{"cpu": "other"}]
    run.complete()
    before = (run.folder / "record.json").read_bytes()
    again = Run.open(tmp_path, "mini", "pdrop", IDENTITY, {**HEADER, "hardware": {"cpu": "third"}})
    assert again.completed
    assert (run.folder / "record.json").read_bytes() == before
    again.add_task("gqa", GQA, [])
    assert [entry["hardware"]["cpu"] for entry in stored(again)["resumed"]] == ["other", "third"]
    assert stored(again)["status"] == "started"


def test_a_failed_run_keeps_its_tasks_and_goes_on_as_started(tmp_path):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [])
    run.fail("pope, sample 7: out of memory")
    assert stored(run)["error"] == "pope, sample 7: out of memory"
    assert stored(run)["status"] == "failed"
    again = open_run(tmp_path)
    assert again.done == {"gqa"}
    assert stored(again)["status"] == "started"
    assert "error" not in stored(again)


def test_numpy_and_nan_are_stored_as_plain_json(tmp_path):
    np = pytest.importorskip("numpy")
    run = open_run(tmp_path)
    result = {**GQA, "score": np.float64(61.5), "n": np.int64(400), "metrics": {"x": float("nan")}}
    run.add_task("gqa", result, [{"hint": float("nan"), "kept": np.array([1, 3])}])
    assert stored(run)["tasks"]["gqa"]["metrics"] == {"x": None}
    assert load_samples(run.folder, "gqa") == [{"hint": None, "kept": [1, 3]}]


@pytest.mark.parametrize(
    "wrong", [{"score": float("nan")}, {"score": None}, {"score": "N/A"}, {"n": 0}, {"n": None}]
)
def test_what_is_no_measurement_never_becomes_a_score(tmp_path, wrong):
    run = open_run(tmp_path)
    with pytest.raises(ValueError, match="task gqa"):
        run.add_task("gqa", {**GQA, **wrong}, [])
    assert run.done == set()
    assert stored(run)["tasks"] == {}


MMVET = {"status": "needs_judge", "benchmark": "mmvet", "metric": "g", "score": None, "stderr": None, "n": 2}


def test_what_needs_a_judge_is_kept_without_a_score_and_with_its_predictions(tmp_path):
    run = open_run(tmp_path)
    run.add_task("mmvet", MMVET, [{"doc_id": 0}], predictions={"v1_0": "a", "v1_1": "b"})
    run.complete()
    assert run.done == {"mmvet"}
    entry = stored(run)["tasks"]["mmvet"]
    assert entry.pop("samples_sha256") == hashlib.sha256(b'{"doc_id": 0}\n').hexdigest()
    assert entry == {**MMVET, "predictions": "predictions/mmvet.json"}
    answers = (run.folder / "predictions" / "mmvet.json").read_text(encoding="utf-8")
    assert json.loads(answers) == {"v1_0": "a", "v1_1": "b"}


def test_a_judged_task_takes_the_place_of_the_unjudged_one(tmp_path):
    run = open_run(tmp_path)
    run.add_task("mmvet", MMVET, [{"doc_id": 0}], predictions={"v1_0": "a"})
    entry = {**stored(run)["tasks"]["mmvet"], "status": "scored", "score": 31.0, "stderr": 2.0}
    run.add_task("mmvet", entry, [{"doc_id": 0, "score": 0.31}])
    now = hashlib.sha256(b'{"doc_id": 0, "score": 0.31}\n').hexdigest()
    assert stored(run)["tasks"]["mmvet"] == {**entry, "samples_sha256": now}
    assert entry["predictions"] == "predictions/mmvet.json"


@pytest.mark.parametrize("wrong", [{"score": 0.0}, {"n": 0}, {"status": "judged"}])
def test_what_needs_a_judge_has_no_score(tmp_path, wrong):
    with pytest.raises(ValueError, match="task mmvet"):
        open_run(tmp_path).add_task("mmvet", {**MMVET, **wrong}, [], predictions={"v1_0": "a"})


def test_what_needs_a_judge_has_predictions(tmp_path):
    with pytest.raises(ValueError, match="has predictions and no score"):
        open_run(tmp_path).add_task("mmvet", MMVET, [])


def old_record(tmp_path, **model):
    """A record as schema 1 had it."""
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [])
    record = {**stored(run), "schema": 1, "model": {"image_tokens": 144, **model}}
    del record["tasks"]["gqa"]["status"]
    path = run.folder / "record.json"
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize(
    ("name", "family", "known"),
    [
        ("mini", "llava", ("llava-1.5", 1, "mini")),
        ("llava_1_5_7b", "llava", ("llava-1.5", 1, "7b")),
        ("llava_next_7b", "llava_next", ("llava-next", 5, "7b")),
        ("my_own", "llava", ("llava-1.5", 1, "my_own")),
    ],
)
def test_a_record_of_schema_1_is_read_in_the_present_schema(tmp_path, name, family, known):
    path = old_record(tmp_path, name=name, family=family)
    before = path.read_bytes()
    [record] = load_records(tmp_path)
    model = record["model"]
    assert (record["schema"], record["migrated_from"]) == (3, 1)
    assert (model["architecture"], model["patches"], model["size"]) == known
    assert (model["train"], model["train_ratio"], model["training"]) == ("vanilla", None, None)
    assert model["image_tokens"] == 144
    assert without_checksums(record["tasks"]) == {"gqa": GQA}
    assert path.read_bytes() == before


def test_a_record_of_schema_1_that_does_not_say_enough_is_refused(tmp_path):
    old_record(tmp_path, name="mini")
    with pytest.raises(UserError, match=r"schema 1\).*doesn't name the model's family.*Move its folder away"):
        load_records(tmp_path)


def test_an_image_in_a_sample_is_refused(tmp_path):
    with pytest.raises(TypeError, match="bytes"):
        open_run(tmp_path).add_task("gqa", GQA, [{"image": b"PNG"}])


def test_a_crash_in_the_middle_of_a_write_leaves_the_old_record(tmp_path, monkeypatch):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [])

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        run.add_task("pope", POPE, [])
    monkeypatch.undo()
    assert set(stored(run)["tasks"]) == {"gqa"}
    assert not list(run.folder.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "disk"), (errno.EROFS, "Read-only"), (errno.EACCES, "denied")]
)
def test_a_write_that_fails_is_explained_and_earlier_tasks_stay(tmp_path, monkeypatch, code, words):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [])

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(UserError, match=words) as caught:
        run.add_task("pope", POPE, [])
    assert str(run.folder) in str(caught.value)
    assert "kept" in str(caught.value)
    monkeypatch.undo()
    assert set(stored(run)["tasks"]) == {"gqa"}
    assert run.done == {"gqa"}
    run.add_task("pope", POPE, [])  # once there is room again, the same run goes on
    assert run.done == {"gqa", "pope"}


def test_a_results_folder_that_is_no_folder_is_explained(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="choose a results folder"):
        open_run(tmp_path / "runs")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_results_folder_is_explained(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="choose a results folder"):
        open_run(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "status": "sta', "not JSON"),
        ("", "not JSON"),
        ("[]", "no schema"),
        ("{}", "no schema"),
        ('{"schema": 0}', "its schema is 0, no whole number from 1 to 3"),
        ('{"schema": -1}', "its schema is -1"),
        ('{"schema": true}', "its schema is True"),
        ('{"schema": 2.0}', "its schema is 2.0"),
        ('{"schema": "2"}', "its schema is '2'"),
        ('{"schema": null}', "its schema is None"),
        ('{"schema": 1}', "'run_id' is missing"),
        (
            '{"schema":1,"run_id":"x","status":"odd","created":"","model":{},"strategy":{},"tasks":{}}',
            "'status' is 'odd', not one of started, completed, failed",
        ),
    ],
)
def test_a_damaged_record_is_named_with_the_fix(tmp_path, text, words):
    run = open_run(tmp_path)
    run.close()
    path = run.folder / "record.json"
    path.write_text(text)
    for attempt in (lambda: open_run(tmp_path), lambda: load_records(tmp_path)):
        with pytest.raises(UserError, match=words) as caught:
            attempt()
        assert str(path) in str(caught.value)
        assert "move its folder away" in str(caught.value)
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("created", "yesterday", "'created' is 'yesterday', no time"),
        ("created", "", "'created' is ''"),
        ("created", 3, "'created' is 3, no time in ISO form"),
        ("batch_size", [8], r"'batch_size' is \[8\], no number or text"),
        ("code", {"dirty": 1}, "'code.dirty' is 1, no true or false"),
        ("limit", True, "'limit' is True, no whole number"),
        ("limit", 2**60, "'limit' is 1152921504606846976, no whole number"),
        ("run_id", "../../run", r"'run_id' is '../../run', no plain name"),
        ("model", [], r"'model' is \[\], no object"),
        ("model.name", None, "'model.name' is missing"),
        ("model.patches", "five", "'model.patches' is 'five', no whole number"),
        ("strategy.name", 3, "'strategy.name' is 3, no text"),
        ("limit", -1, "'limit' is -1, no whole number"),
        ("identity", 7, "'identity' is 7, no object"),
        ("config", {"strategy": {"_target_": 1.5}}, "'config.strategy._target_' is 1.5, no text"),
        ("efficiency", {"tflops": "much"}, "'efficiency.tflops' is 'much', no number"),
        ("tasks.gqa.predictions", "../../../secrets.json", r"'tasks.gqa.predictions' is .*, no path beneath"),
        ("tasks.gqa.predictions", "/etc/passwd", r"'tasks.gqa.predictions' is .*, no path beneath"),
        ("tasks.gqa.parts", {"color": None}, r"'tasks.gqa.parts' is .*, no object of numbers"),
        ("tasks.gqa", 3, "'tasks.gqa' is 3, no object"),
        ("tasks.gqa", {}, "'tasks.gqa.benchmark' is missing"),
        ("tasks.gqa.benchmark", None, "'tasks.gqa.benchmark' is missing"),
        ("tasks.gqa.usage", {"images": -1}, "'tasks.gqa.usage.images' is -1, no whole number"),
        ("tasks.gqa.metrics", {"a": 1e301}, "'tasks.gqa.metrics' is .*, no object of numbers"),
        ("tasks.gqa.status", "lost", "'tasks.gqa.status' is 'lost'"),
        ("tasks.gqa.status", [], r"'tasks.gqa.status' is \[\]"),
        ("tasks.gqa.status", "needs_judge", "'tasks.gqa.score' is 61.5, although the task is needs_judge"),
        ("tasks.gqa.score", "high", "'tasks.gqa.score' is 'high', no number"),
        ("tasks.gqa.score", None, "'tasks.gqa.score' is None"),
        ("tasks.gqa.score", True, "'tasks.gqa.score' is True"),
        ("tasks.gqa.score", float("nan"), "NaN is no number in JSON"),
        ("tasks.gqa.stderr", "2", "'tasks.gqa.stderr' is '2'"),
        ("tasks.gqa.n", 0, "'tasks.gqa.n' is 0"),
        ("tasks.gqa.n", True, "'tasks.gqa.n' is True"),
        ("tasks.gqa.n", 2.5, "'tasks.gqa.n' is 2.5"),
    ],
)
def test_a_damaged_value_is_named_with_its_record(tmp_path, path, value, words):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [{"doc_id": 0}])
    run.complete()
    record = stored(run)
    *parents, last = path.split(".")
    place = record
    for key in parents:
        place = place[key]
    place[last] = value
    (run.folder / "record.json").write_text(json.dumps(record))
    for attempt in (lambda: open_run(tmp_path), lambda: load_records(tmp_path)):
        with pytest.raises(UserError, match=words) as caught:
            attempt()
        assert f"record {run.folder / 'record.json'} is damaged" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("doc_id", [1], r"'doc_id' is \[1\], no number or text"),
        ("image_sizes", [[3]], r"'image_sizes' is \[\[3\]\], no list of \[width, height\]"),
        ("retained", [[2, 3]], r"'retained' is .*, no list of \[layer, mask\]"),
        ("image_tokens_per_layer", [1, 2.5], r"'image_tokens_per_layer' is .*, no list of whole numbers"),
        ("image_grids", [[0, "f", 0, 0, 1, 1, 20_000, 1, True]], "'image_grids' is .*, no list of grids"),
        ("to_judge", {"a": 1}, "'to_judge' is .*, no object of texts"),
    ],
)
def test_a_damaged_sample_is_named_with_its_file(tmp_path, field, value, words):
    run = open_run(tmp_path)
    run.add_task("gqa", GQA, [{"doc_id": 0, field: value}])
    with pytest.raises(UserError, match=words) as caught:
        load_samples(run.folder, "gqa")
    assert str(run.folder / "samples/gqa.jsonl") in str(caught.value)


def test_the_json_schema_says_what_must_be_there():
    done = subprocess.run(
        [sys.executable, "-m", "pdrop_eval.records.schema"], capture_output=True, text=True, check=True
    )
    schema = json.loads(done.stdout)
    assert schema["record"]["required"] == [
        "run_id", "schema", "status", "created", "model", "strategy", "tasks",
    ]  # fmt: skip
    assert "required" not in schema["sample"]
    grid = schema["sample"]["properties"]["image_grids"]["anyOf"][0]["items"]
    assert (grid["minItems"], grid["maxItems"]) == (9, 9)


def test_a_record_of_a_newer_schema_is_refused(tmp_path):
    run = open_run(tmp_path)
    run.close()
    path = run.folder / "record.json"
    path.write_text(json.dumps({**stored(run), "schema": 4}))
    with pytest.raises(UserError, match=r"schema 4.*reads up to 3.*Update"):
        load_records(tmp_path)


def test_a_record_that_was_copied_to_another_run_is_refused(tmp_path):
    first, second = open_run(tmp_path, seed=1), open_run(tmp_path, seed=2)
    (second.folder / "record.json").write_bytes((first.folder / "record.json").read_bytes())
    second.close()
    with pytest.raises(UserError, match="belongs to another run"):
        open_run(tmp_path, seed=2)


def _hold(root, ready, release):
    run = Run.open(root, "mini", "pdrop", IDENTITY, HEADER)
    ready.set()
    release.wait(60)
    run.close()


def test_two_processes_on_one_run_are_kept_apart(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, release))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UserError, match=f"being written by process {other.pid}"):
            open_run(tmp_path)
        open_run(tmp_path, seed=1)  # another run is free
    finally:
        release.set()
        other.join(60)
    assert open_run(tmp_path).done == set()


def test_a_run_that_is_dropped_or_fails_to_open_lets_go_of_its_folder(tmp_path):
    run = open_run(tmp_path)
    del run
    run = open_run(tmp_path)
    run.close()
    run.close()
    text = (run.folder / "record.json").read_text()
    (run.folder / "record.json").write_text("damaged")
    with pytest.raises(UserError):
        open_run(tmp_path)
    (run.folder / "record.json").write_text(text)
    assert open_run(tmp_path).done == set()


def test_load_records_gives_every_run_oldest_first_with_its_folder(tmp_path):
    assert load_records(tmp_path / "nothing") == []
    second, first = open_run(tmp_path, seed=2), open_run(tmp_path, seed=1)
    for run, created in ((second, "2026-01-02T00:00:00+00:00"), (first, "2026-01-01T00:00:00+00:00")):
        (run.folder / "record.json").write_text(json.dumps({**stored(run), "created": created}))
    loaded = load_records(tmp_path)
    assert [record["folder"] for record in loaded] == [str(first.folder), str(second.folder)]
    assert "folder" not in stored(first)


def test_missing_samples_are_named(tmp_path):
    run = open_run(tmp_path)
    with pytest.raises(UserError, match=r"samples/gqa\.jsonl"):
        load_samples(run.folder, "gqa")


def _two_samples(root):
    run = open_run(root)
    run.add_task("gqa", {**GQA, "n": 2}, [{"doc_id": 0, "answer": "rot"}, {"doc_id": 1, "answer": "blau"}])
    return run.folder, run.folder / "samples/gqa.jsonl"


def _without_checksum(folder):
    path = folder / "record.json"
    record = json.loads(path.read_text())
    del record["tasks"]["gqa"]["samples_sha256"]
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda text: text.split("\n", 1)[1], "1 lines for 2 questions: some were lost"),
        (lambda text: "", "0 lines for 2 questions: some were lost"),
        (lambda text: text.replace("blau", "rot"), "checksum is not the one in the record"),
        (lambda text: text.replace("\n", "\r\n"), "checksum is not the one in the record"),
        (lambda text: text + text, "checksum is not the one in the record"),
    ],
)
def test_samples_that_are_not_those_of_the_record_are_refused(tmp_path, harm, words):
    folder, path = _two_samples(tmp_path)
    path.write_bytes(harm(path.read_text()).encode())
    with pytest.raises(UserError, match=words) as caught:
        load_samples(folder, "gqa")
    assert str(path) in str(caught.value)
    assert words in lost_samples(
        folder, "gqa", json.loads((folder / "record.json").read_text())["tasks"]["gqa"]
    )


def test_samples_of_a_record_without_a_checksum_are_read_unless_lines_are_missing(tmp_path):
    folder, path = _two_samples(tmp_path)
    _without_checksum(folder)
    path.write_text(path.read_text().replace("blau", "rot"))
    assert [sample["answer"] for sample in load_samples(folder, "gqa")] == ["rot", "rot"]
    path.write_text(path.read_text().split("\n")[0])
    with pytest.raises(UserError, match="1 lines for 2 questions"):
        load_samples(folder, "gqa")
    path.unlink()
    assert lost_samples(folder, "gqa", {"n": 2}) is None  # such a record doesn't say that there are any
    assert lost_samples(folder, "gqa", {"n": 2, "samples_sha256": "0"}) == "No such file or directory"


@pytest.mark.parametrize("dies_at", [1, 2, 3])
def test_a_kill_while_samples_are_replaced_leaves_some_that_the_record_vouches_for(
    tmp_path, monkeypatch, dies_at
):
    folder, _ = _two_samples(tmp_path)
    run = open_run(tmp_path)
    written = []

    def dies(path, content):
        written.append(path.name)
        if len(written) == dies_at:
            raise KeyboardInterrupt
        files.write_atomically(path, content)

    monkeypatch.setattr(store, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        run.add_task("gqa", {**GQA, "n": 2}, [{"doc_id": 0, "score": 1.0}, {"doc_id": 1, "score": 1.0}])
    run.close()
    assert written == ["record.json", "gqa.jsonl", "record.json"][:dies_at]
    assert len(load_samples(folder, "gqa")) == 2
    monkeypatch.undo()
    run = open_run(tmp_path)
    run.add_task("gqa", {**GQA, "n": 2}, [{"doc_id": 0, "score": 1.0}, {"doc_id": 1, "score": 1.0}])
    assert load_samples(folder, "gqa")[0]["score"] == 1.0
    assert "next_samples_sha256" not in stored(run)["tasks"]["gqa"]


def test_a_header_may_not_overwrite_what_the_record_says_of_itself(tmp_path):
    with pytest.raises(ValueError, match="status"):
        Run.open(tmp_path, "mini", "pdrop", IDENTITY, {**HEADER, "status": "completed"})


def test_a_model_named_like_a_path_stays_inside_the_root(tmp_path):
    run = Run.open(tmp_path, "../llava-hf/llava-1.5", "pdrop", IDENTITY, HEADER)
    assert run.folder.parent == tmp_path / "llava-hf-llava-1.5"


def test_records_need_no_torch():
    code = (
        "import sys, pdrop_eval.records.store, pdrop_eval.utils.code.provenance as p\n"
        "p.hardware(); p.package_versions()\n"
        "assert not {'torch', 'transformers', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
