"""Output on terminals without Unicode, and to a device that is full: the text, or one line and a status."""

import os
import subprocess
import sys

import pytest

ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
SCRIPT = "import sys; sys.argv = ['command', *sys.argv[1:]]; from {module} import main; main()"


def call(module, *arguments, out=subprocess.PIPE, **environment):
    """A console script in a process of its own, as a shell starts it."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(module=module), *arguments],
        env={**os.environ, **environment}, stdout=out, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip


@pytest.fixture
def lambdas(add_run, all_scores, tmp_path):
    """Runs whose tables have Greek letters; the arguments that read them."""
    add_run("vanilla", all_scores(1600, 70.0))
    add_run("pdrop", all_scores(1500, 66.0), fields={"ratio": 0.4})
    return [f"root={tmp_path / 'runs'}", f"out={tmp_path / 'out'}"]


def test_tables_are_printed_where_only_ascii_is(lambdas):
    done = call("pdrop_eval.report.readme.cli", *lambdas, "table=5", **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    text = done.stdout.decode("ascii")
    assert "Delta" in text
    assert "?" not in text


def test_signs_that_an_encoding_lacks_are_words_and_letters(monkeypatch, capsys):
    from pdrop_eval.utils.terminal import output

    monkeypatch.setattr(output.sys.stdout, "reconfigure", lambda **_: None, raising=False)
    text = "λ=0.5 ± é 中"
    assert text.encode("ascii", "pdrop_eval_plain") == b"lambda=0.5 +/- e \\u4e2d"
    assert text.encode("latin-1", "pdrop_eval_plain") == b"lambda=0.5 \xb1 \xe9 \\u4e2d"
    assert output.printable(text) == text  # this stream takes all


@pytest.mark.thin(1)
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["table=5"], ["--help"]])
def test_a_full_device_is_one_line_and_a_status(lambdas, arguments):
    with open("/dev/full", "wb") as full:
        done = call("pdrop_eval.report.readme.cli", *lambdas, *arguments, out=full)
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 2
    assert len(lines) == 1, lines
    assert "the output can't be written: No space left on device." in lines[0]
