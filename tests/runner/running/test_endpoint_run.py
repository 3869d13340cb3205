"""Whole runs of a model behind a server: their record, their place in reports, and a kill in between."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from answering_server import MODEL, answer_to, completion, models, serving, text_of

from pdrop_eval.records.schema import find_fault
from pdrop_eval.records.store import load_records, load_samples
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.doctor.cli import examine
from pdrop_eval.run.endpoint.model import UnansweredError
from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.server import chat_server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(chat_server, "_PAUSE", 0.0)
    with serving() as running:
        yield running


def overrides(server, data, *more):
    return [
        "model=endpoint", "model.name='vLLM EVS .5'", f"model.base_url={server.url}", f"model.served={MODEL}",
        f"data.root={data}", "results=runs", "tasks=[gqa]", "model.retries=0", "bootstrap=10", *more,
    ]  # fmt: skip


def run(server, data, *more):
    return cli.evaluate(compose_spec(overrides(server, data, *more)))


def test_a_run_is_recorded_without_guesses_resumes_and_needs_no_server_once_it_is_done(server, data, capsys):
    server.say = lambda asked: completion(answer_to(asked)) if len(server.asked) <= 4 else (503, "gone")
    with pytest.raises(UnansweredError, match=r"task gqa, sample \d: .*HTTP 503.*4 of 6 answers"):
        run(server, data, "model.concurrency=1", "model.give_up=2")
    (record,) = load_records(Path("runs"))
    assert (record["status"], record["tasks"]) == ("failed", {})
    first = [text_of(asked) for asked in server.asked[:4]]
    server.say = lambda asked: completion(answer_to(asked))
    server.asked.clear()
    record = run(server, data)  # with another concurrency
    assert len(server.asked) == 2
    entry, samples = record["tasks"]["gqa"], load_samples(Path(record["folder"]), "gqa")
    assert [sample["prompt"] for sample in samples[:4]] == first
    assert (entry["status"], entry["n"], entry["usage"]["recalled"]) == ("scored", 6, 4)
    costs = (
        "retained_tokens_per_layer",
        "image_tokens_mean",
        "image_tokens_max",
        "tflops_mean",
        "batch_size",
    )
    assert [entry[name] for name in costs] == [None] * 5
    assert [sample["image_tokens"] for sample in samples] == [None] * 6
    assert find_fault(json.loads((Path(record["folder"]) / "record.json").read_text())) is None
    assert (record["strategy"]["name"], record["strategy"]["display_name"]) == ("server", "Server's own")
    assert (record["model"]["name"], record["model"]["served"]) == ("vLLM EVS .5", MODEL)
    says = {"id": MODEL, "max_model_len": 4096}
    assert record["server"] == {"base_url": server.url, "served": MODEL, "offers": [MODEL], "says": says}
    assert record["changes"] == [f"data.root={data}"]
    assert "dtype" not in record["config"]
    printed = capsys.readouterr().out
    assert f"served as {MODEL} at {server.url}" in printed
    assert max(map(len, printed.splitlines())) <= 80 + len(record["folder"])
    server.end()
    assert run(server, data, "model.base_url=http://localhost:1/v1")["run_id"] == record["run_id"]


def test_the_doctor_asks_the_server_what_it_has(server, data):
    def found(*more):
        findings = examine(compose_spec(overrides(server, data, *more)))
        return {finding.what: finding for finding in findings}

    good = found()
    assert (good["endpoint"].status, good["endpoint"].text) == ("ok", f"{MODEL} at {server.url}")
    assert {"device", "other checkpoints"}.isdisjoint(good)
    assert server.asked == []
    server.offer = lambda: models("another")
    assert found()["endpoint"].status == "FAIL"
    assert "Allowed: another" in found()["endpoint"].text
    server.offer = lambda: (404, "")
    assert found()["endpoint"].status == "warn"


@pytest.mark.slow
def test_a_run_that_is_killed_loses_nothing_that_was_answered(server, data, tmp_path):
    server.say = lambda asked: (time.sleep(0.3), completion(answer_to(asked)))[1]
    more = ("tasks=[gqa,pope,textvqa_val]", "model.concurrency=2")
    given = overrides(server, data, *more)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "pdrop_eval.run.evaluate.cli", *given]
    with open(tmp_path / "errors", "w") as errors:
        process = subprocess.Popen(command, env=environment, stdout=errors, stderr=errors)
    while len(server.asked) < 9:  # in the middle of the second task
        assert process.poll() is None, (tmp_path / "errors").read_text()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.7)  # what is still being answered
    before = Counter(text_of(asked) + answer_to(asked) for asked in server.asked)
    server.say = lambda asked: completion(answer_to(asked))
    record = run(server, data, *more)
    assert record["status"] == "completed"
    asked = Counter(text_of(one) + answer_to(one) for one in server.asked)
    assert sum((asked - before).values()) <= 18 - 9 + 2  # at most what was being asked is asked again
    whole = run(server, data, *more, "results=whole")
    for task in ("gqa", "pope", "textvqa_val"):
        kept, alone = (load_samples(Path(one["folder"]), task) for one in (record, whole))
        assert kept == alone
        assert record["tasks"][task]["score"] == whole["tasks"][task]["score"]
