"""A large sweep is planned without doing the same thing for each of its runs."""

from pdrop_eval.run.sweep.plan import runs
from pdrop_eval.run.sweep.plan.runs import plan_runs
from pdrop_eval.run.sweep.spec import read_sweep
from tools.speed.answering import sweep_gain
from tools.speed.reports import site_scale, sweep_scale


def planned(results, *more, models="mini"):
    given = [f"models=[{models}]", "budgets=[64]", "tasks=[gqa]", f"results={results}"]
    return plan_runs(read_sweep([*given, *more]))


def test_seeds_of_a_run_are_planned_once_and_are_what_each_is_alone(tmp_path, monkeypatch):
    made = []
    whole = runs.plan_beside
    monkeypatch.setattr(runs, "plan_beside", lambda *about: made.append(about) or whole(*about))
    many = planned(tmp_path, "strategies=[fastv,random]", "seeds=[4,5,6]")
    assert len(made) == 2
    alone = planned(tmp_path, "strategies=[random]", "seeds=[6]").runs[0]
    (same,) = [run for run in many.runs if run.id == alone.id]
    assert (same.asked, same.cost, same.plan.config) == (alone.asked, alone.cost, alone.plan.config)
    assert same.plan.identity == alone.plan.identity
    assert len({run.id for run in many.runs}) == 6


def test_models_of_one_suite_share_its_data_and_each_is_what_it_is_alone(tmp_path, monkeypatch):
    made = []
    whole = runs.make_plan
    monkeypatch.setattr(runs, "make_plan", lambda *about: made.append(about[1]) or whole(*about))
    many = planned(tmp_path, "strategies=[random]", models="mini,mini_next_p5")
    assert made[0] is None
    assert made[1].config.model.name == "mini"
    alone = planned(tmp_path, "strategies=[random]", models="mini_next_p5").runs[0].plan
    shared = many.runs[1].plan
    assert (shared.config, shared.identity, shared.data) == (alone.config, alone.identity, alone.data)
    assert shared.task_sha256 == alone.task_sha256


def test_what_can_not_be_is_left_out_with_each_seed(tmp_path):
    found = planned(tmp_path, "strategies=[vanilla,fastv]", "budgets=[3]", "seeds=[4,5]")
    assert [(one.asked.seed, one.spec.seed) for one in found.left_out] == [(4, 4), (5, 5)]
    assert len({one.reason for one in found.left_out}) == 1


def test_the_benchmark_plans_at_least_so_many_cells():
    """Five models, five strategies at five budgets and vanilla, 16 tasks: 2,080 cells a seed."""
    assert sweep_scale.settings(2081)[-1] == "seeds=[1,2]"
    assert sweep_scale.settings(100_000)[-1].count(",") == 48  # 49 seeds: 101,920 cells
    assert not sweep_scale.met({"commands": {"plan=true": {"processor_seconds": 10.5, "bytes": 1}}})


def test_a_sweep_is_compared_with_commands_of_the_same_round():
    """Twice as fast in one round, three times in the other: 2.5 in the median."""
    found = {
        "sweep": [{"seconds": 10, "cells": 8}, {"seconds": 10, "cells": 8}],
        "separate": [{"seconds": 20, "cells": 8}, {"seconds": 30, "cells": 16}],
    }
    assert sweep_gain.gains(found) == {"whole": [2.25, 2.5, 2.75], "cells": [1.25, 1.5, 1.75]}


def test_a_name_of_the_suite_is_not_compared_with_all_of_lmms_evals(tmp_path, monkeypatch):
    """That takes longer than all else that is done for a task of a plan."""
    monkeypatch.setattr("pdrop_eval.run.config.checks.nearest", None)
    assert [run.plan.tasks for run in planned(tmp_path, "strategies=[random]").runs] == [["gqa"]]


def test_a_page_that_takes_the_main_thread_for_over_two_seconds_misses_its_aim():
    result = {
        "commands": {"pdrop-eval-page": {"processor_seconds": 9.9, "bytes": 2.1e9}},
        "opening": {"main_thread_ms": 2001.0},
    }
    assert site_scale.met(result) == {"pdrop-eval-page": False, "opening": False}
    result["commands"]["pdrop-eval-page"]["bytes"] = result["opening"]["main_thread_ms"] = 1999
    assert site_scale.met(result) == {"pdrop-eval-page": True, "opening": True}
