"""A benchmark measures what its record lacks, and nothing twice."""

import pytest

from pdrop_eval.report.bench import cli
from pdrop_eval.report.bench.text import made_with
from pdrop_eval.run.bench import machine, session

pytestmark = pytest.mark.usefixtures("idle")


def test_what_is_there_is_not_measured_again_and_what_is_missing_is(config, monkeypatch):
    first = cli.bench(config("batch_sizes=[1]"))
    both = cli.bench(config("batch_sizes=[1,2]"))
    assert both["batches"]["1"] == first["batches"]["1"]
    assert both["created"] == first["created"]
    monkeypatch.setattr(session, "measure", None)
    assert cli.bench(config("batch_sizes=[2]")) == {k: v for k, v in both.items() if k != "folder"}
    monkeypatch.undo()


def test_again_measures_anew(config):
    first = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    again = cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]", "again=true"))
    assert again["created"] > first["created"]


def test_a_record_that_was_cut_off_goes_on(config, monkeypatch):
    measured = []
    original = session.measure_batch

    def once(work, built, rows):
        measured.append(rows)
        if rows == 2 and measured.count(2) == 1:
            raise KeyboardInterrupt
        return original(work, built, rows)

    monkeypatch.setattr(session, "measure_batch", once)
    with pytest.raises(KeyboardInterrupt):
        cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert measured == [1, 2, 2]
    assert record["status"] == "completed"


def test_each_batch_size_keeps_the_code_and_the_load_it_was_measured_under(config, monkeypatch):
    code = {"version": "1", "commit": "a" * 40, "dirty": False}
    monkeypatch.setattr(session.provenance, "code_identity", lambda: code)
    cli.bench(config("batch_sizes=[1]", "strategies=[vanilla]"))
    code = {"version": "1", "commit": "b" * 40, "dirty": True}
    monkeypatch.setattr(machine, "glance", lambda _: {"average": 1.0, "others": 0.2})
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert [batch["code"]["commit"][0] for batch in record["batches"].values()] == ["a", "b"]
    assert [batch["before"]["others"] for batch in record["batches"].values()] == [0.0, 0.2]
    assert made_with(record).endswith("code 1 at aaaaaaaaaa and 1 at bbbbbbbbbb with changes.")
