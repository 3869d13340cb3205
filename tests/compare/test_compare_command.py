"""The command as a CI sees it: exit status and files, on records of which the truth is known."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from compared_records import answers, command, record

from pdrop_eval.compare import cli, markdown, outputs, shown
from pdrop_eval.compare.markdown import MOST
from pdrop_eval.compare.place import find
from pdrop_eval.errors import UserError

# 60 questions: all right; 3 of them wrong, which are 5 points less; half of them wrong.
GOOD, WORSE, BAD = answers(60), answers(60, wrong=range(3)), answers(60, wrong=range(30))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: None)  # only slow here


@pytest.fixture
def compare(tmp_path, monkeypatch, capsys):
    """Writes both records and compares them: exit status, standard output, the JSON."""

    def run(baseline, candidate, *arguments):
        folders = [
            record(tmp_path / role, strategy, **made)
            for role, strategy, made in (("one", "vanilla", baseline), ("two", "pdrop", candidate))
        ]
        given = [f"baseline={folders[0]}", f"candidate={folders[1]}", "out=out", "name=x", *arguments]
        status = command(monkeypatch, *given)
        found = json.loads((tmp_path / "out" / "x.json").read_text())
        assert found["exit"] == status
        return status, capsys.readouterr(), found

    return run


def written(kind):
    return Path(f"out/x.{kind}").read_text(encoding="utf-8")


def junit():
    (suite,) = ElementTree.fromstring(written("xml"))
    return suite


def test_equal_answers_pass(compare):
    status, shown, found = compare({"gqa": GOOD}, {"gqa": GOOD})
    assert status == 0
    assert found["verdict"]["status"] == "passed"
    (gqa,) = found["benchmarks"]
    assert (gqa["baseline"], gqa["candidate"], gqa["difference"], gqa["agreement"]) == (100, 100, 0, 100)
    assert (gqa["n"], gqa["changed"], found["overall"]["relative"]) == (60, 0, 100)
    assert "PASSED: 1 of 1 checks passed." in shown.out
    assert junit().get("failures") == junit().get("errors") == "0"
    assert written("answers.jsonl") == ""


def test_a_pass_that_proves_nothing_says_so(compare):
    status, shown, _ = compare({"gqa": answers(6)}, {"gqa": answers(6)})
    assert status == 0
    assert "a larger drop isn't ruled out for the mean." in " ".join(shown.out.split())
    assert compare({"gqa": answers(6)}, {"gqa": answers(6)}, "gate=possible")[0] == 1


def test_half_of_the_answers_lost_is_a_regression_with_its_numbers(compare):
    status, shown, found = compare({"gqa": GOOD}, {"gqa": BAD})
    assert status == 1
    (gqa,) = found["benchmarks"]
    assert gqa["difference"] == -50
    assert gqa["mcnemar"] == {"gained": 0, "lost": 30, "p": pytest.approx(2 / 2**30)}
    assert gqa["interval"][0] < -50 < gqa["interval"][1] < -1
    assert "REGRESSED: 1 of 1 checks failed: the mean." in shown.out
    (failure,) = junit().iter("failure")
    assert "-50.0 points" in failure.get("message")
    assert junit().get("failures") == "1"
    text = written("md")
    assert text.startswith("## Regressed: <code>pdrop-")
    assert "0 / 30 (&lt;0.001)" in text


def test_an_estimate_can_fail_where_nothing_is_shown(compare):
    assert compare({"gqa": GOOD}, {"gqa": WORSE})[0] == 0
    assert compare({"gqa": GOOD}, {"gqa": WORSE}, "gate=estimate")[0] == 1
    assert compare({"gqa": GOOD}, {"gqa": WORSE}, "gate=estimate", "max_drop_overall=5")[0] == 0


def test_a_benchmark_with_a_limit_of_its_own_is_a_check_of_its_own(compare):
    both = {"gqa": GOOD, "vqav2": answers(40)}
    status, _, found = compare(
        both, {"gqa": BAD, "vqav2": answers(40)}, "max_drop_overall=null", "max_drop_of={gqa:20}"
    )
    assert status == 1
    (check,) = found["verdict"]["checks"]
    assert (check["name"], check["title"], check["limit"], check["value"]) == ("gqa", "GQA", 20, -50)
    assert (
        compare(both, {"gqa": BAD, "vqav2": answers(40)}, "max_drop_of={gqa:60}", "max_drop_overall=60")[0]
        == 0
    )


def test_other_questions_can_not_be_compared_and_the_files_say_why(compare):
    other = answers(60, prompt="Another question {}?")
    status, shown, found = compare({"gqa": GOOD}, {"gqa": other})
    assert status == 2
    assert found["verdict"]["status"] == "not compared"
    assert "GQA" in found["verdict"]["words"]
    assert shown.err.splitlines()[-1].startswith("pdrop-eval-compare: GQA")
    assert "Traceback" not in shown.err
    assert written("md").startswith("## Could not compare: ")
    assert junit().get("errors") == "1"
    assert not Path("out/x.answers.jsonl").exists()


def test_one_benchmark_that_can_not_be_compared_hides_behind_no_other(compare):
    made = {"gqa": GOOD, "vqav2": answers(40)}
    assert compare(made, {"gqa": GOOD, "vqav2": answers(38)})[0] == 2
    status, _, found = compare(made, {"gqa": GOOD, "vqav2": answers(38)}, "unpaired=leave_out")
    assert status == 0
    assert [one["left_over"]["baseline"] for one in found["benchmarks"]] == [2, 0]  # in the registry's order


def test_what_waits_for_a_judge_is_named_and_left_out_but_not_where_it_is_to_be_judged(compare):
    made = {"gqa": GOOD, "mmvet": answers(4), "judge": ("mmvet",)}
    status, shown, found = compare(made, made)
    assert status == 0
    assert [one["benchmark"] for one in found["left_out"]] == ["mmvet"]
    assert "Not compared: MM-Vet: it needs a judge" in shown.out
    assert [case.get("name") for case in junit().iter("testcase") if case.find("skipped") is not None] == [
        "MM-Vet compared"
    ]
    status, shown, _ = compare(made, made, "max_drop_of={mmvet:1}")
    assert status == 2
    assert "wait for a judge" in shown.err
    assert (
        compare({"mmvet": answers(4), "judge": ("mmvet",)}, {"mmvet": answers(4), "judge": ("mmvet",)})[0]
        == 2
    )


def test_an_incomplete_record_is_no_baseline(compare):
    status, shown, _ = compare({"gqa": GOOD, "complete": False}, {"gqa": GOOD})
    assert status == 2
    assert "isn't complete, but started" in shown.err


def test_two_records_with_other_tasks_are_compared_only_where_that_is_asked_for(compare):
    one, other = {"gqa": GOOD, "vqav2": answers(40)}, {"gqa": GOOD}
    status, shown, _ = compare(one, other)
    assert status == 2
    assert "tasks=[gqa]" in shown.err
    status, _, found = compare(one, other, "tasks=[gqa]")
    assert (status, [entry["benchmark"] for entry in found["benchmarks"]]) == (0, ["gqa"])
    status, shown, _ = compare(one, other, "tasks=[gqaa]")
    assert (status, "Did you mean gqa?" in shown.err) == (2, True)


def test_settings_that_records_can_not_follow_are_warned_of(compare):
    status, shown, found = compare({"gqa": GOOD}, {"gqa": GOOD}, "limit=8", "model=mini", "suite=mini")
    assert status == 0
    assert found["warnings"] == ["limit=8: not used, because both runs are records"]
    assert "Warning: limit=8" in shown.out


def test_differences_between_the_records_stand_in_every_output(compare):
    header = {
        "packages": {"torch": "2.12.9"},
        "code": {"version": "0.1.0", "commit": "e" * 40, "dirty": True},
    }
    _, shown, found = compare({"gqa": GOOD}, {"gqa": GOOD, "header": header})
    words = [
        "package torch differs: 2.13.0 (baseline), 2.12.9 (candidate)",
        f"code commit differs: {'c' * 12} (baseline), {'e' * 12} (candidate)",
        "code dirty differs: False (baseline), True (candidate)",
    ]
    assert sorted(found["warnings"]) == sorted(words)
    texts = [" ".join(shown.out.split()), written("md"), junit().findtext("system-out")]
    for text in texts:
        assert all(f"Warning: {word}" in text for word in words)


@pytest.mark.parametrize(
    "error", [MemoryError("no more"), SystemExit(0), SystemExit(1), RuntimeError("boom")]
)
def test_a_crash_is_neither_a_pass_nor_a_regression(compare, monkeypatch, error):
    def crash(*_):
        raise error

    monkeypatch.setattr("pdrop_eval.compare.effects.measure_all", crash)
    status, shown, found = compare({"gqa": GOOD}, {"gqa": GOOD})
    assert status == 2
    assert "could not compare" in shown.err
    assert found["verdict"]["status"] == "not compared"
    assert isinstance(error, SystemExit) or "Traceback" in shown.err


@pytest.mark.parametrize("module", ["pdrop_eval.errors", "pdrop_eval.compare.settings", "pdrop_eval.plan"])
def test_a_broken_installation_is_not_a_regression(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)  # importing it raises
    monkeypatch.delitem(sys.modules, "pdrop_eval.compare.runs", raising=False)
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
    assert "goes on where this one stopped" in capsys.readouterr().err


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

    monkeypatch.setattr("pdrop_eval.compare.runs.make_sides", killed)
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
    real, full = outputs.write_atomically, []

    def fills_up(path, content):
        full.extend([1] * path.name.endswith(kind))
        if full:
            raise OSError(28, "No space left on device")
        real(path, content)

    monkeypatch.setattr(outputs, "write_atomically", fills_up)
    with pytest.raises(FileNotFoundError):  # the fixture finds no JSON
        compare({"gqa": GOOD}, {"gqa": GOOD})
    assert [path for path in Path("out").iterdir() if path.is_file()] == []


def test_a_disk_that_is_full_from_the_start_keeps_no_earlier_pass(compare, monkeypatch):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "Lock", full)
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
            call = [sys.executable, "-m", "pdrop_eval.compare.cli", "out=out", "name=x", *given]
            call += ["gate=estimat"] if full == "stderr" else []
            status = subprocess.run(call, check=False, **{**streams, full: device}).returncode
        assert status == 2
        assert written("md").startswith("## Could not compare: ")


def test_a_second_comparison_of_the_same_name_leaves_the_first_alone(compare, monkeypatch, capsys):
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0
    with outputs.held(find(["out=out", "name=x"])):
        Path("out/x.md").write_text("the first one's")
        assert command(monkeypatch, "out=out", "name=x") == 2
        assert "Another comparison is writing out/x.* right now" in capsys.readouterr().err
        assert written("md") == "the first one's"
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 0


def test_a_run_is_not_compared_with_itself(compare, tmp_path, monkeypatch, capsys):
    compare({"gqa": GOOD}, {"gqa": GOOD})
    one = next((tmp_path / "one").glob("*/*"))
    copied = tmp_path / "copy" / one.name
    shutil.copytree(one, copied)
    for other in (one, f"{one}/record.json", copied):
        given = [f"baseline={one}", f"candidate={other}", "out=out", "name=x"]
        assert command(monkeypatch, *given) == 2
        assert "the very same run (vanilla-" in capsys.readouterr().err
    assert command(monkeypatch, *given, "allow_same=true") == 0
    assert "Warning: baseline and candidate are the very same run" in capsys.readouterr().out
    assert "the very same run" in written("md")


def test_not_one_answer_may_change_even_if_gains_make_up_for_losses(compare):
    even = {"gqa": answers(60, wrong=[1])}, {"gqa": answers(60, wrong=[2])}
    strict = ("gate=estimate", "max_drop=0", "max_drop_overall=0")
    assert compare(*even, *strict)[0] == 0
    status, shown, found = compare(*even, *strict, "max_changed=0")
    assert status == 1
    (check,) = [check for check in found["verdict"]["checks"] if not check["passed"]]
    assert (check["kind"], check["limit"], check["interval"]) == ("changed", 0, None)
    assert check["value"] == pytest.approx(100 * 2 / 60)
    words = "The answers: 2 of 60 differ (3.3%: GQA 2); none may"
    assert words in " ".join(shown.out.split())
    assert "2 of 60 differ (3.3%" in written("md")
    assert [case.get("name") for case in junit().iter("testcase") if case.find("failure") is not None] == [
        "0% of the answers may change"
    ]
    assert compare(*even, "max_changed=4")[0] == 0
    status, _, found = compare({"gqa": GOOD}, {"gqa": GOOD}, "max_changed=0", "max_drop_overall=null")
    assert (status, len(found["verdict"]["checks"])) == (0, 1)


def test_most_questions_must_have_a_partner(compare):
    few = [*answers(7), *answers(9, prompt="Another {}?")]
    few = [{**sample, "doc_id": i, "cluster": i} for i, sample in enumerate(few)]
    status, shown, _ = compare({"gqa": answers(16)}, {"gqa": few}, "unpaired=leave_out")
    assert status == 2
    assert "only 7 of 16 questions" in shown.err
    assert compare({"gqa": answers(16)}, {"gqa": few}, "unpaired=leave_out", "min_paired=0.4")[0] == 0
    # of the smaller run: all that were asked of it are there
    assert compare({"gqa": answers(60)}, {"gqa": answers(5)}, "unpaired=leave_out")[0] == 0


def test_files_that_can_not_be_written_are_no_pass(compare, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pdrop_eval.compare.outputs.write_atomically", full)
    monkeypatch.setattr("pdrop_eval.compare.outputs.write_failure", lambda *_: None)
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


def test_changed_answers_are_listed_with_what_lost_most_first(compare):
    mixed = answers(5, wrong=[1, 3])
    mixed[0] |= {"answer": "Yes, of course"}  # other words, still right
    _, shown, found = compare({"gqa": answers(5, wrong=[3])}, {"gqa": mixed})
    rows = [json.loads(line) for line in written("answers.jsonl").splitlines()]
    assert [(row["doc_id"], row["gain"]) for row in rows] == [(1, -1.0), (0, 0.0)]
    assert (rows[0]["question"], rows[0]["target"]) == ("Question 1?", "yes")
    assert (rows[0]["baseline"], rows[0]["candidate"]) == ("yes", "no")
    assert "2 of 5 answers changed" in shown.out
    assert found["benchmarks"][0]["changed"] == 2


HOSTILE = "\x1b[2J@team | ``` </code></td><script>alert(1)</script>\n# x [l](http://evil.example) \ud800 \x00"


def hostile_samples():
    samples = answers(60, wrong=range(30))
    return [{**sample, "answer": HOSTILE if sample["score"] == 0 else "yes"} for sample in samples]


def test_hostile_answers_and_names_stay_text_in_every_output(compare):
    name = {"model": {"name": HOSTILE.replace("\ud800", ""), "sha256": "ab" * 32, "dtype": "<b>32</b>"}}
    prompt = [{**sample, "prompt": HOSTILE.replace("\ud800", "")} for sample in GOOD]
    candidate = [{**s, "prompt": p["prompt"]} for s, p in zip(hostile_samples(), prompt, strict=True)]
    candidate = [{**s, "answer": s["answer"].replace("\ud800", "")} for s in candidate]
    status, shown, _ = compare({"gqa": prompt, "header": name}, {"gqa": candidate, "header": name})
    assert status == 1
    page, comment = written("answers.html"), written("md")
    assert "<script" not in page
    assert "<script" not in comment
    assert "\x1b" not in page + comment + shown.out
    assert not re.search(r"(?<!&#64;)@team", comment)
    assert not re.search(r"\]\(http", comment)
    assert junit().get("failures") == "1"
    assert max(map(len, shown.out.splitlines())) <= 80


def test_the_comment_stays_short_enough_for_github(compare):
    long = [{**sample, "answer": f"{i}" + "|@" * 5000} for i, sample in enumerate(GOOD)]
    status, _, _ = compare({"gqa": GOOD}, {"gqa": long}, "examples=60")
    text = written("md")
    assert status == 0  # other words, the same score
    assert len(text) < MOST
    (left,) = re.findall(r"(\d+) more of the examples would make this text too long", text)
    assert text.count("<br>") == 60 - int(left)
    assert text.rstrip().endswith("</details>")


@pytest.mark.parametrize("letter", ["@#", "\U000e0001", "<"])
def test_hostile_records_make_no_comment_too_long_for_github(compare, letter):
    header = {
        "config": {f"{letter * 90}{i}": letter * 400 for i in range(60)} | {"strategy": {}, "limit": letter},
        "packages": {f"{letter * 90}{i}": letter * 100 for i in range(60)},
        "command": letter * 500,
        "model": {"name": letter * 9000, "sha256": letter * 900, "dtype": letter * 900},
        "strategy": {"name": letter * 900, "fields": {letter * 90: letter * 900}},
        "suite": {"name": letter * 900, "source": letter * 90},
        "code": {"version": letter * 900, "commit": letter * 900, "dirty": True},
    }
    samples = [{**sample, "answer": letter * 900} for sample in GOOD]
    known = {name: dict.fromkeys(header[name], "") for name in ("config", "packages")}
    known["config"]["strategy"] = {}
    _, _, found = compare(
        {"gqa": GOOD, "header": known}, {"gqa": samples, "header": header}, "examples=60", "max_drop=5"
    )
    assert len(found["warnings"]) > 100, found["verdict"]
    text = written("md")
    assert text.startswith("## Passed: ")
    assert len(text) < MOST
    assert text.count("<details>") == text.count("</details>") >= 1
    assert "more, in the JSON" in text


def test_a_reason_of_any_length_fits_into_the_comment(compare, monkeypatch):
    def fail(*_):
        raise UserError("\U000e0001" * 9000)

    monkeypatch.setattr("pdrop_eval.compare.effects.measure_all", fail)
    assert compare({"gqa": GOOD}, {"gqa": GOOD})[0] == 2
    assert 1000 < len(written("md")) < MOST


def test_the_longest_folded_part_is_left_out_first_and_counted():
    parts = ["## Passed", f"<details>{'x' * 500}", "<details>short"]
    found = markdown._fitted(parts, 300)
    assert found.startswith("## Passed\n\n<details>short\n\n1 of the folded parts")
    assert len(found) <= 300
    assert markdown._fitted(parts, 1000) == "\n\n".join(parts)


def test_nothing_can_differ_by_more_than_the_whole_scale():
    assert (shown.points(180.2), shown.points(99.94), shown.points(None)) == (">100", "99.9", "-")


def test_the_terminal_is_no_wider_than_80_columns(compare):
    _, shown, _ = compare({"gqa": GOOD, "vqav2": GOOD}, {"gqa": BAD, "vqav2": GOOD}, "max_drop=3")
    assert max(map(len, shown.out.splitlines())) <= 80
    for head in ("baseline", "candidate", "95% interval", "MDE", "p Holm", "agree"):
        assert head in shown.out
