"""Logs of lmms-eval as records: scores, what stays unknown, and how they pair with our runs."""

import json
import sys
from pathlib import Path

import pytest
from foreign_results import DATE, importing, line, lmms_eval_log, our_run, prompt, stored

from pdrop_eval import UserError
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.report.paired.effect import measure
from pdrop_eval.report.paired.pairing import CannotCompareError, pair
from pdrop_eval.run.importing import cli

MARKS = (1, 1, 0, 1, 0, 1)  # four of six


def log(folder="log", marks=MARKS, **more):
    lines = [line(i, float(mark)) for i, mark in enumerate(marks)]
    return lmms_eval_log(Path(folder), {"gqa": lines}, {"gqa": sum(marks) / len(marks)}, **more)


def run_of(folder):
    from pdrop_eval.records.store import read_record

    return to_runs([{**read_record(Path(folder) / "record.json"), "folder": str(folder)}])[0]


def test_a_log_with_a_run_of_the_same_questions_is_scored_and_marked_and_leaves_the_rest_unknown():
    ours = our_run(Path("runs"), MARKS, of_picture=2)
    record, new = importing("kind=lmms_eval", f"from={log()}", f"like={ours}", "model=mini")
    entry = record["tasks"]["gqa"]
    assert new
    assert entry["score"] == pytest.approx(100 * 4 / 6)
    assert (entry["n"], entry["clusters"], entry["data_sha256"]) == (6, 3, "d" * 64)
    assert entry["imported"]["scored_by"] == "lmms-eval"
    assert record["strategy"]["display_name"] == "fork (imported)"
    assert record["suite"] == {"name": "mini", "source": "rendered"}
    assert record["model"]["architecture"] == "llava-1.5"  # of conf/model/mini.yaml
    assert record["imported"]["model"] == "llava_hf of a/fork"
    assert set(record["imported"]["files"]) == {f"{DATE}_samples_gqa.jsonl", f"{DATE}_results.json"}
    for unknown in ("efficiency", "hardware", "packages", "seed"):
        assert unknown not in record
    assert not {"tflops_mean", "image_tokens_mean", "wall_seconds"} & set(entry)


def test_the_same_import_again_changes_no_byte_and_another_name_is_another_record():
    arguments = ("kind=lmms_eval", f"from={log()}")
    record, _ = importing(*arguments)
    files = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    again, new = importing(*arguments)
    assert not new
    assert again == record
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == files
    other, new = importing(*arguments, "name=other")
    assert new
    assert other["run_id"] != record["run_id"]


def test_a_changed_log_is_another_record():
    first, _ = importing("kind=lmms_eval", f"from={log('one')}")
    second, _ = importing("kind=lmms_eval", f"from={log('two', (1, 1, 1, 1, 1, 1))}")
    assert first["run_id"] != second["run_id"]


def test_with_the_questions_of_a_run_it_pairs_by_content():
    ours = our_run(Path("runs"), (1, 1, 1, 1, 1, 0), of_picture=2)
    record, _ = importing("kind=lmms_eval", f"from={log()}", f"like={ours}")
    found = measure(pair(run_of(ours), run_of(record["folder"]), "gqa"))
    assert found.agreement == pytest.approx(3 / 6)  # questions 2, 4 and 5 differ
    assert found.found.value == pytest.approx(100 * (4 - 5) / 6)
    assert found.found.clusters == 3
    assert "imported results: paired by question and picture" in found.notes


def test_without_them_it_pairs_by_task_and_document_id_and_takes_the_other_runs_pictures():
    ours = our_run(Path("runs"), (1, 1, 1, 1, 1, 0), of_picture=2)
    record, _ = importing("kind=lmms_eval", f"from={log()}")
    assert record["tasks"]["gqa"]["clusters"] == 6  # which are about one picture isn't known
    assert "data_sha256" not in record["tasks"]["gqa"]
    for baseline, candidate in ((ours, record["folder"]), (record["folder"], ours)):
        found = measure(pair(run_of(baseline), run_of(candidate), "gqa"))
        assert found.found.clusters == 3
        assert "imported results: paired by task and document id" in found.notes


