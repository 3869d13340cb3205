"""A sweep with an engine that computes nothing: what is retried, what is told, what another shell sees."""

import json
import shutil

import pytest

from pdrop_eval.run.sweep import cli
from pdrop_eval.run.sweep.engines import engine_of
from pdrop_eval.run.sweep.engines.base import Engine
from pdrop_eval.run.sweep.plan import runs
from pdrop_eval.run.sweep.plan.runs import plan_runs
from pdrop_eval.run.sweep.spec import read_sweep
from pdrop_eval.run.sweep.state.board import DONE, FAILED, Board
from pdrop_eval.run.sweep.state.queue import Queue
from pdrop_eval.run.sweep.state.status import state_of, status_text
from pdrop_eval.utils.errors import RunsFailedError, UserError

SMALL = [
    "models=[mini]", "strategies=[vanilla,fastv,prumerge]", "budgets=[64,3]", "tasks=[gqa,pope]", "limit=2"
]  # fmt: skip


class Fake(Engine):
    """Each cell ends as `outcomes` says, by the words that its name has in it; else it is done."""

    def __init__(self, outcomes=None, at_each=lambda: None):
        self.outcomes, self.at_each, self.computed = outcomes or {}, at_each, []

    def run(self, spec, queue, progress):
        while (cell := queue.take("fake")) is not None:
            progress.begin(cell, "here")
            self.at_each()
            self.computed.append(cell.words)
            queue.settle("fake")
            states = next((own for words, own in self.outcomes.items() if words in cell.words), None)
            state, reason = states.pop(0) if states else (DONE, None)
            again = (
                progress.lost(cell, reason)
                if state == "lost"
                else progress.end(cell, {"state": state, "reason": reason, "score": 50.0, "n": 2})
            )
            if again:
                queue.put(cell)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """The plan of SMALL, made once."""
    results = tmp_path_factory.mktemp("results")
    return results, plan_runs(read_sweep([*SMALL, f"results={results}"]))


@pytest.fixture
def results(planned):
    """Its folder, as before the first sweep."""
    for path in planned[0].iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return planned[0]


@pytest.fixture
def sweep(planned, results, monkeypatch):
    def run(engine, *arguments):
        monkeypatch.setattr(cli, "engine_of", lambda _: engine)
        monkeypatch.setattr(runs, "plan_runs", lambda _: planned[1])
        cli.sweep([*SMALL, f"results={results}", *arguments])

    return run


def test_all_cells_that_can_be_are_computed(sweep, results, capsys):
    """Vanilla, PruMerge and FastV at 64 tokens; at 3, FastV can't be: 3 runs of 2 tasks."""
    engine = Fake()
    sweep(engine)
    assert engine.computed == [
        "vanilla, mini, gqa", "fastv, tokens=64, mini, gqa", "prumerge, mini, gqa",
        "vanilla, mini, pope", "fastv, tokens=64, mini, pope", "prumerge, mini, pope",
    ]  # fmt: skip
    told = capsys.readouterr()
    assert told.out == "6 of 6 cells are done; 1 run can't be made, plan=true says why.\n"
    assert "[6/6] prumerge, mini, pope: 50.00" in told.err
    (left_out,) = json.loads((results / "left_out.json").read_text())["runs"]
    assert left_out["settings"] == ["budget.tokens=3"]
    assert "can't be reached" in left_out["reason"]


def test_a_failure_is_tried_again_as_told(sweep, results, capsys):
    engine = Fake({"fastv, tokens=64, mini, gqa": [(FAILED, "out of memory")]})
    sweep(engine)
    assert engine.computed.count("fastv, tokens=64, mini, gqa") == 2
    state = state_of(Board(results))
    assert (state.done, state.failed, state.retried, state.waiting) == (6, {}, 1, 0)


def test_what_fails_for_good_is_listed_and_the_others_go_on(sweep, results, capsys):
    engine = Fake({"fastv, tokens=64, mini, gqa": [(FAILED, "a damaged sample")] * 2})
    with pytest.raises(RunsFailedError) as error:
        sweep(engine)
    assert "1 cell has failed" in str(error.value)
    assert "fastv, tokens=64, mini, gqa: a damaged sample" in str(error.value)
    assert len(engine.computed) == 7
    text = status_text(state_of(Board(results)))
    assert "5 of 6 cells done, 0 running, 0 waiting, 1 failed" in text
    assert "failed   fastv, tokens=64, mini, gqa: a damaged sample" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_no_retry_is_one_try(sweep):
    engine = Fake({"vanilla, mini, gqa": [(FAILED, "no")] * 5})
    with pytest.raises(RunsFailedError):
        sweep(engine, "retries=0")
    assert engine.computed.count("vanilla, mini, gqa") == 1


def test_a_worker_that_dies_costs_no_retry_but_does_not_hold_up_for_ever(sweep):
    engine = Fake(
        {"vanilla, mini, gqa": [("lost", "killed")] * 3, "vanilla, mini, pope": [("lost", "killed")] * 99}
    )
    with pytest.raises(RunsFailedError, match="1 cell has failed"):
        sweep(engine, "retries=0")
    assert engine.computed.count("vanilla, mini, gqa") == 4
    assert engine.computed.count("vanilla, mini, pope") == 10


def test_another_shell_sees_how_far_it_is_and_may_not_begin_another(sweep, results):
    seen = []

    def look():
        seen.append(status_text(state_of(Board(results))))
        if len(seen) == 3:
            with pytest.raises(UserError, match="A sweep runs in"):
                sweep(Fake())

    sweep(Fake(at_each=look))
    assert "running, engine=local" in seen[2]
    assert "2 of 6 cells done, 1 running, 3 waiting, 0 failed" in seen[2]
    assert "running  prumerge, mini, gqa on here" in seen[2]
    assert "left" in seen[2]


def test_a_sweep_that_was_killed_says_so(sweep, results):
    def die():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(Fake(at_each=die))
    text = status_text(state_of(Board(results)))
    assert text.startswith("stopped, engine=local")
    assert "The same command again computes what is missing." in text


def test_a_plan_runs_nothing(sweep, results, capsys):
    engine = Fake()
    sweep(engine, "plan=true")
    assert engine.computed == []
    told = capsys.readouterr().out
    assert told.startswith("6 cells of 3 runs: 0 are there, 6 to compute.")
    assert "fastv, tokens=3, mini: budget.tokens=3 can't be reached by FastV" in " ".join(told.split())
    assert all(len(line) <= 80 for line in told.splitlines())
    assert not (results / ".sweep").exists()


def test_nothing_that_can_be_made_is_an_error(results):
    spec = read_sweep(["models=[llava_next_7b_pdrop_05]", "strategies=[vanilla]", f"results={results}"])
    with pytest.raises(UserError, match=r"The only run of this sweep can't be made. .* checkpoint"):
        plan_runs(spec)


def test_a_device_that_is_not_here_is_wrong_input_and_no_failure_of_each_cell(monkeypatch):
    def absent(device):
        raise UserError(f"device={device}: none here")

    monkeypatch.setattr("pdrop_eval.run.sweep.engines.local.check_device", absent)
    with pytest.raises(UserError, match="device=cuda: none here"):
        engine_of("local").run(read_sweep(["device=cuda"]), Queue([]), None)
