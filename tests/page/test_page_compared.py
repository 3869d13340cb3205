"""The comparisons that a page has computed: which pairs, and that their numbers are those of compare."""

import json

import pytest
import synthetic
from paging import data

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import mean_difference
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.paired.pairing import LEAVE_OUT, compare, pair


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
        found = {"gqa": (synthetic.samples("mini", strategy, "gqa", range(9)), stored)}
        named[strategy] = synthetic.write_run(tmp_path / "runs", "mini", strategy, found).name
    assert [run["compared"] for run in paged().runs.values()] == [[], []]  # no vanilla
    roles = {"baseline": named["pdrop"], "candidate": named["fastv"]}
    (tmp_path / "compare").mkdir()
    sides = {role: {"run_id": run, "model": {"name": "mini"}} for role, run in roles.items()}
    (tmp_path / "compare" / "a.json").write_text(json.dumps({"runs": sides}), encoding="utf-8")
    (tmp_path / "compare" / "coverage.json").write_text('{"cells": []}', encoding="utf-8")
    made = paged()
    (candidate,) = (run for run in made.runs.values() if run["strategy"] == "fastv")
    (baseline,) = candidate["compared"]
    runs = runs_of(tmp_path)
    difference = compare(runs[named["fastv"]], runs[named["pdrop"]], "gqa")
    shown = compared(made, candidate["key"])[baseline]["benchmarks"]["gqa"]
    assert shown["interval"] == pytest.approx(difference.interval, rel=1e-9)
