"""The command as a CI sees it: exit status and files, on records of which the truth is known."""

import json
import re
import shutil
from pathlib import Path

import pytest
from compared_records import BAD, GOOD, WORSE, answers, command, junit, written

from pdrop_eval.report.compare.output import format as shown
from pdrop_eval.report.compare.output import markdown
from pdrop_eval.report.compare.output.markdown import MOST
from pdrop_eval.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("elsewhere")


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
    assert shown.err.count("MM-Vet: the answers of ") == 1
    assert "wait for a judge. Set judge.model, or compare without it." in shown.err
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


def test_a_run_is_not_compared_with_itself(compare, tmp_path, monkeypatch, capsys):
    compare({"gqa": GOOD}, {"gqa": GOOD})
    one = next((tmp_path / "one").glob("*/*"))
    copied = tmp_path / "copy" / one.name
    shutil.copytree(one, copied)
    for other in (one, f"{one}/record.json", copied):
        given = [f"baseline={one}", f"candidate={other}", "out=out", "name=x"]
        assert command(monkeypatch, *given) == 2
        assert "the same run (vanilla-" in capsys.readouterr().err
    assert command(monkeypatch, *given, "allow_same=true") == 0
    assert "Warning: baseline and candidate are the same run" in capsys.readouterr().out
    assert "the same run" in written("md")


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

    monkeypatch.setattr("pdrop_eval.report.paired.effect.measure_all", fail)
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