def test_two_imports_pair_by_document_id_and_say_that_pictures_are_not_known():
    one, _ = importing("kind=lmms_eval", f"from={log('one')}")
    two, _ = importing("kind=lmms_eval", f"from={log('two', (1, 1, 1, 1, 1, 1))}")
    found = measure(pair(run_of(one["folder"]), run_of(two["folder"]), "gqa"))
    assert found.found.value == pytest.approx(100 * 2 / 6)
    assert any("one picture isn't known" in note for note in found.notes)


@pytest.mark.parametrize(
    ("words", "target", "said"),
    [
        ("How many cats are there?", "red", "of other data"),
        (prompt(0), "green", "has the target"),
    ],
)
def test_other_questions_under_the_same_numbers_are_not_compared(words, target, said):
    ours = our_run(Path("runs"), (1, 1))
    lines = [line(0, 1.0, input=words, target=target), line(1, 1.0)]
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('log'), {'gqa': lines})}")
    with pytest.raises(CannotCompareError, match=said):
        pair(run_of(ours), run_of(record["folder"]), "gqa")


def test_a_question_in_other_words_around_it_is_the_same_and_a_note_says_so():
    ours = our_run(Path("runs"), (1, 1))
    lines = [line(i, 1.0, input=f"What colour is shape {i}? Say one word.") for i in range(2)]
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('log'), {'gqa': lines})}")
    # neither has the other in it, nor the first line in common
    with pytest.raises(CannotCompareError):
        pair(run_of(ours), run_of(record["folder"]), "gqa")
    lines = [line(i, 1.0, input=f"What colour is shape {i}?") for i in range(2)]
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('short'), {'gqa': lines})}")
    found = measure(pair(run_of(ours), run_of(record["folder"]), "gqa"))
    assert any("2 of 2 questions were put in other words" in note for note in found.notes)


def test_a_limit_of_the_log_is_the_records():
    made = log(counts={"gqa": {"original": 240, "effective": 6}})
    assert importing("kind=lmms_eval", f"from={made}")[0]["limit"] == 6
    assert importing("kind=lmms_eval", f"from={log('whole')}")[0]["limit"] is None


def test_fewer_questions_than_the_run_have_a_limit_and_no_data_but_those_of_the_first_ones():
    ours = our_run(Path("runs"), (1, 1, 1, 1))
    first, _ = importing("kind=lmms_eval", f"from={log('first', (1, 1))}", f"like={ours}")
    assert (first["limit"], first["tasks"]["gqa"]["data_sha256"]) == (2, "d" * 64)
    others = lmms_eval_log(Path("others"), {"gqa": [line(1, 1.0), line(3, 1.0)]})
    record, _ = importing("kind=lmms_eval", f"from={others}", f"like={ours}")
    assert (record["limit"], record["tasks"]["gqa"]["data_sha256"]) == (2, None)


def test_mmes_pairs_are_known_by_the_log_itself():
    metric = "mme_perception_score"
    lines = [
        line(
            i, None, metric, **{metric: {"question_id": f"{i // 2}.png", "category": "color", "score": mark}}
        )
        for i, mark in enumerate((1.0, 1.0, 1.0, 0.0))
    ]
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('log'), {'mme': lines})}")
    # accuracy 3/4, and one of two pairs right: 75 + 50
    assert record["tasks"]["mme"]["score"] == pytest.approx(125)
    assert (record["tasks"]["mme"]["clusters"], record["tasks"]["mme"]["parts"]) == (2, {"color": 125.0})


def test_mmes_score_under_its_old_name_is_read():
    old = "mme_percetion_score"
    item = {"question_id": "a.png", "category": "color", "score": 1.0}
    lines = [line(i, None, old, **{old: item}) for i in range(2)]
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('log'), {'mme': lines})}")
    assert record["tasks"]["mme"]["score"] == pytest.approx(200)


