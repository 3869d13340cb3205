"""Runs of benchmarks that aren't the paper's: other tasks of lmms-eval, and what only a record describes."""

import copy

import pytest
from report_records import edit

from pdrop_eval.benchmarks.registry import benchmark_of, columns, of_task
from pdrop_eval.benchmarks.scoring.rules import scoring_rule
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.tables.cells import measured_cell, shown_score
from pdrop_eval.report.tables.overview import overview, overview_sheet
from pdrop_eval.utils import definitions
from pdrop_eval.utils.errors import UserError


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What one test's records describe is not known to another."""
    monkeypatch.setattr(definitions, "_known", {})


def other(run, key, task="a_task", metric="acc", score=50.0, **definition):
    """Puts a benchmark that the registry lacks into a record."""
    entry = {
        "benchmark": key, "metric": metric, "status": "scored", "score": score, "stderr": 2.0, "n": 10,
        "clusters": 10, "parts": {}, "scale": "0-100", "definition": {"name": "Mine", **definition},
    }  # fmt: skip
    edit(run, lambda record: record["tasks"].update({task: entry}))


def test_a_benchmark_of_a_record_is_a_column_after_the_papers(add_run, runs):
    other(add_run("pdrop", {"gqa": 60.0}), "mine")
    (section,) = overview(runs())
    heads = section.grids[0].heads
    assert (len(heads), heads[-2:]) == (2 + 16 + 1 + 1, ["Mine", "Record"])
    (line,) = section.grids[0].bands[0].lines
    assert line.cells[-2].text == "50.0"
    assert "mine_stderr" in overview_sheet(runs()).split("\n")[0].split(",")


def test_without_one_of_the_papers_their_columns_are_left_out(add_run, runs):
    run = add_run("pdrop", {"gqa": 60.0})
    other(run, "mine")
    edit(run, lambda record: record["tasks"].pop("gqa"))
    (section,) = overview(runs())
    assert section.grids[0].heads[2:] == ["Mine", "Record"]


def test_a_registered_benchmark_beside_the_sixteen_has_its_place_before_what_records_describe(add_run, runs):
    run = add_run("pdrop", {"gqa": 60.0})
    other(run, "aardvark")
    edit(
        run, lambda record: record["tasks"].update({"ai2d": {**record["tasks"]["gqa"], "benchmark": "ai2d"}})
    )
    assert columns(one.results for one in runs())[16:] == ["ai2d", "aardvark"]


def test_making_runs_of_records_changes_no_record(add_run, tmp_path):
    """Of the second, the benchmark goes by another key: the first one has taken its name."""
    other(add_run("pdrop", {}), "mine")
    other(add_run("vanilla", {}), "mine", metric="anls")
    records = load_records(tmp_path / "runs")
    before = copy.deepcopy(records)
    assert len({key for run in to_runs(records) for key in run.results}) == 2
    assert records == before


def test_two_benchmarks_of_one_name_that_are_scored_otherwise_stand_beside_each_other(add_run, runs):
    other(add_run("pdrop", {"gqa": 60.0}), "mine")
    other(add_run("vanilla", {"gqa": 60.0}), "mine", metric="anls")
    keys = columns(run.results for run in runs())[16:]
    assert len(keys) == 2
    assert {benchmark_of(key).metric for key in keys} == {"acc", "anls"}
    assert all(key.startswith("mine") for key in keys)


def test_a_number_of_all_answers_says_why_it_has_no_interval(add_run, runs):
    run = add_run("pdrop", {"gqa": 60.0})
    other(run, "mine", scoring="whole")
    edit(run, lambda record: record["tasks"]["a_task"].update(stderr=None))
    (one,) = runs()
    shown = shown_score(measured_cell(one, "mine"))
    assert shown.text == "50.0"
    assert "no 95% interval: the metric is computed from all answers together" in shown.hint


def test_a_scale_of_its_own_has_no_end_at_100_and_is_named(add_run, runs):
    other(add_run("pdrop", {"gqa": 60.0}), "mine", score=105.0, scale="own", scoring="own_mean")
    (one,) = runs()
    assert measured_cell(one, "mine").interval == pytest.approx((105 - 1.96 * 2, 105 + 1.96 * 2))
    assert "On a scale of their own, lmms-eval's: Mine." in overview(runs())[0].text[0]


def test_a_benchmark_is_found_by_its_task_and_one_that_nobody_knows_is_refused(add_run, runs):
    other(add_run("pdrop", {"gqa": 60.0}), "mine", task="my_task")
    runs()
    assert of_task("my_task").key == "mine"
    assert of_task("hallusion_bench_image").key == "hallusion_bench"
    with pytest.raises(UserError, match=r"Unknown benchmark: 'yours'.*mine"):
        benchmark_of("yours")


def test_a_rule_of_another_version_is_refused_by_name(add_run, runs):
    other(add_run("pdrop", {"gqa": 60.0}), "mine", scoring="median")
    runs()
    with pytest.raises(UserError, match=r"scored by 'median'.*no such rule"):
        benchmark_of("mine")


def test_the_mean_on_its_own_scale_is_the_plain_mean():
    # (5 + 0 + 4) / 3 = 3
    samples = [{"score": score, "cluster": place} for place, score in enumerate([5, 0, 4])]
    assert scoring_rule("own_mean").score(samples) == pytest.approx(3.0)
