"""Which runs a comparison makes, takes as they are, or refuses, all before a model is loaded."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from compared_records import answers, record

from pdrop_eval.records.store import load_records
from pdrop_eval.report.compare import runs
from pdrop_eval.report.compare.settings import read_settings
from pdrop_eval.run.evaluate import cli as evaluation
from pdrop_eval.run.evaluate.plan import Plan
from pdrop_eval.utils.errors import UserError

GQA = {"gqa": answers(4)}


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """Plans without data or checkpoints, of the task gqa; evaluating one writes a record. What was done."""
    done = SimpleNamespace(checked=[], evaluated=[], commands=[])
    data = SimpleNamespace(sha256={"gqa": "d" * 64}, folder=None, local={})

    def plan(config):
        identity = {"strategy": config.strategy, "downsample": config.downsample}
        tasks = ["gqa"] if config.tasks is None else list(config.tasks)
        return Plan(config, tasks, None, None, data, identity)

    def evaluate(config, advise):
        assert not advise
        done.commands.append(" ".join(sys.argv))
        print("a summary")
        strategy, ratio = config.strategy.name, config.strategy.settings.get("ratio")
        done.evaluated.append((strategy, ratio, config.limit, config.downsample))
        folder = record(tmp_path / f"new{len(done.evaluated)}", strategy, **GQA)
        (made,) = load_records(folder.parents[1])
        return made

    monkeypatch.setattr(runs, "make_plan", plan)
    monkeypatch.setattr(Plan, "existing_record", lambda self: None)
    monkeypatch.setattr(evaluation, "evaluate", evaluate)
    checks_header(monkeypatch, lambda plan, _: done.checked.append(plan.strategy))
    return done


def checks_header(monkeypatch, check):
    """Puts a check in the place of the module that would import torch."""
    monkeypatch.setitem(sys.modules, "pdrop_eval.run.evaluate.header", SimpleNamespace(make_header=check))


def test_what_is_missing_is_evaluated_after_all_of_it_was_checked(planned, capsys):
    sides = runs.make_sides(read_settings(["limit=4", "candidate_overrides=[strategy.ratio=0.6]"]))
    assert planned.checked == ["vanilla", "pdrop"]
    assert planned.evaluated == []
    runs.complete(sides)
    assert planned.evaluated == [("vanilla", None, 4, None), ("pdrop", 0.6, 4, None)]
    assert planned.commands == [
        "pdrop-eval strategy=vanilla limit=4",
        "pdrop-eval strategy=pdrop limit=4 strategy.ratio=0.6",
    ]
    assert [side.name for side in sides] == ["vanilla", "pdrop strategy.ratio=0.6"]
    assert [side.run.results["gqa"]["score"] for side in sides] == [100, 100]
    captured = capsys.readouterr()
    assert captured.out == ""  # standard output is the comparison's
    assert "a summary" in captured.err


def test_a_third_run_sees_smaller_images(planned):
    sides = runs.make_sides(read_settings(["downsample=4", "limit=4"]))
    runs.complete(sides)
    assert [side.role for side in sides] == ["baseline", "candidate", "downsampled"]
    assert planned.evaluated[2] == ("vanilla", None, 4, 4)
    assert planned.evaluated[0][3] is None


def test_what_is_recorded_is_not_evaluated_again(planned, tmp_path, monkeypatch):
    record(tmp_path / "old", "vanilla", **GQA)
    (old,) = load_records(tmp_path / "old")
    monkeypatch.setattr(Plan, "existing_record", lambda self: old if self.strategy == "vanilla" else None)
    runs.complete(runs.make_sides(read_settings([])))
    assert [strategy for strategy, *_ in planned.evaluated] == ["pdrop"]


def test_a_run_that_ends_without_its_tasks_is_no_result(planned, tmp_path, monkeypatch):
    def stop(config, advise):
        record(tmp_path / "broken", config.strategy.name, complete=False, vqav2=answers(2))
        return load_records(tmp_path / "broken")[0]

    sides = runs.make_sides(read_settings([]))
    monkeypatch.setattr(evaluation, "evaluate", stop)
    with pytest.raises(UserError, match="its record is started and lacks gqa"):
        runs.complete(sides)


def test_a_strategy_that_does_not_fit_is_found_before_the_other_run_starts(planned, monkeypatch):
    def refuse(plan, _):
        if plan.strategy == "pdrop":
            raise UserError("layers outside of the model")

    checks_header(monkeypatch, refuse)
    with pytest.raises(UserError, match="layers outside"):
        runs.make_sides(read_settings([]))
    assert planned.evaluated == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["candidate_overrides=[strategy.rato=1]"], "'rato'"),
        (["candidate_overrides=[limt=1]"], "'limt'"),
        (["limit=8"], "made with limit=null, the other run has limit=8"),
        (["tasks=[gqa,pope]"], r"has no pope.*tasks=\[gqa\]"),
        (["downsample=2"], "is a record. Name a strategy"),
        (["max_drop_of={pope:1}"], "has pope, which isn't compared. What is: gqa"),
        (["baseline_overrides=[limit=4]"], "which is a record. Name a strategy"),
    ],
)
def test_what_can_not_be_compared_with_a_record_is_refused_at_once(planned, tmp_path, arguments, words):
    folder = record(tmp_path / "old", "vanilla", **GQA)
    with pytest.raises(UserError, match=words):
        runs.make_sides(read_settings([f"baseline={folder}", *arguments]))
    assert planned.checked == []


def test_a_record_with_another_limit_is_compared_where_leaving_out_was_asked_for(planned, tmp_path):
    folder = record(tmp_path / "old", "vanilla", **GQA)
    sides = runs.make_sides(read_settings([f"baseline={folder}", "limit=8", "unpaired=leave_out"]))
    assert [side.missing for side in sides] == [[], ["gqa"]]


def test_a_strategy_is_not_compared_with_itself(planned, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"baseline=vanilla and candidate=vanilla are the same run"):
        runs.make_sides(read_settings(["candidate=vanilla"]))
    assert planned.checked == []
    other = ["candidate=vanilla", "candidate_overrides=[downsample=2]"]
    assert len(runs.make_sides(read_settings(other))) == 2
    assert len(runs.make_sides(read_settings(["candidate=vanilla", "allow_same=true"]))) == 2
    # a record, and the strategy that it is the record of
    folder = record(tmp_path / "old", "pdrop", **GQA)
    (old,) = load_records(tmp_path / "old")
    monkeypatch.setattr(Plan, "existing_record", lambda self: old)
    with pytest.raises(UserError, match=rf"candidate=pdrop are the same run \({folder.name}\)"):
        runs.make_sides(read_settings([f"baseline={folder}"]))


def test_both_runs_have_the_same_tasks(planned, monkeypatch):
    plan = runs.make_plan
    monkeypatch.setattr(
        runs, "make_plan",
        lambda config: replace(plan(config), tasks=["gqa", "pope"][: len(config.strategy.name) - 4]),
    )  # fmt: skip
    with pytest.raises(UserError, match="the tasks gqa, pope, the candidate gqa"):
        runs.make_sides(read_settings([]))  # "vanilla" has more letters


@pytest.mark.parametrize("name", ["", "/record.json", "/"])
def test_a_record_is_named_by_its_folder_or_its_file(planned, tmp_path, name):
    folder = record(tmp_path / "old", "vanilla", **GQA)
    baseline, candidate = runs.make_sides(read_settings([f"baseline={folder}{name}"]))
    assert baseline.name == folder.name
    assert baseline.missing == []
    assert candidate.missing == ["gqa"]


def test_a_folder_of_runs_names_one_of_them(tmp_path):
    folder = record(tmp_path, "vanilla", **GQA)
    with pytest.raises(UserError, match=f"baseline={folder}"):
        runs.make_sides(read_settings([f"baseline={folder.parent}"]))


def test_several_processes_can_not_compare(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="one process"):
        runs.make_sides(read_settings([]))


def test_limits_are_checked_of_benchmarks_that_no_record_has_described_yet():
    settings = read_settings(
        ["baseline=vanilla", "candidate=pdrop", "tasks=[gqa,realworldqa]", "max_drop_of.realworldqa=1"]
    )
    runs.check_limits_of(settings, ["gqa", "realworldqa"])
    with pytest.raises(UserError, match=r"max_drop_of has realworldqa, which isn't compared.*: gqa, ai2d\."):
        runs.check_limits_of(settings, ["gqa", "ai2d"])
