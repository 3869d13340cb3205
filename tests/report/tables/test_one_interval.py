"""One difference, one interval: compare, figures, findings and the results page say the same of two runs."""

import json
import sys

import pytest
from report_records import FIELDS, LLAVA_15

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.benchmarks.scoring.difference import mean_difference
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import Run, load_records
from pdrop_eval.report.compare import cli
from pdrop_eval.report.figures.flops.chart import make_charts
from pdrop_eval.report.figures.flops.gains import gain
from pdrop_eval.report.findings.questions import MATCH, find
from pdrop_eval.report.paired.pairing import compare
from pdrop_eval.report.site.data.compared import comparisons
from pdrop_eval.report.site.data.records import read_runs

PDROP = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
BUDGET = {"tokens": None, "share": 0.5, "tflops": None}
# what 40 questions of two benchmarks earn: two about each picture, and a benchmark in three subcategories
BEFORE = {"gqa": [1] * 30 + [0] * 10, "mmstar": [1] * 25 + [0] * 15}
AFTER = {"gqa": [0] * 6 + [1] * 26 + [0] * 8, "mmstar": [0, 0] + [1] * 23 + [0] * 15}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a run that earned these marks."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)

    def add(name, strategy, kind, marks, **settings):
        config = {"strategy": FIELDS[strategy], "seed": 1, "limit": None, "device": "cpu", **settings}
        header = {
            "config": config, "limit": None, "command": "pdrop-eval",
            "model": {"name": name, "sha256": name, "dtype": "float32", **kind},
            "strategy": {"name": strategy, "fields": {}},
            "suite": {"name": "mini", "source": "rendered"},
            "code": {"version": "1", "commit": "c" * 40, "dirty": False},
            "efficiency": {"image_tokens_per_layer": [100, 50]},
        }  # fmt: skip
        with Run.open(tmp_path / "runs", name, strategy, {"config": config, **kind}, header) as run:
            for key, earned in marks.items():
                samples = [_sample(key, place, mark) for place, mark in enumerate(earned)]
                entry = {
                    "benchmark": key, "metric": "m", "score": benchmarks()[key].rule.score(samples),
                    "stderr": 1.0, "n": len(samples), "tflops_mean": 0.1, "data_sha256": key,
                }  # fmt: skip
                run.add_task(benchmarks()[key].task, entry, samples)
            run.complete()
        return run.folder

    return add


def _sample(key, place, mark):
    unit = place // 2 if key == "gqa" else place
    part = {"part": "abc"[place % 3]} if key == "mmstar" else {}
    return {
        "doc_id": place,
        "score": float(mark),
        "cluster": unit,
        "target": "yes",
        "answer": "yes" if mark else "no",
        "prompt": "?",
        "content_sha256": f"{key} {place}",
        "images_sha256": f"{key} picture {unit}",
        **part,
    }


def compared(monkeypatch, baseline, candidate):
    """What pdrop-eval-compare writes of two runs: difference and interval by benchmark, and of the mean."""
    runs = f"baseline={baseline}", f"candidate={candidate}"
    monkeypatch.setattr(sys, "argv", ["", *runs, "out=out", "name=x"])
    with pytest.raises(SystemExit) as leaving:
        cli.main()
    assert leaving.value.code in (0, 1)
    with open("out/x.json", encoding="utf-8") as file:
        found = json.load(file)
    return [(one["difference"], *one["interval"]) for one in [*found["benchmarks"], found["overall"]]]


def on_the_page(tmp_path, baseline, candidate):
    runs = {one.run.id: one for one in read_runs(tmp_path / "runs")}
    found = comparisons(list(runs.values()), tmp_path / "out")
    shown = found[runs[candidate.name].key][runs[baseline.name].key]
    return [(one["difference"], *one["interval"]) for one in [*shown["benchmarks"].values(), shown["mean"]]]


def numbers(differences):
    return [(one.value, *one.interval) for one in [*differences, mean_difference(differences)]]


def the_same(*told):
    assert len(told[0]) == 3
    for other in told[1:]:
        for one, two in zip(told[0], other, strict=True):
            assert one == pytest.approx(two, rel=1e-9)


def test_of_two_strategies_compare_figure_and_page_say_the_same(write, tmp_path, monkeypatch):
    baseline = write("mini576", "vanilla", LLAVA_15, BEFORE)
    candidate = write("mini576", "pdrop", LLAVA_15, AFTER, budget=BUDGET)
    runs = to_runs(load_records(tmp_path / "runs"))
    (chart,) = make_charts("figure4", runs, tasks=list(BEFORE.keys()))
    (point,) = (one for one in chart.measured if one.strategy == "pdrop")
    figure = [gain(chart, point, chart.vanilla, [key]) for key in BEFORE]
    whole = gain(chart, point, chart.vanilla, list(BEFORE))
    order = [key for key in benchmarks() if key in BEFORE]
    figure = [figure[list(BEFORE).index(key)] for key in order]
    the_same(
        compared(monkeypatch, baseline, candidate),
        on_the_page(tmp_path, baseline, candidate),
        [*numbers(figure)[:-1], (whole.value, *whole.interval)],
    )


def test_of_two_trainings_compare_findings_and_page_say_the_same(write, tmp_path, monkeypatch):
    baseline = write("mini576", "vanilla", LLAVA_15, BEFORE)
    candidate = write("mini576_pdrop_05", "pdrop", PDROP, AFTER)
    runs = to_runs(load_records(tmp_path / "runs"))
    (found,) = (one for one in find(runs) if one.question.name == MATCH)
    words = compared(monkeypatch, baseline, candidate)
    by_id = {run.id: run for run in runs}
    the_same(
        words,
        on_the_page(tmp_path, baseline, candidate),
        [*numbers(list(found.by_benchmark.values()))[:-1], (found.mean.value, *found.mean.interval)],
        numbers([compare(by_id[candidate.name], by_id[baseline.name], key) for key in found.by_benchmark]),
    )
