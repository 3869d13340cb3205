"""What can't be imported: each with the reason, and nothing written."""

import json
from pathlib import Path

import pytest
from foreign_results import DATE, importing, line, lmms_eval_log, our_run, sheet

from pdrop_eval import UserError
from pdrop_eval.run.importing.text import import_text

LINES = [line(0, 1.0), line(1, 0.0)]


def log(name="log", tasks=None, **more):
    return lmms_eval_log(Path(name), {"gqa": LINES} if tasks is None else tasks, **more)


def two_models():
    log("both/one", args="pretrained=a/one")
    return log("both/two", {"chartqa": [line(0, 1.0, "relaxed_overall")]}, args="pretrained=a/two").parent


def two_settings():
    log("both/one", args="pretrained=a/fork,retain=64")
    return log(
        "both/two", {"chartqa": [line(0, 1.0, "relaxed_overall")]}, args="pretrained=a/fork,retain=128"
    ).parent


def cut_off():
    path = log() / f"{DATE}_samples_gqa.jsonl"
    path.write_text(path.read_text()[:-30])
    return path.parent


def without_samples():
    folder = log()
    (folder / f"{DATE}_samples_gqa.jsonl").unlink()
    return folder


def a_task_less():
    folder = log(tasks={"gqa": LINES, "chartqa": [line(0, 1.0, "relaxed_overall")]})
    (folder / f"{DATE}_samples_chartqa.jsonl").unlink()
    return folder


def two_logs():
    log("two")
    return log("two", {"gqa": [line(5, 1.0)]}, date="20260202_030405")


@pytest.mark.parametrize(("made", "words"), [
    (without_samples, ("has results", "no samples", "--log_samples")),
    (lambda: log(counts={"gqa": {"original": 2, "effective": 9}}), ("has 2 samples", "say 9", "partial")),
    (a_task_less, ("results of chartqa", "no samples of it", "partial", "tasks=[gqa]")),
    (cut_off, ("line 2 is no JSON", "cut off", "partial")),
    (two_logs, ("two logs of gqa", "from=FILE")),
    (two_models, ("different models", "a/one", "a/two")),
    (two_settings, ("different models", "retain=64", "retain=128")),
    (lambda: log(tasks={"gqaa": LINES}), ("'gqaa'", "Did you mean gqa?", "tasks=[")),
    (lambda: log(tasks={"gqa": [line(0, 1.0), line(0, 1.0)]}), ("doc_id 0", "twice", "line 2")),
    (lambda: log(tasks={"gqa": [line(0, 1.7)]}), ("line 1", "score 1.7", "0 to 1")),
    (lambda: log(tasks={"gqa": [line(0, "high")]}), ("line 1", "'high'",)),
    (lambda: log(tasks={"gqa": [line(-1, 1.0)]}), ("line 1", "doc_id is -1")),
    (lambda: log(tasks={"gqa": [line(0, 1.0, filtered_resps=[[-1.5]])]}), ("no answer", "likelihoods")),
    (lambda: log(tasks={"gqa": []}), ("no question of gqa",)),
    (lambda: log(scores={"gqa": 0.9}), ("give 50.0000", "say 90.0000", "two runs")),
    (lambda: log(tasks={"gqa": [line(0, 1.0, "other")]}), ("answers and no scores", "suite=")),
    (lambda: log(tasks={"mmvet": [line(0, 1.0)]}), ("mmvet is scored by a language model",)),
    (lambda: sheet(Path("log/x.csv"), [{"a": 1}]).parent, ("has no log of lmms-eval", "--output_path")),
    (lambda: "nowhere", ("from=nowhere isn't there",)),
], ids=range(19))  # fmt: skip
def test_a_log_that_is_none_is_refused_with_the_reason(made, words):
    with pytest.raises(UserError) as caught:
        importing("kind=lmms_eval", f"from={made()}")
    for word in words:
        assert word in str(caught.value)
    assert not list(Path("out").rglob("record.json"))


