"""Whatever goes wrong, a comparison leaves with 2, and no file says that it passed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from compared_records import GOOD, command, junit, written

from pdrop_eval.report.compare import cli
from pdrop_eval.report.compare.output import files
from pdrop_eval.report.compare.place import find

pytestmark = pytest.mark.usefixtures("elsewhere")


@pytest.mark.parametrize(
    "error", [MemoryError("no more"), SystemExit(0), SystemExit(1), RuntimeError("boom")]
)
def test_a_crash_is_neither_a_pass_nor_a_regression(compare, monkeypatch, error):
    def crash(*_):
        raise error

    monkeypatch.setattr("pdrop_eval.report.paired.effect.measure_all", crash)
    status, shown, found = compare({"gqa": GOOD}, {"gqa": GOOD})
    assert status == 2
    assert "could not compare" in shown.err
    assert found["verdict"]["status"] == "not compared"
    assert isinstance(error, SystemExit) or "Traceback" in shown.err


@pytest.mark.parametrize(
    "module",
    ["pdrop_eval.utils.errors", "pdrop_eval.report.compare.settings", "pdrop_eval.run.evaluate.plan"],
)
def test_a_broken_installation_is_not_a_regression(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    monkeypatch.delitem(sys.modules, "pdrop_eval.report.compare.runs", raising=False)
    assert command(monkeypatch, "baseline=a/b", "out=out", "name=x") == 2
    assert module in capsys.readouterr().err


def test_secrets_are_in_no_output(compare, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "swordfish-1234")
    header = {"command": "pdrop-eval data.root=x-swordfish-1234"}
    _, shown, _ = compare({"gqa": GOOD, "header": header}, {"gqa": GOOD}, "limit=swordfish-1234")
    texts = [shown.out, shown.err, *(written(kind) for kind in ("md", "json", "xml"))]
    assert [text for text in texts if "swordfish-1234" in text] == []
    assert "x-***" in written("md").replace("&#42;", "*")


def test_an_interrupt_is_not_a_result(monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_answer", interrupt)
    assert command(monkeypatch) == 2
    assert "Run the same command to resume" in capsys.readouterr().err


def test_the_files_of_an_earlier_comparison_are_gone_before_this_one_starts(compare, monkeypatch, tmp_path):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    (tmp_path / "out" / "x.pictures").mkdir(exist_ok=True)
    (tmp_path / "out" / "x.pictures" / "gqa-1.png").write_bytes(b"")
    kept = tmp_path / "out" / "y.md"
    kept.write_text("another comparison's")

    left = []

    def killed(_):
        left.extend(path.name for path in (tmp_path / "out").rglob("*") if path.is_file())
        raise KeyboardInterrupt

    monkeypatch.setattr("pdrop_eval.report.compare.runs.make_sides", killed)
    assert command(monkeypatch, "out=out", "name=x") == 2
    assert sorted(left) == [".lock", "y.md"]


@pytest.mark.parametrize("wrong", ["gate=estimat", "gaet=estimate", "-x", "++tasks=[gqa]"])
def test_a_wrong_command_line_takes_an_earlier_pass_away(compare, monkeypatch, wrong):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    assert command(monkeypatch, wrong, "out=out", "name=x") == 2
    assert written("md").startswith("## Could not compare: ")
    assert junit().get("errors") == "1"
    assert json.loads(written("json"))["verdict"]["status"] == "not compared"
    assert not Path("out/x.answers.jsonl").exists()


@pytest.mark.parametrize(
    "module",
    ["errors", "redact", "compare.settings", "compare.outputs", "compare.junit", "compare.document"],
)
def test_a_broken_installation_takes_an_earlier_pass_away(compare, monkeypatch, module):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    monkeypatch.setitem(sys.modules, f"pdrop_eval.{module}", None)  # importing it raises
    assert command(monkeypatch, "baseline=a/b", "out=out", "name=x") == 2
    assert "Passed" not in "".join(path.read_text() for path in Path("out").glob("x.*") if path.is_file())


@pytest.mark.parametrize("kind", ["json", "xml", "md"])
def test_a_disk_that_fills_up_leaves_no_pass(compare, monkeypatch, kind):
    real, full = files.write_atomically, []

    def fills_up(path, content):
        full.extend([1] * path.name.endswith(kind))
        if full:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(files, "write_atomically", fills_up)
    with pytest.raises(FileNotFoundError):  # the fixture finds no JSON
        compare({"gqa": GOOD}, {"gqa": GOOD})
    assert [path for path in Path("out").iterdir() if path.is_file()] == []


def test_a_disk_that_is_full_from_the_start_keeps_no_earlier_pass(compare, monkeypatch):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "Lock", full)
    assert command(monkeypatch, "out=out", "name=x") == 2
    assert [path for path in Path("out").iterdir() if path.is_file()] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_verdict_that_nobody_could_read_is_none(compare, tmp_path):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    given = [f"{role}={next((tmp_path / at).glob('*/*'))}" for role, at in
             (("baseline", "one"), ("candidate", "two"))]  # fmt: skip
    for full in ("stdout", "stderr"):
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with open("/dev/full", "w") as device:
            call = [sys.executable, "-m", "pdrop_eval.report.compare.cli", "out=out", "name=x", *given]
            call += ["gate=estimat"] if full == "stderr" else []
            status = subprocess.run(call, check=False, **{**streams, full: device}).returncode
        assert status == 2
        assert written("md").startswith("## Could not compare: ")


def test_a_second_comparison_of_the_same_name_leaves_the_first_alone(compare, monkeypatch, capsys):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    with files.held(find(["out=out", "name=x"])):
        Path("out/x.md").write_text("the first one's")
        assert command(monkeypatch, "out=out", "name=x") == 2
        assert "Another comparison is writing out/x.* right now" in capsys.readouterr().err
        assert written("md") == "the first one's"
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0


def test_files_that_can_not_be_written_are_no_pass(compare, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdrop_eval.report.compare.output.files.write_atomically", full)
    monkeypatch.setattr("pdrop_eval.report.compare.output.files.write_failure", lambda *_: None)
    with pytest.raises(FileNotFoundError):  # the fixture finds no JSON
        compare({"gqa": GOOD}, {"gqa": GOOD})


def test_a_typo_is_explained_before_anything_is_loaded(monkeypatch, capsys):
    assert command(monkeypatch, "candidate=pdorp", "out=out") == 2
    assert "Unknown candidate: 'pdorp'" in (said := capsys.readouterr().err)
    assert "Did you mean pdrop?" in said
    assert "record.json" in said


@pytest.mark.parametrize("asked", ["results/runs/none", ".", "record.json"])
def test_a_folder_without_a_record_is_named(monkeypatch, capsys, asked):
    assert command(monkeypatch, f"baseline={asked}", "out=out") == 2
    assert "record.json" in capsys.readouterr().err
