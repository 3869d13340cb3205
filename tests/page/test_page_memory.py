"""A page is built in the memory of one benchmark's questions, however many runs have answered them."""

import json
import random
import tracemalloc

import pytest
import synthetic
from paging import Read

from pdrop_eval.report.site.data.spool import Heap, Spool, Spools
from pdrop_eval.utils.errors import UserError
from tools.speed.reports import page_memory


def test_a_spool_gives_back_what_was_put_in_and_is_gone_after_a_fault(tmp_path):
    values = [{"n": n, "text": "紅"} for n in range(1203)]
    heap = Heap(tmp_path / "a")
    with Spool(heap) as spool, Spool(heap) as beside:
        for value in values:
            spool.add(value)
            beside.add(-value["n"])
    assert list(spool) == values
    assert [len(batch) for batch in spool.batches()] == [500, 500, 203]
    assert list(beside) == [-n for n in range(1203)]
    with pytest.raises(ZeroDivisionError), Spool(heap) as other:
        [other.add(1 / (1202 - value["n"])) for value in values]
    assert list(other) == []
    spool.remove()
    assert list(beside)[-1] == -1202
    beside.remove()
    assert (tmp_path / "a").stat().st_size == 0  # its room is there for others
    heap.close()


def test_what_is_not_kept_is_read_from_the_run(tmp_path):
    with pytest.raises(UserError, match=r"gqa\.jsonl"):
        Spools(tmp_path).samples(tmp_path / "run", "gqa")


def test_samples_in_any_order_give_the_same_answers_at_the_same_places(paged, tmp_path):
    synthetic.write_runs(tmp_path / "runs", tmp_path / "data", 3, ["gqa"], 20)
    page = paged(pictures=0)
    keys = list(page.runs)
    before = [page.answers(key, "gqa") for key in keys]
    for record in (tmp_path / "runs").glob("*/*/record.json"):
        (samples,) = record.parent.glob("samples/*.jsonl")
        lines = samples.read_text(encoding="utf-8").splitlines(keepends=True)
        random.Random(0).shuffle(lines)
        samples.write_text("".join(lines), encoding="utf-8")
        found = json.loads(record.read_text(encoding="utf-8"))
        del found["tasks"]["gqa"]["samples_sha256"]  # of an earlier version
        record.write_text(json.dumps(found), encoding="utf-8")
    page = paged(pictures=0)
    assert [page.answers(key, "gqa") for key in keys] == before
    assert sum(line is not None for line in before[0]) == 20


def test_nothing_stays_of_a_build_but_the_page(paged, tmp_path):
    synthetic.write_runs(tmp_path / "runs", tmp_path / "data", 2, ["gqa"], 4)
    (tmp_path / "site").mkdir()
    paged(pictures=0)
    (tmp_path / "site" / ".scratch").mkdir()  # of a build that was killed
    (tmp_path / "site" / ".scratch" / "1").touch()
    assert isinstance(paged(pictures=0), Read)
    assert not (tmp_path / "site" / ".scratch").exists()


@pytest.mark.slow
def test_more_runs_take_no_more_memory(paged, tmp_path):
    peaks = []
    for runs in (3, 24):
        synthetic.write_runs(tmp_path / "runs", tmp_path / "data", runs, ["gqa", "textvqa_val"], 120)
        paged(pictures=0)  # what is imported and cached is there
        tracemalloc.start()
        paged(pictures=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2.5 * peaks[0]  # for eight times the samples; what grows is the index


def size(samples, peak, processor):
    return {
        "runs": 1, "samples": samples, "records_bytes": 0, "peak_bytes": peak, "seconds": 1.0,
        "processor_seconds": processor,
    }  # fmt: skip


def test_the_benchmark_says_what_ten_times_the_samples_take():
    found = page_memory.ratios([size(1, 90, 3.0), size(10, 100, 4.0), size(100, 110, 13.0)])
    assert found == pytest.approx({"samples": 10, "memory": 1.1, "time": 10})
    assert page_memory.met(found)
    assert not page_memory.met({**found, "memory": 1.3})
    assert not page_memory.met({**found, "time": 13})
