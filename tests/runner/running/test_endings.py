"""How every console script ends: one message and the status that goes with it."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from omegaconf.errors import ConfigKeyError

from pdrop_eval.utils.distributed import ElsewhereError
from pdrop_eval.utils.errors import SampleError, UserError
from pdrop_eval.utils.paths import PACKAGE
from pdrop_eval.utils.terminal import cli, log
from pdrop_eval.utils.terminal.console import script


@pytest.fixture
def end(monkeypatch, capsys):
    """Ends a script with an error; returns its status and what it said."""

    def end(error, *arguments):
        monkeypatch.setattr(sys, "argv", ["a-script", *arguments])
        with pytest.raises(SystemExit) as leaving, cli.ending("a-script", "interrupted. Go on."):
            raise error
        return leaving.value.code, capsys.readouterr().err

    yield end
    log.configure("quiet")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("limit=0 is not allowed."), 2, "limit=0 is not allowed."),
        (
            ConfigKeyError("no such\n    full_key: x"),
            2,
            f"The configuration can't be composed: no such full_key: x See {script('pdrop-eval')} --help.",
        ),
        (KeyboardInterrupt(), 130, "interrupted. Go on."),
    ],
)
def test_what_the_user_can_mend_is_one_line(end, error, status, message):
    assert end(error) == (status, f"a-script: {message}\n")


_PROJECT = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
SCRIPTS = re.findall(r'^(pdrop-eval[a-z-]*) = "(.+):main"$', _PROJECT, re.MULTILINE)


@pytest.mark.parametrize(("name", "module"), SCRIPTS)
def test_every_script_begins_its_message_with_its_name(monkeypatch, capsys, name, module):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(sys, "argv", [name, "no_such_setting=1"])
    with pytest.raises(SystemExit) as leaving:
        import_module(module).main()
    assert leaving.value.code == 2
    assert capsys.readouterr().err.startswith(f"{name}: ")


def test_a_bug_leaves_with_1_and_its_traceback(end):
    status, said = end(ValueError("oops"))
    assert status == 1
    assert said.startswith("a-script: ValueError: oops\nTraceback")


def test_a_sample_whose_numbers_broke_down_needs_no_traceback(end):
    error = SampleError("gqa, sample 3")
    error.__cause__ = FloatingPointError("nan")
    assert end(error) == (1, "a-script: SampleError: gqa, sample 3\n")


def test_the_process_that_did_not_fail_says_nothing(end):
    assert end(ElsewhereError("gqa, sample 3")) == (1, "")


def test_a_message_is_an_event_in_json_without_secrets(end, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hunter22-hunter22")
    status, said = end(UserError("no access with hunter22-hunter22"), "log=json")
    found = json.loads(said)
    assert (status, found["event"], found["message"]) == (2, "error", "no access with ***")
    assert end(UserError("no access with hunter22-hunter22"))[1] == "a-script: no access with ***\n"


def test_what_cannot_be_seen_is_written_out(end):
    assert end(UserError("name=\x1b[2J\u202e"))[1] == "a-script: name=\\x1b[2J\\u202e\n"


def test_a_reader_that_has_left_is_no_error():
    """As `| head` does; the files are written by then."""
    read, write = os.pipe()
    os.close(read)
    code = (
        "from pdrop_eval.utils.terminal.cli import ending\n"
        "with ending('a-script'):\n"
        "    print('x' * 10**6, flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
