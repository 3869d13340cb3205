"""Results of tasks that the registry doesn't have, of tasks of the user's own, and of own data."""

import json
from pathlib import Path

import pytest
from foreign_results import importing, line, lmms_eval_log, our_run, prompt, sheet, stored

from pdrop_eval import UserError
from pdrop_eval.benchmarks.installed import index
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records, read_record
from pdrop_eval.report.paired.effect import measure
from pdrop_eval.report.paired.pairing import pair
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.site.data.index import run_entry
from pdrop_eval.report.site.data.records import read_runs
from pdrop_eval.run.importing.text import import_text
from pdrop_eval.utils import definitions

MARKS = (1, 1, 0, 1)  # of realworldqa: three of four
GENERIC = {"scale": "percent", "direction": "higher", "scoring": "mean", "cluster": "images", "split": "test"}


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch):
    """No test knows what another one has read."""
    monkeypatch.setattr(definitions, "_known", {})
    monkeypatch.setattr(index, "_users", {})


def run_of(folder):
    return to_runs([{**read_record(Path(folder) / "record.json"), "folder": str(folder)}])[0]


def described_run(task, marks, suite=None, **definition):
    """A run of ours of a benchmark that the registry doesn't have: as that of gqa, under another name."""
    folder = our_run(Path("runs"), marks, of_picture=2)
    record = json.loads((folder / "record.json").read_text())
    entry = record["tasks"].pop("gqa")
    said = {**GENERIC, "name": task, **definition}
    record["tasks"][task] = {**entry, "benchmark": task, "metric": "exact_match", "definition": said}
    record["suite"] = suite or record["suite"]
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "samples" / "gqa.jsonl").rename(folder / "samples" / f"{task}.jsonl")
    return folder


def log_of(task, marks=MARKS, score=None, **more):
    lines = [line(i, float(mark)) for i, mark in enumerate(marks)]
    return lmms_eval_log(Path("log"), {task: lines}, {task: sum(marks) / len(marks)}, **more)


def test_a_log_of_any_lmms_eval_task_is_a_record_that_pairs_and_is_shown():
    ours = described_run("realworldqa", (1, 1, 1, 1))
    record, _ = importing("kind=lmms_eval", f"from={log_of('realworldqa')}", "model=mini")
    entry = record["tasks"]["realworldqa"]
    assert (entry["score"], entry["metric"], entry["n"]) == (pytest.approx(75), "exact_match", 4)
    assert "realworldqa 75.0 [" in " ".join(import_text(record, True).split())
    # as a run of ours says it, so that they are one benchmark
    assert {name: entry["definition"][name] for name in GENERIC} == GENERIC
    found = measure(pair(run_of(ours), run_of(record["folder"]), "realworldqa"))
    assert (found.found.value, found.agreement) == (pytest.approx(-25), pytest.approx(3 / 4))
    assert found.found.clusters == 2  # of our run, which knows the pictures
    for one in load_records(Path("runs")):
        assert one["tasks"]["realworldqa"]["benchmark"] == "realworldqa"
    shown = make_tables(Path("out"), Path("t"), "overview")
    assert "realworldqa" in shown
    assert "75.0" in shown
    [page] = read_runs(Path("out"))
    assert run_entry(page, {}, [])["scores"]["realworldqa"]["state"] == "imported"


def test_a_run_of_the_same_questions_says_what_a_benchmark_is_that_nothing_else_knows():
    ours = described_run(
        "shapes_exact_match", (1, 1, 1, 1), {"name": "shapes_exact_match", "source": "own"},
        scale="percent_of_one", cluster="group",
    )  # fmt: skip
    rows = [{"doc_id": i, "answer": "red", "score": mark} for i, mark in enumerate(MARKS)]
    table = sheet(Path("mine.csv"), rows)
    with pytest.raises(UserError, match=r"shapes_exact_match.*data\.folder="):
        importing("kind=table", f"from={table}", "tasks=[shapes_exact_match]")
    given = ["kind=table", f"from={table}", "tasks=[shapes_exact_match]", f"like={ours}"]
    record, _ = importing(*given)
    entry = record["tasks"]["shapes_exact_match"]
    assert (entry["score"], entry["clusters"], record["suite"]["source"]) == (75, 2, "own")
    assert entry["definition"]["cluster"] == "group"
    assert measure(pair(run_of(ours), run_of(record["folder"]), "shapes_exact_match")).found.value == -25


