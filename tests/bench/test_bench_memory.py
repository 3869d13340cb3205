"""A benchmark that runs out of memory: what it names, what it tries, what it goes on with."""

import pytest
import torch
from bench_words import labels, one_line

from pdrop_eval.report.bench import cli
from pdrop_eval.report.bench.text import bench_text
from pdrop_eval.run.bench import model as models
from pdrop_eval.run.bench import session
from pdrop_eval.run.bench.settings import make_plan
from pdrop_eval.run.bench.timing import Runner
from pdrop_eval.run.bench.work import prepare
from pdrop_eval.utils.errors import UserError
from tools.speed.prefill import bench_page, goals


def full(monkeypatch, fits):
    """Memory that only the batches fit for which `fits(runner, rows)` is true."""
    original = Runner.memory

    def memory(self):
        if not fits(self, self.batch.image.shape[0]):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return original(self)

    monkeypatch.setattr(Runner, "memory", memory)


pytestmark = pytest.mark.usefixtures("idle")


def test_a_variant_that_runs_out_of_memory_is_named_and_the_others_are_measured(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: rows < 2 or runner.strategy.name == "pdrop")
    record = cli.bench(config("batch_sizes=[1,2]"))
    batch = record["batches"]["2"]
    assert batch["out_of_memory"] == dict.fromkeys(
        ["vanilla", "fastv"], "CUDA out of memory. Tried to allocate 2 GiB."
    )
    assert labels(batch) == ["pdrop"]
    assert batch["variants"][0]["prefill"]["speedup"] is None
    text = bench_text(record)
    assert "out of memory: vanilla, FastV" in one_line(text)
    assert "Batch 1" in text


def test_auto_halves_the_batch_until_it_fits(config, monkeypatch, capsys):
    full(monkeypatch, lambda runner, rows: rows <= 4)
    record = cli.bench(config("batch_sizes=auto", "strategies=[vanilla]"))
    assert list(record["batches"]) == ["4"]
    assert record["auto"] == 4
    assert "A batch of 16 doesn't fit, trying 8" in capsys.readouterr().err
    monkeypatch.setattr(session, "measure", None)
    assert cli.bench(config("batch_sizes=auto", "strategies=[vanilla]"))["auto"] == 4


def test_auto_measures_where_other_batches_are_in_the_record_and_takes_one_that_fits_from_it(
    config, monkeypatch
):
    full(monkeypatch, lambda runner, rows: rows <= 2)
    first = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]", "rounds=1"))
    assert first["auto"] is None
    measured = []
    original = session.measure_batch
    monkeypatch.setattr(
        session,
        "measure_batch",
        lambda work, built, rows: measured.append(rows) or original(work, built, rows),
    )
    found = cli.bench(config("batch_sizes=auto", "strategies=[vanilla]", "rounds=1"))
    assert measured == [16, 8, 4]
    assert found["auto"] == 2
    assert found["batches"] == first["batches"]


def test_what_ran_out_of_memory_is_tried_again(config, monkeypatch):
    with monkeypatch.context() as patch:
        full(patch, lambda runner, rows: rows < 2)
        first = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert first["batches"]["2"]["out_of_memory"]
    second = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla]"))
    assert second["batches"]["1"] == first["batches"]["1"]
    assert not second["batches"]["2"]["out_of_memory"]
    assert labels(second["batches"]["2"]) == ["vanilla"]


def test_a_batch_at_which_no_variant_fits_is_named_and_has_no_table(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: rows == 2)
    record = cli.bench(config("batch_sizes=[1,2]", "strategies=[vanilla,pdrop]"))
    text = bench_text(record)
    assert "Batch 1: out of memory: vanilla, PDrop" in text
    assert text.count("Peak memory, MiB") == 1
    page = bench_page.bench_page([record])
    assert "**Batch 1: out of memory: vanilla, PDrop**" in page
    assert "KV cache a layer in KiB, batch 2:" in page
    with pytest.raises(UserError, match=r"need vanilla, fastv, pdrop, plain, keep_all too: Batch 1: out of"):
        goals.find_goals(record)


def test_where_nothing_fits_the_error_says_so(config, monkeypatch):
    full(monkeypatch, lambda runner, rows: False)
    monkeypatch.setattr(session, "available", lambda device: 3 * 2**29)
    words = (
        r"Not even a batch of 2 fits the memory: 1.5 GiB were free beside the weights, and 2.0 GiB more at "
        r"one time were asked for when it was full. Try batch_sizes=auto"
    )
    for _ in range(2):  # the second time there is a record
        with pytest.raises(UserError, match=words):
            cli.bench(config("batch_sizes=[2]"))


def test_other_errors_are_bugs(config, monkeypatch):
    monkeypatch.setattr(Runner, "memory", lambda self: torch.ones(2, 3) @ torch.ones(2, 3))
    with pytest.raises(RuntimeError, match="shapes"):
        cli.bench(config("batch_sizes=[1]"))


def test_weights_that_do_not_fit_are_refused_before_they_are_made(config, monkeypatch):
    monkeypatch.setattr(models, "available", lambda device: 2**10)
    with pytest.raises(
        UserError, match=r"weights take .* in float32, and .* free on cpu. Use dtype=bfloat16"
    ):
        prepare(make_plan(config()))
