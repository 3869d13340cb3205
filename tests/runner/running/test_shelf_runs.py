"""Many runs from one list: all strategies at several budgets on one model, without what can't be made."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval.records.rows.left_out import FILE, LeftOut, note_left_out, read_left_out
from pdrop_eval.records.store import load_records
from pdrop_eval.run.evaluate import cli, experiments
from pdrop_eval.run.evaluate.models import Models
from pdrop_eval.run.evaluate.run_list import run_list
from pdrop_eval.strategies.registry import installed
from pdrop_eval.utils.errors import SampleError, UserError
from pdrop_eval.utils.paths import options

THREE = (
    "runs=[{model: mini, strategies: [vanilla, uniform, prumerge], tokens: [48, 16], overrides: ['limit=4']}]"
)
MISSING = LeftOut("mini", "mini", "uniform", ("budget.tokens=48",), "no room")


def test_all_strategies_are_those_that_there_are_each_at_every_budget():
    found = run_list([{"model": "mini", "strategies": "all", "tokens": [48, 16], "overrides": ["limit=4"]}])
    by_name = {name: [run for run in found if run["strategy"] == name] for name in options("strategy")}
    assert sum(map(len, by_name.values())) == len(found)
    assert [run["overrides"] for run in by_name["fastv"]] == [
        ["budget.tokens=48", "limit=4"],
        ["budget.tokens=16", "limit=4"],
    ]
    assert [run["overrides"] for run in by_name["prumerge"]] == [["limit=4"]]  # it takes no budget
    assert found[0] == {"model": "mini", "strategy": "vanilla", "overrides": ["limit=4"]}
    assert {*installed()} <= {*by_name}


def test_a_list_of_strategies_is_one_run_each_where_no_budget_is_named():
    assert run_list([{"model": "mini", "strategies": ["pdrop", "fastv"]}]) == [
        {"model": "mini", "strategy": name, "overrides": []} for name in ("fastv", "pdrop")
    ]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"model": "mini", "strategies": ["fastw"]}, "Unknown strategy: 'fastw'.*Did you mean fastv"),
        ({"model": "mini", "strategies": "every"}, "Unknown strategy: 'every'.*all"),
        ({"model": "mini", "strategies": []}, "Unknown strategy"),
        ({"model": "mini", "strategies": "all", "tokens": [0]}, r"tokens: \[0\] is no list of budgets"),
        ({"model": "mini", "strategies": "all", "tokens": "64"}, "tokens: 64 is no list of budgets"),
        ({"model": "mini", "strategies": "all", "strategy": "pdrop"}, "is no list of runs"),
        ({"model": "mini", "strategy": "pdrop", "tokens": [64]}, "is no list of runs"),
        ({"model": "minni", "strategies": "all"}, "Unknown model: 'minni'"),
    ],
)
def test_several_runs_that_cannot_be_meant_are_refused(entry, message):
    with pytest.raises(UserError, match=message):
        run_list([entry])


@pytest.fixture
def outcome(monkeypatch):
    """Runs an experiment whose runs do what `does` says by strategy; returns its status and what it made."""

    def call(*arguments, refuses=(), fails=()):
        made = []

        def check(spec, models):
            if spec.strategy.name in refuses:
                raise UserError(f"{spec.strategy.name} can't be used here.")

        def evaluate(spec, advise, models):
            if spec.strategy.name in fails:
                raise fails[spec.strategy.name]
            made.append(spec.strategy.name)

        monkeypatch.setattr(cli, "check", check)
        monkeypatch.setattr(cli, "evaluate", evaluate)
        monkeypatch.setattr(experiments, "resolve_checkpoint", lambda _: None)
        monkeypatch.setattr(sys, "argv", ["pdrop-eval", *arguments])
        try:
            cli.main()
        except SystemExit as leaving:
            return leaving.code, made
        return 0, made

    return call


def test_what_cannot_run_is_written_down_before_and_the_others_go_on(outcome, capsys):
    status, made = outcome(THREE, "keep_going=true", "results=r", refuses=["uniform"])
    assert (status, made) == (0, ["vanilla", "prumerge"])
    left = [(one.strategy, one.settings, one.reason) for one in read_left_out(Path("r"))]
    assert left == [
        ("uniform", ("budget.tokens=16",), "uniform can't be used here."),
        ("uniform", ("budget.tokens=48",), "uniform can't be used here."),
    ]
    captured = capsys.readouterr()
    assert "2 of 4 runs are done; 2 left out: the reasons are above." in captured.out
    said = " ".join(captured.err.split())
    assert "[2/4] model=mini strategy=prumerge limit=4" in said
    assert "uniform budget.tokens=48 limit=4: left out. uniform can't be used here." in said
    assert "Traceback" not in captured.err


def test_what_fails_on_the_way_is_written_down_too_until_it_is_done(outcome, capsys):
    broken = {"prumerge": SampleError("gqa, sample 3 can't be answered"), "uniform": ValueError("oops")}
    status, made = outcome(THREE, "keep_going=true", "results=r", fails=broken)
    assert (status, made) == (1, ["vanilla"])
    assert {(one.strategy, one.reason) for one in read_left_out(Path("r"))} == {
        ("prumerge", "gqa, sample 3 can't be answered"),
        ("uniform", "ValueError: oops"),
    }
    said = capsys.readouterr().err
    assert "3 of 4 runs have failed." in said
    assert "Traceback" not in said
    status, made = outcome(THREE, "keep_going=true", "results=r")
    assert (status, made) == (0, ["vanilla", "prumerge", "uniform", "uniform"])
    assert read_left_out(Path("r")) == []


def test_the_shelf_has_records_of_its_own_and_says_what_shows_them(outcome, monkeypatch, capsys):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    asked = []
    monkeypatch.setattr(experiments, "_made", lambda able, *_: (asked.extend(able) or [], []))
    assert outcome("experiment=shelf", "strategy=uniform")[0] == 0
    assert {one.spec.results for one in asked} == {"results/shelf"}
    assert {one.spec.limit for one in asked} == {120}
    assert "pdrop-eval-tables table=shelf root=results/shelf" in capsys.readouterr().out
    asked.clear()
    assert outcome("experiment=shelf", "strategy=uniform", "results=r", "limit=4")[0] == 0
    assert {(one.spec.results, one.spec.limit) for one in asked} == {("r", 4)}


def test_a_combination_takes_the_budgets_and_the_questions_of_the_shelf(outcome, monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "_made", lambda able, *_: (asked.extend(able) or [], []))
    assert outcome("experiment=shelf", "strategy=visionzip+pdrop")[0] == 0
    assert {one.spec.budget.tokens for one in asked} == {None, 192, 128, 64}
    assert {one.spec.limit for one in asked} == {120}


def test_runs_of_ones_own_are_all_made_whatever_the_size_of_their_models(outcome, monkeypatch):
    asked = []
    monkeypatch.setattr(experiments, "_made", lambda able, *_: (asked.extend(able) or [], []))
    runs = "runs=[{model: mini576, strategy: uniform}, {model: mini, strategy: uniform}]"
    assert outcome(runs, "results=r")[0] == 0
    assert [one.model for one in asked] == ["mini576", "mini"]


def test_without_keep_going_the_first_that_fails_ends_it(outcome):
    status, made = outcome(THREE, "results=r", fails={"prumerge": UserError("no")})
    assert (status, made) == (2, ["vanilla"])
    assert not Path("r", FILE).exists()


def test_an_experiment_of_which_nothing_can_be_made_says_why(outcome, capsys):
    status, _ = outcome(THREE, "keep_going=true", "results=r", refuses=["vanilla", "uniform", "prumerge"])
    assert status == 2
    assert "None of the 4 runs can be made. vanilla can't be used here." in capsys.readouterr().err


def test_what_other_experiments_left_out_stays(tmp_path):
    other = LeftOut("mini", "mini", "uniform", ("budget.tokens=16",), "no time")
    note_left_out(tmp_path, [MISSING, other], {MISSING.run, other.run})
    note_left_out(tmp_path, [], {MISSING.run})
    assert read_left_out(tmp_path) == [other]


@pytest.mark.parametrize("text", ["", "[]", '{"runs": [{}]}', '{"runs": [{"model": 1}]}', "\x00"])
def test_a_damaged_list_is_refused_with_its_name(tmp_path, text):
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"{FILE} can't be read.*writes it anew"):
        read_left_out(tmp_path)


LISTED = "runs=[{model: mini, strategies: [random, visionzip, prumerge], tokens: [8]}]"
KILLED = """
import os, signal, sys
from pdrop_eval.records.store import Run
from pdrop_eval.run.evaluate.cli import main

