"""The comparisons that a page has computed: which pairs, and that their numbers are those of compare."""

import json
import shutil

import pytest
import synthetic
from paging import data

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import mean_difference
from pdrop_eval.benchmarks.stored_tally import stored_tally
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.samples import checksum, tally_of
from pdrop_eval.records.store import load_records
from pdrop_eval.report.paired.pairing import LEAVE_OUT, compare, pair
from pdrop_eval.report.site.data import compared as module


def compared(page, key):
    name, value = data(page.out / f"data/runs/{key}.js")
    assert name == f"run/{key}"
    return value["compared"]


def runs_of(folder):
    return {run.id: run for run in to_runs(load_records(folder / "runs"))}


def test_each_run_is_compared_with_vanilla_of_its_model(page, recorded):
    runs, checked = runs_of(recorded), 0
    by_key = page.runs
    for run in by_key.values():
        if run["strategy"] == "vanilla":
            assert run["compared"] == []
            continue
        (baseline,) = run["compared"]
        other = by_key[baseline]
        assert (other["strategy"], other["model"]) == ("vanilla", run["model"])
        if run["limit"] != other["limit"]:
            continue
        shown = compared(page, run["key"])[baseline]
        found = {key: compare(runs[run["run_id"]], runs[other["run_id"]], key) for key in run["scores"]}
        for key, difference in found.items():
            one = shown["benchmarks"][key]
            assert one["difference"] == pytest.approx(difference.value, rel=1e-9)
            assert one["interval"] == pytest.approx(difference.interval, rel=1e-9)
            checked += 1
        mean = mean_difference(list(found.values()))
        assert shown["mean"]["interval"] == pytest.approx(mean.interval, rel=1e-9)
    assert checked > 6


def test_runs_of_other_limits_are_compared_on_their_common_questions(page, recorded):
    runs, checked = runs_of(recorded), 0
    for run in page.runs.values():
        for baseline in run["compared"]:
            if run["limit"] == page.runs[baseline]["limit"]:
                continue
            shown = compared(page, run["key"])[baseline]
            for key, one in shown["benchmarks"].items():
                sides = [runs[page.runs[name]["run_id"]] for name in (baseline, run["key"])]
                both = pair(*sides, key, LEAVE_OUT)
                assert len(both.pairs) == 10  # of 20 questions and 10
                scores = [benchmarks()[key].rule.score(samples) for samples in both.samples]
                assert one["scores"] == pytest.approx(scores)
                assert one["difference"] == pytest.approx((scores[1] - scores[0]) / benchmarks()[key].divisor)
                checked += 1
            assert shown["mean"]["interval"]
    assert checked


def test_the_pairs_of_pdrop_eval_compare_are_computed_too(tmp_path, paged):
    stored = synthetic.write_data(tmp_path / "data", "gqa", range(9))
    named = {}
    for strategy in ("pdrop", "fastv"):
        found = {"gqa": (synthetic.samples("mini576", strategy, "gqa", range(9)), stored)}
        named[strategy] = synthetic.write_run(tmp_path / "runs", "mini576", strategy, found).name
    assert [run["compared"] for run in paged().runs.values()] == [[], []]  # no vanilla
    roles = {"baseline": named["pdrop"], "candidate": named["fastv"]}
    (tmp_path / "compare").mkdir()
    sides = {role: {"run_id": run, "model": {"name": "mini576"}} for role, run in roles.items()}
    (tmp_path / "compare" / "a.json").write_text(json.dumps({"runs": sides}), encoding="utf-8")
    (tmp_path / "compare" / "coverage.json").write_text('{"cells": []}', encoding="utf-8")
    made = paged()
    (candidate,) = (run for run in made.runs.values() if run["strategy"] == "fastv")
    (baseline,) = candidate["compared"]
    runs = runs_of(tmp_path)
    difference = compare(runs[named["fastv"]], runs[named["pdrop"]], "gqa")
    shown = compared(made, candidate["key"])[baseline]["benchmarks"]["gqa"]
    assert shown["interval"] == pytest.approx(difference.interval, rel=1e-9)


def test_records_that_say_what_their_samples_add_up_to_give_the_same(
    recorded, page, tmp_path, paged, monkeypatch
):
    shutil.copytree(recorded / "runs", tmp_path / "runs")
    for path in (tmp_path / "runs").glob("*/*/record.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        for task, entry in record["tasks"].items():
            content = (path.parent / "samples" / f"{task}.jsonl").read_bytes()
            tally = stored_tally(entry["benchmark"], [json.loads(line) for line in content.splitlines()])
            entry["samples_sha256"] = checksum(content)
            entry["tally"] = tally and tally_of(entry["samples_sha256"], tally)
        path.write_text(json.dumps(record), encoding="utf-8")
    seen = []
    at_once = module._at_once
    monkeypatch.setattr(module, "_at_once", lambda *runs: seen.append(at_once(*runs)) or seen[-1])
    made = paged(pictures=0)
    assert sum(len(one) for found in seen for one in found.values()) >= 6  # differences of a benchmark each
    told = {key: compared(page, key) for key in page.runs}
    assert {key: compared(made, key) for key in made.runs} == told
    assert any(told.values())
    assert "tally" not in (made.out / f"data/runs/{next(iter(told))}.js").read_text(encoding="utf-8")