YAML = """task: my_colours
dataset_path: parquet
dataset_kwargs: {data_files: {test: rows.parquet}}
test_split: test
output_type: generate_until
doc_to_visual: image
doc_to_text: "{{question}}"
doc_to_target: answer
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""


def test_a_log_of_a_task_of_the_users_own_is_read_with_its_files():
    Path("my_tasks").mkdir()
    Path("my_tasks/my_colours.yaml").write_text(YAML)
    made = log_of("my_colours")
    with pytest.raises(UserError, match=r"my_colours.*include_path=<folder"):
        importing("kind=lmms_eval", f"from={made}")
    record, _ = importing("kind=lmms_eval", f"from={made}", "include_path=my_tasks")
    entry = record["tasks"]["my_colours"]
    assert (entry["score"], entry["definition"]["scoring"]) == (75, "mean")
    ours = described_run("my_colours", (1, 1, 1, 1))
    assert measure(pair(run_of(ours), run_of(record["folder"]), "my_colours")).found.value == -25


def test_points_on_a_scale_of_their_own_are_read_as_they_are():
    ours = described_run("my_points", (1, 1), scale="own", scoring="own_mean")
    rows = [{"doc_id": 0, "answer": "red", "score": 4.5}, {"doc_id": 1, "answer": "red", "score": 2}]
    given = ["kind=table", f"from={sheet(Path('my_points.csv'), rows)}", f"like={ours}"]
    entry = importing(*given)[0]["tasks"]["my_points"]
    assert (entry["score"], entry["scale"]) == (3.25, "own")


@pytest.mark.parametrize(("task", "words"), [
    ("realworldqaa", ("'realworldqaa'", "lmms-eval has realworldqa", "include_path=")),
    ("mathvista_testmini", ("'mathvista_testmini'",)),  # a group: its tasks have logs
])  # fmt: skip
def test_a_log_of_a_task_that_nobody_knows_is_refused_with_the_nearest(task, words):
    with pytest.raises(UserError) as caught:
        importing("kind=lmms_eval", f"from={log_of(task)}")
    assert all(word in str(caught.value) for word in words)


def test_a_log_whose_number_its_samples_do_not_give_is_refused():
    made = lmms_eval_log(Path("log"), {"realworldqa": [line(0, 1.0), line(1, 0.0)]}, {"realworldqa": 0.9})
    with pytest.raises(UserError, match=r"give .*, and the results say 0\.9000: the files are of two runs"):
        importing("kind=lmms_eval", f"from={made}")


@pytest.mark.parametrize(("arguments", "words"), [
    (["data.folder=mine"], ("data.folder needs a metric",)),
    (["data.folder=mine", "data.metric=anls", "like=run"], ("data.folder=mine and like=run", "one of them")),
    (["data.folder=mine", "data.metric=anls", "suite=mini"], ("suite= can't be given",)),
    (["data.metric=anls"], ("data.metric is about questions of your own",)),
    (["include_path=nowhere"], ("include_path=nowhere is no folder",)),
], ids=range(5))  # fmt: skip
def test_settings_of_own_questions_that_do_not_go_together(arguments, words):
    table = sheet(Path("gqa.csv"), [{"doc_id": 0, "answer": "red", "score": 1}])
    with pytest.raises(UserError) as caught:
        importing("kind=table", f"from={table}", *arguments)
    assert all(word in str(caught.value) for word in words)


def own_folder():
    from PIL import Image

    Path("shapes").mkdir()
    lines = []
    for place, colour in enumerate(("red", "blue")):
        Image.new("RGB", (20, 20), colour).save(f"shapes/{place}.png")
        lines.append(
            {"id": f"q{place}", "image": f"{place}.png", "question": "Which colour?", "answer": colour}
        )
    Path("shapes/data.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return ["data.folder=shapes", "data.metric=exact_match"]


@pytest.mark.slow
def test_answers_to_a_folder_of_own_questions_are_found_by_their_ids_and_scored(lmms_eval, monkeypatch):
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(Path("cache").resolve()))
    rows = [{"question_id": "q1", "answer": "Blue."}, {"question_id": "q0", "answer": "green"}]
    record, _ = importing("kind=table", f"from={sheet(Path('answers.csv'), rows)}", *own_folder())
    entry = record["tasks"]["shapes_exact_match"]
    assert (entry["score"], entry["n"], record["suite"]["source"]) == (50, 2, "own")
    assert entry["definition"]["scale"] == "percent_of_one"
    assert [one["score"] for one in stored(record, "shapes_exact_match")] == [0, 1]
    assert record["limit"] is None


@pytest.mark.slow
def test_numbers_that_lmms_evals_own_functions_make_are_taken_from_them(lmms_eval):
    marks = (1, 1, 0, 1)
    items = [{"question_type": "Regular Text Recognition", "score": mark} for mark in marks]
    lines = [line(i, 0.0, "none", ocrbench_accuracy=item, input=prompt(i)) for i, item in enumerate(items)]
    folder = lmms_eval_log(Path("log"), {"ocrbench": lines})
    path = next(folder.glob("*results.json"))
    found = json.loads(path.read_text())
    found["results"]["ocrbench"] = {"ocrbench_accuracy,none": 0.003}  # lmms-eval divides by a thousand
    path.write_text(json.dumps(found))
    entry = importing("kind=lmms_eval", f"from={folder}")[0]["tasks"]["ocrbench"]
    assert (entry["score"], entry["n"]) == (75, 4)
    found["results"]["ocrbench"] = {"ocrbench_accuracy,none": 0.004}
    path.write_text(json.dumps(found))
    with pytest.raises(UserError, match="of two runs"):
        importing("kind=lmms_eval", f"from={folder}", "name=other")
    # BLEU is of all captions together: one number, no scores of questions, and no interval
    items = [{"answer": ["a red square on the table"], "pred": said, "image_id": str(i)}
             for i, said in enumerate(("a red square on a chair", "no"))]  # fmt: skip
    lines = [line(i, 0.0, "none", textcaps_Bleu_4=item) for i, item in enumerate(items)]
    entry = importing("kind=lmms_eval", f"from={lmms_eval_log(Path('caps'), {'textcaps_val': lines})}")[0]
    told = entry["tasks"]["textcaps_val"]
    assert (told["definition"]["scoring"], told["stderr"], told["n"]) == ("whole", None, 2)
    assert 0 < told["score"] < 1


def test_figures_say_how_benchmarks_are_drawn_that_none_of_them_has():
    from pdrop_eval.report.figures.cli import _of_others

    runs = to_runs(load_records(described_run("realworldqa", (1, 1)).parents[1]))
    assert "Of realworldqa there are runs" in _of_others(runs, None)
    assert "pdrop-eval-figures figure=4 tasks=[realworldqa]" in _of_others(runs, ["realworldqa"])
    assert _of_others(runs, ["gqa"]) == ""
