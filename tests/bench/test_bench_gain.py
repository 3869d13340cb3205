"""What a budget gains: the scores of evaluations near it, and the command that makes them."""

import copy
import shlex

import pytest
from bench_words import one_line

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.report.bench import gain as bench_gain
from pdrop_eval.run.config.compose import check_command_line
from pdrop_eval.strategies.registry import StrategyInfo
from pdrop_eval.utils.terminal.console import script


def evaluation(strategy, per_layer, score, **changes):
    """A run as reports read it, as far as scores near a budget go."""
    record = {
        "run_id": f"{strategy}-{score}",
        "created": "2026-01-01T00:00:00+00:00",
        "model": {"name": "llava_1_5_7b"},
        "status": "completed",
        "suite": {"name": changes.get("suite", "mini")},
        "identity": {"code": {"sha256": changes.get("code", "c")}, "data_sha256": {}},
        "strategy": {"name": strategy, "fields": {"rounding": changes.get("rounding", "round")}},
        "efficiency": {"image_tokens": 36, "image_tokens_per_layer": per_layer},
        "tasks": {"gqa": {"benchmark": "gqa", "score": score, "n": 1}},
        "config": {},
    }
    (run,) = to_runs([record])
    run.changes = changes.get("changes", [])
    return run


def test_scores_of_the_nearest_evaluation_stand_beside_vanillas():
    runs = [
        evaluation("vanilla", [36] * 4, 60.0),
        evaluation("fastv", [36, 36, 6, 6], 50.0),  # 21 of 36 a layer
        evaluation("fastv", [36, 36, 7, 7], 51.0),
        evaluation("pdrop", [36, 36, 6, 6], 55.0),
    ]
    one = {"strategy": "fastv", "reached": {"share": 21 / 36}, "fields": {"rounding": "round", "r": 0.8}}
    lines = bench_gain._scores(one, runs, "llava_1_5_7b")
    assert "suite=mini at 58.3% of the tokens a layer" in one_line(lines[0])
    assert lines[1].strip() == "gqa 50.0 (60.0)"
    far = {**one, "reached": {"share": 0.2}}
    said = bench_gain._scores(far, runs, "llava_1_5_7b")
    assert "none near this budget yet" in said[0]
    start = f"{script('pdrop-eval')} model=llava_1_5_7b strategy="
    assert said[1:] == [f"{start}fastv budget.share=0.2", f"{start}vanilla"]
    for command in said[1:]:
        check_command_line(shlex.split(command)[1:])
    other = {**one, "fields": {"rounding": "floor"}}
    assert "none near this budget" in bench_gain._scores(other, runs, "mini")[0]


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("fastv", {"k": 3, "r": 0.8, "rounding": "floor"}, ["strategy=fastv", "strategy.rounding=floor"]),
        (
            "pdrop",
            {"ratio": 0.4, "stages": 4, "score": "logits"},
            ["strategy=pdrop", "strategy.score=logits"],
        ),
        (
            "visionzip+pdrop",
            {"visionzip.dominant": 30, "visionzip.contextual": 5, "pdrop.ratio": 0.4},
            ["combine=[visionzip,{pdrop:{ratio:0.4}}]"],
        ),
    ],
)
def test_the_command_that_measures_scores_names_the_settings_that_are_not_usual(name, fields, said):
    """A budget decides FastV's K and R, PyramidDrop's λ, and how many tokens VisionZip leaves."""
    assert bench_gain._chosen({"strategy": name, "fields": fields}) == said
    check_command_line(said)


@pytest.mark.parametrize("other", [{"suite": "paper"}, {"changes": ["dtype=float16"]}, {"code": "d"}])
def test_scores_stand_side_by_side_only_where_suite_settings_and_code_are_equal(other):
    one = {"strategy": "fastv", "reached": {"share": 21 / 36}, "fields": {"rounding": "round"}}
    runs = [evaluation("vanilla", [36] * 4, 60.0, **other), evaluation("fastv", [36, 36, 6, 6], 50.0)]
    assert "none near this budget" in bench_gain._scores(one, runs, "mini")[0]
    both = [*runs, evaluation("fastv", [36, 36, 6, 6], 52.0, **other)]
    assert bench_gain._scores(one, both, "mini")[1].strip() == "gqa 52.0 (60.0)"


def test_another_size_has_no_scores(every_variant, monkeypatch):
    runs = [evaluation("vanilla", [36] * 4, 60.0), evaluation("pdrop", [36, 18, 9, 4], 50.0)]
    monkeypatch.setattr(bench_gain, "_runs", lambda *_: runs)
    record = copy.deepcopy(every_variant)
    record["budget"] = {"share": 0.5}
    assert bench_gain._resized(record)
    record["config"]["sizes"] = dict.fromkeys(record["config"]["sizes"])
    assert not bench_gain._resized(record)
    record["config"]["architecture"] = "llava_next_7b"
    assert bench_gain._resized(record)


def test_which_settings_a_gain_names_and_compares_is_said_by_the_strategy(monkeypatch):
    """A budget decides `keep` and `depth`; `extra` has a label, and `score` must be the same in both runs."""
    info = StrategyInfo(
        "own", solved_fields=("keep",), layout_fields=("depth",), label_fields=("extra {extra}",)
    )
    monkeypatch.setattr(bench_gain, "info_of", lambda _: info)
    fields = {"keep": 0.25, "depth": 3, "extra": 1, "score": "logits"}
    reached = {
        "layers": [3], "counts": [9], "image_tokens": 36, "schedule": [36, 36, 36, 9], "tokens": 29.25
    }  # fmt: skip
    one = {"label": "own", "strategy": "own", "fields": fields, "reached": reached, "tflops": 1.0,
           "flops": {"ttft": 1.0}}  # fmt: skip
    assert bench_gain._found(one, one)[0] == "own depth=3 keep=0.25"
    assert bench_gain._rest(fields, info) == {"score": "logits"}