def results_of(**parts):
    path = next(log().glob("*results.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))
    return path.parent


@pytest.mark.parametrize("parts", [
    {"config": 5, "n-samples": 4, "configs": [1], "versions": "x"}, {"config": None, "n-samples": None},
    {"results": {"gqa": 3}, "n-samples": {"gqa": {"effective": "2"}}, "lmms_eval_version": {}},
], ids=range(3))  # fmt: skip
def test_parts_of_results_that_are_of_another_kind_say_nothing(parts):
    entry = importing("kind=lmms_eval", f"from={results_of(**parts)}")[0]["tasks"]["gqa"]
    assert (entry["score"], entry["n"]) == (50, 2)


def test_a_log_of_another_version_of_a_task_says_so():
    made = results_of(configs={"gqa": {"metadata": [{"version": 99.0}]}})
    record, _ = importing("kind=lmms_eval", f"from={made}")
    assert record["tasks"]["gqa"]["imported"]["other_version"] == "version 99 of gqa in the log, 0 here"
    assert "may be another one: lmms-eval's version 99 of gqa" in " ".join(import_text(record, True).split())


@pytest.mark.parametrize("name", ["gqa.jsonl", "gqa.csv"])
def test_a_mark_of_byte_order_and_lines_of_windows_are_read(name):
    rows = [{"doc_id": i, "answer": "red", "score": i} for i in range(2)]
    path = sheet(Path("t") / name, rows)
    text = path.read_text().replace("\r\n", "\n").replace("\n", "\r\n")
    path.write_bytes(("\ufeff" + text).encode())
    assert importing("kind=table", f"from={path}")[0]["tasks"]["gqa"]["score"] == 50


@pytest.mark.parametrize(("rows", "words"), [
    ([{"doc_id": "²", "score": 1}], ("line 1", "the doc_id is '²'")),
    ([{"doc_id": "9" * 400, "score": 1}], ("line 1", "the doc_id is '999")),
    ([{"doc_id": 0, "score": 1}, {"score": 1}], ("line 2", "no doc_id, and other rows have one")),
    ([{"question_id": 0, "score": 1}, {"score": 1}], ("line 2", "no question_id, and other rows")),
    ([{"doc_id": 0, "task": "gqa", "score": 1}, {"doc_id": 1, "score": 1}], ("line 2", "no task, and other")),
], ids=range(5))  # fmt: skip
def test_rows_of_a_table_that_are_unlike_the_others_are_named(rows, words):
    with pytest.raises(UserError) as caught:
        importing("kind=table", f"from={sheet(Path('gqa.jsonl'), rows)}")
    assert all(word in str(caught.value) for word in words)


def test_a_task_that_a_table_does_not_have_is_told_those_that_it_has():
    rows = [{"doc_id": 0, "task": "gqa", "score": 1}]
    with pytest.raises(UserError, match=r"task of the table: 'pope'\. Allowed: gqa"):
        importing("kind=table", f"from={sheet(Path('t.jsonl'), rows)}", "tasks=[pope]")


@pytest.mark.parametrize(("arguments", "words"), [
    (["kind=table", "from=x", f"name={'n' * 101}"], ("name= has 101 characters", "at most 100")),
    (["kind=lmms_evall"], ("'lmms_evall'", "Did you mean lmms_eval?")),
    ([], ("kind= is missing", "table")),
    (["kind=table"], ("from= is missing",)),
    (["kind=table", "from=x", "name="], ("name= is missing",)),
    (["kind=table", "from=x", "like=a", "suite=mini"], ("give one of them",)),
    (["kind=table", "from=x", "suite=minii"], ("'minii'", "Did you mean mini?")),
    (["kind=table", "from=x", "data.root=d"], ("suite=paper",)),
    (["kind=table", "from=x", "tasks=[]"], ("tasks=[] is empty",)),
    (["kind=table", "from=x", "budget.tokens=0"], ("budget.tokens=0",)),
    (["kind=table", "from=x", "budget.tokens=9", "budget.share=.5"], ("are 2 budgets",)),
    (["kind=table", "from=x", "modle=mini"], ("'modle'", "Did you mean model?")),
    (["kind=table", "from=x", "verbose"], ("'verbose' is no setting",)),
    (["kind=table", "from=x", "tasks=gqa,pope"], ("several values", "tasks=[gqa,pope]")),
], ids=str)  # fmt: skip
def test_wrong_settings_are_refused(arguments, words):
    with pytest.raises(UserError) as caught:
        importing(*arguments)
    for word in words:
        assert word in str(caught.value)


def test_a_run_that_was_asked_something_else_says_nothing_of_the_log():
    ours = our_run(Path("runs"), (1, 1))
    other = log("other", {"gqa": [line(0, 1.0, input="How many cats are there?")]})
    with pytest.raises(UserError, match=r"How many cats.*other data"):
        importing("kind=lmms_eval", f"from={other}", f"like={ours}")
    more = log("more", {"gqa": [line(i, 1.0) for i in range(3)]})
    with pytest.raises(UserError, match="no question 2"):
        importing("kind=lmms_eval", f"from={more}", f"like={ours}")
    chart = log("chart", {"chartqa": [line(0, 1.0, "relaxed_overall")]})
    with pytest.raises(UserError, match=r"has no chartqa; it has gqa"):
        importing("kind=lmms_eval", f"from={chart}", f"like={ours}")
    with pytest.raises(UserError, match="is no run"):
        importing("kind=lmms_eval", f"from={log()}", "like=nowhere")


def test_an_import_is_no_source_of_questions_for_another_one():
    record, _ = importing("kind=lmms_eval", f"from={log()}")
    with pytest.raises(UserError, match="doesn't say which questions"):
        importing("kind=lmms_eval", f"from={log('again')}", f"like={record['folder']}", "name=b")


def test_nan_in_a_log_is_a_missing_value_and_no_error():
    path = log() / f"{DATE}_samples_gqa.jsonl"
    path.write_text("".join(json.dumps({**one, "hint": float("nan")}) + "\n" for one in LINES))
    assert importing("kind=lmms_eval", f"from={path}")[0]["tasks"]["gqa"]["score"] == 50