def test_the_questions_of_a_fixed_subset_stay_that_subset():
    ours = our_run(Path("runs"), (1, 1, 1, 1))
    path = ours / "record.json"
    record = json.loads(path.read_text())
    record |= {"subset": "ci64"}
    record["tasks"]["gqa"]["subset"] = {"name": "ci64", "ids_sha256": "e" * 64}
    path.write_text(json.dumps(record))
    found, _ = importing("kind=lmms_eval", f"from={log(marks=(1, 0, 1, 1))}", f"like={ours}")
    assert (found["subset"], found["limit"]) == ("ci64", None)
    assert found["tasks"]["gqa"]["subset"] == record["tasks"]["gqa"]["subset"]
    part, _ = importing("kind=lmms_eval", f"from={log('less', (1, 0))}", f"like={ours}")
    assert (part.get("subset"), part["limit"]) == (None, 2)


def pope_lines(**more):
    metric = "pope_f1_score"
    said = [("yes", "yes"), ("yes", "no"), ("no", "no"), ("yes", "yes")]
    return [
        line(
            i, None, metric, target=truth, filtered_resps=answer, input=prompt(i),
            **{metric: {"question_id": str(i), "score": float(answer == truth), "prediction": answer,
                        "ground_truth": truth}, **{name: value(i) for name, value in more.items()}},
        )
        for i, (answer, truth) in enumerate(said)
    ]  # fmt: skip


def test_popes_categories_come_from_the_log_or_the_run_and_without_them_it_is_refused():
    # random: TP 1, FP 1: F1 2/3. popular: TN 1, TP 1: F1 1. The mean is 5/6.
    categories = ("random", "random", "popular", "popular")
    of_docs = pope_lines(doc=lambda i: {"category": categories[i]})
    record, _ = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('old'), {'pope': of_docs})}")
    assert record["tasks"]["pope"]["score"] == pytest.approx(100 * 5 / 6)
    plain = lmms_eval_log(Path("new"), {"pope_rendered": pope_lines()})
    with pytest.raises(UserError, match=r"category.*like=<folder of a run> or suite=<name>"):
        importing("kind=lmms_eval", f"from={plain}")
    targets = ("yes", "no", "no", "yes")
    ours = our_run(Path("runs"), (1, 1, 1, 1), "pope", target=targets, answer=targets, part=categories)
    record, _ = importing("kind=lmms_eval", f"from={plain}", f"like={ours}")
    assert record["tasks"]["pope"]["score"] == pytest.approx(100 * 5 / 6)
    assert record["tasks"]["pope"]["parts"] == pytest.approx({"random": 200 / 3, "popular": 100})


def test_the_form_of_early_versions_is_read():
    Path("log").mkdir()
    lines = [{**line(i, 1.0), "doc": {"question": "?"}, "filtered_resps": ["red"]} for i in range(3)]
    for one in lines:
        one["arguments"] = [one.pop("input"), {}]
    Path("log/gqa.json").write_text(json.dumps({"args": {}, "logs": lines}))
    found = {
        "results": {"gqa": {"exact_match,none": 1.0}},
        "model_configs": {"model": "llava", "model_args": "pretrained=x"},
    }
    Path("log/results.json").write_text(json.dumps(found))
    record, _ = importing("kind=lmms_eval", "from=log")
    assert record["tasks"]["gqa"]["score"] == 100
    assert record["model"]["name"] == "llava of x"
    assert stored(record, "gqa")[0]["prompt"] == prompt(0)
    assert record["tasks"]["gqa"]["imported"]["unconfirmed"]


def test_secrets_of_the_models_arguments_are_not_recorded():
    made = log(args="pretrained=a/b,api_key=abcdefgh12345678")
    record, _ = importing("kind=lmms_eval", f"from={made}")
    assert "abcdefgh12345678" not in (Path(record["folder"]) / "record.json").read_text()


def test_the_command_prints_what_it_knows_and_what_not(monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["x", "kind=lmms_eval", f"from={log()}", "name=VisionZip, 64 (fork)", "results=out"]
    )
    cli.main()
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(len(line) for line in lines if not line.startswith(("record:", "next:"))) <= 80
    text = " ".join(out.split())
    assert "Imported: VisionZip, 64 (fork) (imported) on llava_hf of a/fork, suite imported" in text
    assert "gqa 66.7 [" in text
    assert "Unknown, and shown as such: FLOPs, retained tokens, time, hardware." in text
    assert "Scored by lmms-eval. Pairs with other runs by task and document id." in text
