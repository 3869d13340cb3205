"""Events of a run: quiet, as text, as JSON; nothing else among them, and no secrets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval.run.evaluate import cli
from pdrop_eval.utils.terminal import log
from pdrop_eval.utils.terminal.bars import passing_bars, questions_bar
from pdrop_eval.utils.terminal.log import log_rank_zero
from pdrop_eval.utils.text.redact import redact, redact_all


@pytest.fixture(autouse=True)
def quiet_afterwards():
    yield
    log.configure("quiet")


def test_quiet_says_no_events_but_words_for_people(capsys):
    log.configure("quiet")
    log.event("task_started", task="gqa")
    log_rank_zero("Loading the model")
    assert capsys.readouterr().err == "Loading the model\n"


def test_text_is_a_line_an_event(capsys):
    log.configure("text")
    log.event("task_finished", task="gqa", score=100 / 3, note="two words", lines="a\nb=c", none=None)
    [line] = capsys.readouterr().err.splitlines()
    assert line[8:] == ' task_finished task=gqa score=33.3333 note="two words" lines="a\\nb=c" none=null'
    assert line[2] == line[5] == ":"


def test_json_is_a_line_an_event_and_nothing_else(capsys):
    log.configure("json")
    log_rank_zero("Loading\nthe model")
    log.event("batch_halved", level="warning", was=8, now=4, text="\x1b[2J\u2028é")
    lines = [json.loads(line) for line in capsys.readouterr().err.split("\n")[:-1]]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "note"),
        ("warning", "batch_halved"),
    ]
    assert lines[0]["text"] == "Loading\nthe model"
    assert (lines[1]["was"], lines[1]["now"], lines[1]["text"]) == (8, 4, "\x1b[2J\u2028é")


def test_configuring_twice_says_everything_once(capsys):
    log.configure("json")
    log.configure("json")
    assert log.kind() == "json"
    log.event("x")
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("https://me:pass@host/v1", "https://***@host/v1"),
        ("http://u:p@ss@host:8000/v1?a=b", "http://***@host:8000/v1?a=b"),
        (f"say hf_{'a1B2' * 9}.", "say hf_***."),
        ("OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwx", "OPENAI_API_KEY=***"),
        ("sent sk-abcdefghijklmnopqrstuvwx", "sent sk-***"),
        (f"glpat-{'x' * 20} gho_{'y' * 36} AKIAIOSFODNN7EXAMPLE", "glpat-*** gho_*** AKIA***"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("judge.api_key=swordfish9 x", "judge.api_key=*** x"),
        ("token='abc def' limit=3", "token='*** def' limit=3"),
        ('{"api_key": "abcdef", "n": 1}', '{"api_key": "***", "n": 1}'),
        ("HF_TOKEN: abcdef", "HF_TOKEN: ***"),
        ("run --token abcdef --limit 3", "run --token *** --limit 3"),
        ('my.password="hunter2"', 'my.password="***"'),
        # what only looks like one
        ("judge.api_key_env=MY_KEY budget.tokens=64", "judge.api_key_env=MY_KEY budget.tokens=64"),
        (
            "judge.api_key=null eos_token=2 image_token=<image>",
            "judge.api_key=null eos_token=2 image_token=<image>",
        ),
        (
            "hf_hub_download_to_cache, at https://ex.com?m=a@b",
            "hf_hub_download_to_cache, at https://ex.com?m=a@b",
        ),
        ("mail me@host, 3 tokens = many", "mail me@host, 3 tokens = many"),
    ],
)
def test_secrets_are_hidden_and_other_words_stay(text, hidden):
    assert redact(text) == hidden


def test_the_values_of_secret_variables_are_hidden_everywhere(monkeypatch, capsys):
    monkeypatch.setenv("MY_SERVER_TOKEN", "correct horse")
    monkeypatch.setenv("MODEL_KEY", "llava_1_5")
    monkeypatch.setenv("SHORT_KEY", "a")
    log.configure("json")
    log.event("note", text="say correct horse", deep={"list": ["correct horse!"]}, number=1)
    found = json.loads(capsys.readouterr().err)
    assert (found["text"], found["deep"], found["number"]) == ("say ***", {"list": ["***!"]}, 1)
    assert redact_all(("a", 1, None)) == ["a", 1, None]
    assert redact("llava_1_5_7b llava_1_5") == "llava_1_5_7b ***"
    hidden = {"password": "***", "eos_token": "2", "api_key_env": "X", "token": "***"}
    assert redact_all({"password": "a b", "eos_token": "2", "api_key_env": "X", "token": "t"}) == hidden


@pytest.fixture
def command(llava, data, tmp_path, monkeypatch, capfd):
    """Runs the console script in this process; returns its exit status, output and error."""

    def run(*more):
        given = [
            f"model.pretrained={llava}",
            f"data.root={data}",
            f"results={tmp_path}",
            "tasks=[gqa,chartqa]",
        ]
        monkeypatch.setattr(sys, "argv", ["pdrop-eval", *given, "limit=4", *more])
        status = 0
        try:
            cli.main()
        except SystemExit as leaving:
            status = leaving.code
        return status, *capfd.readouterr()

    return run


def fresh(llava, data, results, *more):
    """Runs the command in a process of its own, as a shell does: the libraries' own bars would be seen."""
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", "tasks=[gqa,chartqa]"]
    return subprocess.run(
        [sys.executable, "-m", "pdrop_eval.run.evaluate.cli", *given, "limit=4", *more],
        capture_output=True, text=True, check=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_in_json_has_its_events_in_order_and_nothing_else(llava, data, tmp_path):
    done = fresh(llava, data, tmp_path, "log=json")
    out, err = done.stdout, done.stderr
    lines = [json.loads(line) for line in err.splitlines()]
    told = [line["event"] for line in lines if line["event"] != "note"]
    one = ["task_started", "task_finished"]
    assert told == ["run_started", *one, *one, "run_completed"]
    finished = [line for line in lines if line["event"] == "task_finished"]
    record = json.loads(next(tmp_path.glob("*/*/record.json")).read_text())
    assert {line["task"]: line["score"] for line in finished} == {
        task: entry["score"] for task, entry in record["tasks"].items()
    }
    assert lines[-1]["folder"] == str(next(tmp_path.glob("*/*")))
    assert "record:" in out  # the result itself stays where it was


def test_an_error_in_json_is_an_event(command):
    status, _, err = command("log=json", "limit=0")
    assert status == 2
    [line] = err.splitlines()
    assert json.loads(line)["event"] == "error"
    assert "limit=0 is not allowed" in json.loads(line)["message"]


@pytest.mark.slow
def test_a_quiet_run_says_little_and_nothing_of_the_libraries(llava, data, tmp_path):
    done = fresh(llava, data, tmp_path)
    lines = [part for part in done.stderr.replace("\r", "\n").splitlines() if part.strip()]
    ours = ("Loading torch", "Loading the model", "gqa", "chartqa:", "chartqa")
    assert [line for line in lines if not line.startswith(ours)] == []
    assert lines


@pytest.mark.parametrize("wrong", ["strategy=nope", "nosuch=1", "limit=1,2"])
def test_a_wrong_command_line_in_json_is_an_event_too(command, wrong):
    status, _, err = command("log=json", wrong)
    assert status == 2
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["error"]


def test_what_nobody_expected_leaves_with_1_and_without_secrets(command, monkeypatch):
    def broken(*_):
        raise ArithmeticError("no way: password=hunter22")

    monkeypatch.setattr(cli, "make_plan", broken)
    status, _, err = command("log=json", "judge.model=hunter22")
    assert status == 1
    [line] = err.splitlines()
    assert "ArithmeticError: no way: password=***" in json.loads(line)["message"]
    assert "Traceback" in json.loads(line)["message"]
    assert "hunter22" not in err
    status, _, err = command("judge.model=hunter22")
    assert status == 1
    assert "Traceback" in err
    assert "hunter22" not in err


def test_an_unknown_kind_of_log_is_refused_at_once(command):
    status, _, err = command("log=xml")
    assert status == 2
    assert "Unknown log: 'xml'. Allowed: quiet, text, json." in err


def test_no_record_keeps_a_password(command, tmp_path):
    status, out, err = command("judge.base_url=https://me:hunter22@judge.example/v1", "log=text")
    assert status == 0, err
    written = "".join(path.read_text() for path in Path(tmp_path).rglob("*") if path.is_file())
    assert "hunter22" not in written + err + out
    assert "judge.example" in written


def test_bars_of_a_sweep_are_for_a_terminal_alone_and_go_again(monkeypatch, capsys):
    def drawn(**asked):
        with questions_bar(2, "gqa", **asked) as bar:
            bar.update(2)
        return capsys.readouterr().err

    assert "gqa: 100%" in drawn()
    assert drawn().endswith("\n")
    assert drawn(first=False) == ""
    with passing_bars():
        assert drawn() == ""  # its standard error is no terminal
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert drawn().strip(" \r").startswith("gqa:   0%")
        assert drawn().endswith("\r")  # nothing is left of it
    assert drawn().endswith("\n")
