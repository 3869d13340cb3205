"""Whole sweeps on the miniature: their records are those of `pdrop-eval`, whoever computes them."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.evaluate import cli as evaluate
from pdrop_eval.run.sweep import cli, spec
from pdrop_eval.run.sweep.plan import runs
from pdrop_eval.utils.errors import RunsFailedError
from tools.robustness.compared import content

TASKS = "tasks=[gqa,pope]"
SWEEP = ["models=[mini]", "strategies=[vanilla,fastv,visionzip]", "budgets=[64]", TASKS, "limit=2"]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """The same runs, each by a command of its own."""
    results = tmp_path_factory.mktemp("by_hand")
    for name in ("vanilla", "fastv", "visionzip"):
        own = ["model=mini", f"strategy={name}", *(["budget.tokens=64"] if name != "vanilla" else [])]
        evaluate.evaluate(compose_spec([*own, TASKS, "limit=2", f"results={results}"]), False)
    return content(results)


def times_asked(results):
    """How many images were encoded, and how many answers recalled, over all tasks of all runs."""
    found = Counter()
    for path in results.glob("*/*/record.json"):
        for entry in json.loads(path.read_text())["tasks"].values():
            found.update({name: entry["usage"][name] for name in ("images", "encoded", "recalled")})
    return found


@pytest.mark.slow
def test_a_local_sweep_writes_what_single_commands_write(by_hand, tmp_path, monkeypatch):
    cli.sweep([*SWEEP, f"results={tmp_path}"])
    assert content(tmp_path) == by_hand
    # two questions of a task ask about one image: the first strategy encodes it, all others find it
    used = times_asked(tmp_path)
    assert (used["images"], used["encoded"]) == (3 * 4, 2)
    # and there is nothing left to do: no model is opened again
    monkeypatch.setattr("pdrop_eval.run.sweep.work.worker.Worker._asked", None)
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*/record.json")}
    cli.sweep([*SWEEP, f"results={tmp_path}"])
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.slow
def test_a_cell_that_fails_leaves_the_others_and_the_same_command_mends_it(
    by_hand, tmp_path, monkeypatch, capsys
):
    from pdrop_eval.run.lmms.model import PdropLlava

    whole = PdropLlava._answer

    def broken(self, batch):
        if self.strategy.name == "fastv" and batch[0].request.args[4] == "gqa":
            raise RuntimeError("CUDA out of memory")
        return whole(self, batch)

    monkeypatch.setattr(PdropLlava, "_answer", broken)
    with pytest.raises(RunsFailedError, match=r"fastv, tokens=64, mini, gqa: .*memory"):
        cli.sweep([*SWEEP, f"results={tmp_path}"])
    (path,) = tmp_path.glob("mini/fastv-*/record.json")
    failed = json.loads(path.read_text())
    assert (failed["status"], [*failed["tasks"]]) == ("failed", ["pope"])
    assert "out of memory" in failed["error"]
    left = by_hand.keys() - content(tmp_path).keys()
    assert left == {f"mini/{path.parent.name}/samples/gqa.jsonl"}
    cli.sweep([*SWEEP, f"results={tmp_path}", "plan=true"])
    assert "6 cells of 3 runs: 5 are there, 1 to compute." in capsys.readouterr().out
    monkeypatch.setattr(PdropLlava, "_answer", whole)
    cli.sweep([*SWEEP, f"results={tmp_path}"])
    assert content(tmp_path) == by_hand


@pytest.mark.slow
def test_a_ray_sweep_writes_what_single_commands_write(by_hand, tmp_path):
    pytest.importorskip("ray")
    program = [sys.executable, "-m", "pdrop_eval.run.sweep.cli"]
    command = [*program, *SWEEP, f"results={tmp_path}", "engine=ray", "actors=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "6 of 6 cells are done.\n"
    assert content(tmp_path) == by_hand


@pytest.mark.slow
def test_a_strategy_of_a_sweep_is_that_of_the_command_line():
    """Every strategy with its file's settings, one with its own, and a combination."""
    further = "include=[{strategies:[{fastv:{k:3}},{combine:[visionzip,{pdrop:{ratio:0.4}}]}]}]"
    for one in runs.asked_runs(spec.read_sweep(["strategies=all", "tasks=[gqa]", further])):
        words = [f"strategy={one.strategy}", *(f"strategy.{name}={value}" for name, value in one.fields)]
        if "+" in one.strategy:
            words = ["combine=[visionzip,{pdrop:{ratio:0.4}}]"]
        assert runs.strategy_of(one) == compose_spec(words).strategy, words
