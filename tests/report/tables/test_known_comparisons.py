"""Comparisons are kept by the checksums of samples, and made anew for whatever changed."""

import json
import os
import shutil

import pytest
import shelf_records as made
from report_records import edit

from pdrop_eval.benchmarks.stored_tally import stored_tally
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.samples import checksum
from pdrop_eval.records.store import load_records
from pdrop_eval.report.budgets.board.paired import Pairing
from pdrop_eval.report.paired import stored_samples
from pdrop_eval.report.paired.known import FILE, Known
from pdrop_eval.report.readme.cli import make_tables


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Makes the table; returns its Markdown, and how many samples files were read for it."""
    read = []
    real = stored_samples.load_samples
    monkeypatch.setattr(stored_samples, "load_samples", lambda *given: read.append(given[1]) or real(*given))

    def make():
        read.clear()
        make_tables(tmp_path / "runs", tmp_path / "out", "budgets")
        return (tmp_path / "out" / "budgets.md").read_text("utf-8"), len(read)

    return make


def test_the_second_table_reads_no_samples_and_is_the_same(tmp_path, table):
    made.shelf(tmp_path / "runs")
    first, count = table()
    assert count == 20  # two tasks of vanilla, of each of eight rows at a budget, and of PruMerge
    assert table() == (first, 0)
    (tmp_path / "runs" / FILE).write_text("{")  # damaged: it is made anew
    assert table() == (first, 20)


def test_of_records_that_keep_what_samples_add_up_to_only_the_questions_are_read(tmp_path, table):
    made.shelf(tmp_path / "runs")
    told, _ = table()
    shutil.rmtree(tmp_path / "runs")
    made.shelf(tmp_path / "runs", tally=True)
    assert table() == (told, 2)  # two tasks, of one run


def test_samples_that_changed_are_refused_whatever_their_record_keeps(tmp_path, table):
    made.shelf(tmp_path / "runs", tally=True)
    for path, words in zip(
        sorted((tmp_path / "runs").glob("mini576/*/samples/gqa.jsonl"))[-2:],
        ("it was changed after it had been written", "some were lost"),
        strict=True,
    ):
        content = path.read_bytes()
        path.write_bytes(
            content[: content.rindex(b"{")] if "lost" in words else content.replace(b"no", b"NO")
        )
        assert words in table()[0]
        path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: kept.update(samples="0" * 16),
        lambda kept: kept.update(asked="0" * 32),
        lambda kept: kept.update(values=kept["values"][:-8]),
        lambda kept: kept.update(values="no digits"),
        lambda kept: kept.update(values=stored_tally("gqa", made.samples(60))["values"]),
        lambda kept: kept.update(values=stored_tally("gqa", made.samples(4, 6))["values"]),
    ],
    ids=["other file", "other questions", "cut off", "no digits", "other score", "fewer questions"],
)
def test_what_a_record_keeps_is_not_relied_on_where_it_can_not_be_of_its_samples(tmp_path, table, change):
    made.add(tmp_path / "runs", "vanilla", 80, tally=True)
    run = made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48}, tally=True)
    told, count = table()
    assert count == 2
    edit(run, lambda record: change(record["tasks"]["gqa"]["tally"]))
    (tmp_path / "runs" / FILE).unlink()
    again, count = table()
    assert (again, count > 2) == (told, True)


def test_a_new_run_is_compared_and_the_others_are_known(tmp_path, table):
    made.shelf(tmp_path / "runs")
    table()
    made.add(tmp_path / "runs", "dart", 70, 48, budget={"tokens": 48})
    text, count = table()
    assert "| DART" in text
    # two of itself, vanilla, the best of its block, and PDrop, which the printed order of three asks for
    assert count == 8


def test_samples_that_changed_are_read_again_and_refused_where_no_record_vouches(tmp_path, table):
    made.shelf(tmp_path / "runs")
    before, _ = table()
    path = next((tmp_path / "runs").glob("mini576/pdrop-*")) / "samples" / "gqa.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"yes"', b'"yea"', 1))
    os.utime(path, ns=(1, 1))
    text, _ = table()
    assert "it was changed after it had been written" in text
    path.write_bytes(content)
    assert table()[0] == before


def test_other_answers_of_a_run_that_was_made_again_are_compared(tmp_path, table):
    run = made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48})
    made.add(tmp_path / "runs", "vanilla", 80)
    before, _ = table()
    samples = made.samples(60)
    lines = "".join(json.dumps(one) + "\n" for one in samples).encode()
    (run.folder / "samples" / "gqa.jsonl").write_bytes(lines)
    edit(run, lambda record: record["tasks"]["gqa"].update(score=60.0, samples_sha256=checksum(lines)))
    after, count = table()
    assert (after != before, count) == (True, 4)
    assert "81.2" in after  # (60 + 70) / 160, to the even digit


def test_records_that_vouch_for_no_checksum_and_folders_that_take_nothing_keep_nothing(tmp_path, table):
    run = made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48})
    made.add(tmp_path / "runs", "vanilla", 80)
    edit(run, lambda record: [entry.pop("samples_sha256") for entry in record["tasks"].values()])
    assert table()[1] == table()[1] == 4
    runs = to_runs(load_records(tmp_path / "runs"))
    known = Known(tmp_path / "runs")
    assert known.name(*runs, ("gqa",)) is None
    assert Known(None).get(None) is None


def test_a_comparison_is_known_with_all_of_its_numbers(tmp_path):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48})
    baseline, candidate = sorted(to_runs(load_records(tmp_path / "runs")), key=lambda run: run.strategy)[::-1]
    known = Known(tmp_path / "runs")
    mean = Pairing(made.KEYS, known).mean(baseline, candidate)
    known.save()
    again = Known(tmp_path / "runs")
    found = again.get(again.name(baseline, candidate, made.KEYS))
    assert found == mean
    assert found.found.interval_at(0.99) == mean.found.interval_at(0.99)
    assert again.get(again.name(baseline, candidate, ("gqa",))) is None
    assert again.get(again.name(candidate, baseline, made.KEYS)) is None