add_task = Run.add_task

def dies(run, *result):
    if run.record["strategy"]["name"] == "prumerge":
        os.kill(os.getpid(), signal.SIGKILL)  # all is answered, and nothing of it in the record
    add_task(run, *result)

Run.add_task = dies
sys.argv = ["pdrop-eval", *sys.argv[1:]]
main()
"""


@pytest.mark.whole
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_list_goes_on_and_gives_what_each_run_gives_alone(llava, data, tmp_path, monkeypatch):
    common = [f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]", "limit=4", "batch_size=2"]
    given = [LISTED, "keep_going=true", f"results={tmp_path}/all", *common]
    done = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert status_of(tmp_path / "all") == {"visionzip": "completed", "prumerge": "started"}

    opened = []
    load = Models.open
    monkeypatch.setattr(Models, "open", lambda *given: opened.append(load(*given)) or opened[-1])
    monkeypatch.setattr(sys, "argv", ["pdrop-eval", *given, "log=text"])
    cli.main()
    together = records_of(tmp_path / "all")
    assert [together[name]["usage"]["recalled"] for name in ("prumerge", "random")] == [4, 0]
    assert len({id(model) for model in opened}) == 1
    assert len(opened) == 2  # not for what was done before
    for name in together:
        budget = [] if name == "prumerge" else ["budget.tokens=8"]
        alone = [f"strategy={name}", *budget, f"results={tmp_path}/alone", *common]
        monkeypatch.setattr(sys, "argv", ["pdrop-eval", *alone])
        cli.main()
    assert hashes(records_of(tmp_path / "alone")) == hashes(together)


def records_of(root):
    return {record["strategy"]["name"]: record["tasks"]["gqa"] for record in load_records(root)}


def hashes(entries):
    return {
        name: (entry["score"], entry["samples_sha256"], entry["tally"]) for name, entry in entries.items()
    }


def status_of(root):
    return {record["strategy"]["name"]: record["status"] for record in load_records(root)}


@pytest.mark.slow
def test_an_image_is_encoded_once_for_all_strategies_that_are_to_come(llava, data, tmp_path, monkeypatch):
    given = [LISTED, f"results={tmp_path}/r", f"model.pretrained={llava}", f"data.root={data}", "tasks=[gqa]"]
    monkeypatch.setattr(sys, "argv", ["pdrop-eval", *given, "keep_going=true"])
    cli.main()
    encoded = {name: entry["usage"]["encoded"] for name, entry in records_of(tmp_path / "r").items()}
    assert sorted(encoded.values()) == [0, 0, 3]  # gqa's six questions are about three pictures
