"""Events of a run: quiet, as text, as JSON; nothing else among them, and no secrets."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pdrop_eval import evaluate, log
from pdrop_eval.parallel import say
from pdrop_eval.redact import redact, redact_all


@pytest.fixture(autouse=True)
def quiet_afterwards():
    yield
    log.configure("quiet")


def test_quiet_says_no_events_but_words_for_people(capsys):
    log.configure("quiet")
    log.event("task_started", task="gqa")
    say("Loading the model")
    assert capsys.readouterr().err == "Loading the model\n"


def test_text_is_a_line_an_event(capsys):
    log.configure("text")
    log.event("task_finished", task="gqa", score=100 / 3, note="two words", lines="a\nb=c", none=None)
    [line] = capsys.readouterr().err.splitlines()
    assert line[8:] == ' task_finished task=gqa score=33.3333 note="two words" lines="a\\nb=c" none=null'
    assert line[2] == line[5] == ":"


def test_json_is_a_line_an_event_and_nothing_else(capsys):
    log.configure("json")
    say("Loading\nthe model")
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
        ("token hf_abcdefghijklmnopqrstuv.", "token hf_***."),
        ("OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwx", "OPENAI_API_KEY=***"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("judge.api_key=swordfish9 x", "judge.api_key=*** x"),
        (
            "judge.api_key_env=OPENAI_API_KEY budget.tokens=64",
            "judge.api_key_env=OPENAI_API_KEY budget.tokens=64",
        ),
        ("mail me@host, 3 tokens = many", "mail me@host, 3 tokens = many"),
    ],
)
def test_secrets_are_hidden_and_other_words_stay(text, hidden):
    assert redact(text) == hidden


def test_the_values_of_secret_variables_are_hidden_everywhere(monkeypatch, capsys):
    monkeypatch.setenv("MY_SERVER_TOKEN", "correct horse")
    monkeypatch.setenv("SHORT_KEY", "a")
    log.configure("json")
    log.event("note", text="say correct horse", deep={"list": ["correct horse!"]}, number=1)
    found = json.loads(capsys.readouterr().err)
    assert (found["text"], found["deep"], found["number"]) == ("say ***", {"list": ["***!"]}, 1)
    assert redact_all(("a", 1, None)) == ["a", 1, None]


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
            evaluate.main()
        except SystemExit as leaving:
            status = leaving.code
        return status, *capfd.readouterr()

    return run


def fresh(llava, data, results, *more):
    """Runs the command in a process of its own, as a shell does: the libraries' own bars would be seen."""
    given = [f"model.pretrained={llava}", f"data.root={data}", f"results={results}", "tasks=[gqa,chartqa]"]
    return subprocess.run(
        [sys.executable, "-m", "pdrop_eval.evaluate", *given, "limit=4", *more],
        capture_output=True, text=True, check=True,
    )  # fmt: skip


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


def test_a_quiet_run_says_little_and_nothing_of_the_libraries(llava, data, tmp_path):
    done = fresh(llava, data, tmp_path)
    lines = [part for part in done.stderr.replace("\r", "\n").splitlines() if part.strip()]
    ours = ("Loading torch", "Loading the model", "gqa", "chartqa:", "chartqa")
    assert [line for line in lines if not line.startswith(ours)] == []
    assert lines


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
