"""The data of the page: in the form that the page reads, and the same numbers as everywhere else."""

import csv
import io
import json
import shutil
from datetime import datetime

import pytest
import synthetic
from paging import Read, build, data

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.models.pictures.token_grid import Grid
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.records.token_mask import unpack
from pdrop_eval.report.tables.cells import measured_cell
from pdrop_eval.report.tables.fill import measured_parts
from pdrop_eval.report.tables.spec import TABLES, find_table
from pdrop_eval.utils.errors import UserError

RUN = {
    "key", "run_id", "model", "size", "architecture", "title", "train", "train_ratio", "strategy", "label",
    "settings", "suite", "limit", "status", "created", "command", "code", "device", "dtype", "image_tokens",
    "tokens_per_layer", "tflops", "kv_cache_bytes", "convention", "mean_tokens_share", "scores",
}  # fmt: skip
SCORE = {
    "score", "low", "high", "stderr", "n", "state", "tflops_mean", "tokens_mean", "wall_seconds", "metric",
    "data", "set", "chunks", "samples", "overlays",
}  # fmt: skip
QUESTION = {"id", "prompt", "target", "hash", "pictures", "sizes", "grids", "missing"}
ROW = {"labels", "run", "tflops", "hours", "hours_unit", "patches", "cells", "average", "published"}
CELL = {"state", "score", "low", "high", "n", "why"}


@pytest.fixture(scope="module")
def runs(recorded):
    return {run.id: run for run in to_runs(load_records(recorded / "runs"))}


def test_the_index_has_all_that_the_page_reads(page):
    index = page.index
    assert index.keys() >= {
        "format", "version", "built", "code", "notices", "benchmarks", "runs", "tables", "curves",
        "efficiency", "comparisons",
    }  # fmt: skip
    assert index["format"] == 2
    assert index["reference"] == "vanilla"  # the scripts ask the index which strategy it is
    assert index["notices"] == []
    assert index["efficiency"] == {"records": []}
    assert len(index["runs"]) == 9
    for run in index["runs"]:
        assert run.keys() >= RUN
        assert run["code"].keys() == {"version", "commit", "dirty"}
        assert list(run["scores"]) == ["mme", "textvqa", "gqa"]  # in the registry's order
        assert all(score.keys() >= SCORE for score in run["scores"].values())
    assert list(index["benchmarks"]) == list(benchmarks())
    assert index["benchmarks"]["mme"] == {
        "name": "MME", "task": "mme", "scale": None, "divisor": 20, "metric": "mme_perception_score",
        "plain": False,
    }  # fmt: skip


def test_tables_have_the_keys_that_the_page_reads(page):
    assert [table["number"] for table in page.index["tables"]] == [1, 2, 3, 4, 5, "field", "frontier"]
    assert page.index["tables"][5]["title"] == "Table field"
    assert page.index["tables"][6]["load"] == "frontier"
    for table in page.index["tables"][:6]:
        assert table.keys() >= {"title", "heading", "benchmarks", "labels", "facts", "parts"}
        paper = ["published"] if table["number"] != "field" else []
        assert [part["source"] for part in table["parts"]] == ["measured", *paper]
        for part in table["parts"]:
            assert part.keys() == {"source", "size", "suite", "comparable", "notes", "groups"}
            assert part["comparable"] == (part["source"] == "published")  # these questions are rendered
            assert all(note.keys() == {"text", "commands"} for note in part["notes"])
            for group in part["groups"]:
                assert group.keys() >= {"name", "rows", "delta"}
                for row in group["rows"]:
                    assert row.keys() >= ROW
                    assert len(row["labels"]) == len(table["labels"])
                    assert list(row["cells"]) == table["benchmarks"]
                    assert all(cell.keys() == CELL for cell in row["cells"].values())


def test_scores_and_intervals_are_those_of_the_tables(page, runs):
    for shown in page.index["runs"]:
        run = runs[shown["run_id"]]
        for name, score in shown["scores"].items():
            cell = measured_cell(run, name)
            assert score["score"] == pytest.approx(cell.score, rel=1e-9)
            assert (score["low"], score["high"]) == pytest.approx(cell.interval, rel=1e-9)
            assert score["state"] == cell.state
            assert score["n"] == cell.n


def test_a_score_of_a_limited_run_is_partial(page):
    limited = [run for run in page.index["runs"] if run["limit"]]
    assert [run["limit"] for run in limited] == [10]
    assert {score["state"] for score in limited[0]["scores"].values()} == {"partial"}


def test_measured_rows_are_those_of_the_report_with_the_run_behind_them(page, runs):
    for shown in page.index["tables"][:6]:
        (part,) = measured_parts(find_table(str(shown["number"])), runs.values())
        rows = [row for group in shown["parts"][0]["groups"] for row in group["rows"]]
        assert [row["run"] and page.runs[row["run"]]["run_id"] for row in rows] == [
            row.run and row.run.id for row in part.rows
        ]
        for one, row in zip(rows, part.rows, strict=True):
            for name, cell in row.cells.items():
                assert one["cells"][name]["state"] == cell.state
                assert one["cells"][name]["score"] == (cell.score and pytest.approx(cell.score, rel=1e-9))
    assert any(row["run"] for row in rows)


def test_an_empty_row_says_what_fills_it(page):
    rows = [row for group in page.index["tables"][4]["parts"][0]["groups"] for row in group["rows"]]
    lacking = [row for row in rows if row["fill"]]
    assert lacking
    for row in lacking:
        assert row["fill"].keys() == {"command", "needs"}
        assert "eval" in row["fill"]["command"] or row["fill"]["needs"]


def test_the_papers_numbers_stand_beside_the_measured_ones(page):
    compared = 0
    for table in page.index["tables"][:5]:
        printed = {row.key: row for row in TABLES[table["number"]].published}
        listed = [row for group in table["parts"][1]["groups"] for row in group["rows"]]
        assert [{name: cell["score"] for name, cell in row["cells"].items()} for row in listed] == [
            row.scores for row in printed.values()
        ]
        rows = [row for group in table["parts"][0]["groups"] for row in group["rows"] if row["published"]]
        assert len(rows) == len(printed)  # the paper's rows are all there, measured or not
        by_name = [(row.scores, row.average, row.tflops) for row in printed.values()]
        for row in rows:
            beside = row["published"]
            assert (beside["cells"], beside["average"], beside["tflops"]) in by_name
            compared += 1
    assert compared > 20


def test_published_numbers_are_those_of_the_same_row(page):
    rows = [row for group in page.index["tables"][4]["parts"][0]["groups"] for row in group["rows"]]
    found = {(row["labels"][0], row["labels"][1]): row["published"] for row in rows}
    vanilla = found["LLaVA-1.5 mini576", "vanilla"]
    printed = next(
        row
        for row in TABLES[5].published
        if (row.key.architecture, row.key.strategy) == ("llava-1.5", "vanilla")
    )
    assert vanilla == {
        "name": "LLaVA-1.5-7B", "cells": printed.scores, "average": printed.average, "tflops": printed.tflops,
        "hours": None, "hours_unit": "GPU hours",
    }  # fmt: skip
    rows = [row for group in page.index["tables"][0]["parts"][0]["groups"] for row in group["rows"]]
    hours = {row["labels"][0]: row["published"]["hours"] for row in rows if row["labels"][1] == "vanilla"}
    assert hours == {"LLaVA-NeXT mini576 p5": 366, "LLaVA-NeXT mini576 p9": 483, "LLaVA-1.5 mini576": 104}


def test_words_name_a_run(page):
    words = {(run["model"], run["strategy"]): (run["title"], run["label"]) for run in page.index["runs"]}
    assert words["mini576", "vanilla"] == ("LLaVA-1.5 mini576", "vanilla")
    assert words["mini576_pdrop_05", "pdrop"] == (
        "LLaVA-1.5 mini576 trained with PDrop λ=0.5",
        "PDrop λ=0.5 S=4, limit 10",
    )
    assert words["mini576_next_p5", "fastv"] == ("LLaVA-NeXT mini576 p5", "FastV K=2 R=0.5")


def test_a_budget_and_other_settings_are_in_the_label(tmp_path, paged):
    data = synthetic.write_data(tmp_path / "data", "gqa", range(2))
    for strategy, more in (
        ("pdrop", {"budget": {"tokens": None, "share": 0.5, "tflops": None}}),
        ("pdrop", {"fields": {"ratio": None, "stages": None, "layers": [4], "ratios": [0.25]}}),
        ("fastv", {"fields": {"k": 3, "r": 0.75}}),
    ):
        head = synthetic.header("mini576", strategy, **more)
        found = {"gqa": (synthetic.samples("mini576", strategy, "gqa", range(2)), data)}
        synthetic.write_run(tmp_path / "runs", "mini576", strategy, found, head=head)
    labels = {run["label"] for run in paged().index["runs"]}
    assert labels == {"PDrop share=0.5", "PDrop layers 4: 0.25", "FastV K=3 R=0.75"}


def labels_of(page):
    return sorted(run["label"] for run in page.index["runs"])


def write_gqa(folder, strategy, head, number=4, identity=None):
    """A run of GQA on the first questions."""
    data = synthetic.write_data(folder / "data", "gqa", range(4))
    found = {"gqa": (synthetic.samples("mini576", "pdrop", "gqa", range(number)), data)}
    return synthetic.write_run(folder / "runs", "mini576", strategy, found, head=head, identity=identity)


def test_a_label_has_what_tells_a_run_from_the_others(tmp_path, paged):
    for more in ({}, {"limit": 2}, {"downsample": 4}, {"batch_size": 4}):
        head = synthetic.header("mini576", "pdrop", **more)
        head["changes"] = [f"{name}={value}" for name, value in more.items() if name != "limit"]
        head["changes"] += ["data.root=/data"]  # of all, so that it tells nothing
        write_gqa(tmp_path, "pdrop", head)
    assert labels_of(paged()) == [
        "PDrop λ=0.5 S=4", "PDrop λ=0.5 S=4, batch_size=4", "PDrop λ=0.5 S=4, downsample=4",
        "PDrop λ=0.5 S=4, limit 2",
    ]  # fmt: skip


def test_runs_of_other_code_and_at_other_times_have_labels_of_their_own(tmp_path, paged):
    for number, commit in enumerate(("a" * 40, "b" * 40, "b" * 40)):
        head = synthetic.header("mini576", "fastv")
        head["code"] = {"version": "0.1.0", "commit": commit, "dirty": False}
        path = write_gqa(tmp_path, "fastv", head, identity=number) / "record.json"
        record = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**record, "created": f"2026-01-0{number + 1}T10:00:00+00:00"}))
    label = "FastV K=2 R=0.5, code 0.1.0 at"
    assert labels_of(paged()) == [
        f"{label} aaaaaaaaaa",
        f"{label} bbbbbbbbbb, made 2026-01-02 10:00",
        f"{label} bbbbbbbbbb, made 2026-01-03 10:00",
    ]


def test_a_strategy_that_names_no_label_is_shown_with_all_its_settings(tmp_path, paged):
    head = synthetic.header("mini576", "mine")
    head["strategy"] = {"name": "mine", "display_name": "Mine", "fields": {"k": 3, "r": 0.25, "at": None}}
    write_gqa(tmp_path, "mine", head)
    assert labels_of(paged()) == ["Mine k=3 r=0.25"]


def test_of_copies_of_a_run_the_most_complete_one_is_the_run(tmp_path, paged):
    folder = write_gqa(tmp_path, "pdrop", synthetic.header("mini576", "pdrop"))
    copy = shutil.copytree(folder, folder.parent / "pdrop-copy")
    shutil.rmtree(folder / "samples")
    made = paged()
    (run,) = made.runs.values()
    assert run["folder"].endswith("mini576/pdrop-copy")
    assert run["scores"]["gqa"]["samples"]
    (notice,) = [one for one in made.index["notices"] if "several folders" in one]
    assert copy.name in notice
    assert folder.name in notice


def test_answers_stand_at_the_places_of_their_questions(page, recorded):
    for record in load_records(recorded / "runs"):
        (shown,) = (run for run in page.index["runs"] if run["run_id"] == record["run_id"])
        for name, score in shown["scores"].items():
            questions = page.questions(score["set"])
            answers = page.answers(shown["key"], name)
            assert len(questions) == len(answers) == 20
            numbers = range(shown["limit"] or 20)
            task = benchmarks()[name].task
            place = list(synthetic.MODELS).index(shown["model"]) + 3 * list(synthetic.STRATEGIES).index(
                shown["strategy"]
            )
            wanted = synthetic.samples(shown["model"], shown["strategy"], task, numbers, place)
            for sample, question, answer in zip(wanted, questions, answers, strict=False):
                assert question.keys() == QUESTION
                assert question["prompt"] == sample["prompt"]
                assert question["target"] == sample["target"]
                assert question["hash"] == sample["content_sha256"][:20]
                assert question["sizes"] == sample["image_sizes"]
                text, mark, new, retained, layers, layout = answer
                assert (text, mark, new) == (sample["answer"], sample["score"], sample["new_tokens"])
                assert retained == sample["retained"]
                assert (layers or shown["tokens_per_layer"]) == sample["image_tokens_per_layer"]
                assert question["grids"][layout] == sample["image_grids"]
            assert answers[len(wanted) :] == [None] * (20 - len(wanted))


def test_masks_and_grids_are_of_the_same_tokens(page):
    run = next(
        run for run in page.index["runs"] if (run["model"], run["strategy"]) == ("mini576_next_p5", "pdrop")
    )
    score = run["scores"]["gqa"]
    assert score["overlays"]
    questions = page.questions(score["set"])
    for question, (*_, retained, layers, layout) in zip(
        questions, page.answers(run["key"], "gqa"), strict=True
    ):
        tokens = sum(Grid.from_list(grid).tokens for grid in question["grids"][layout])
        for layer, mask in retained:
            assert sum(unpack(mask, tokens)) == layers[layer]


def test_a_run_without_drops_has_nothing_to_lay_over(page):
    run = next(run for run in page.index["runs"] if run["strategy"] == "vanilla")
    assert not run["scores"]["gqa"]["overlays"]
    assert all(answer[3] == [] for answer in page.answers(run["key"], "gqa"))


def test_questions_come_in_files_of_five_hundred(tmp_path, paged):
    def sample(number):
        return {"doc_id": number, "answer": f"answer {number}", "score": 1.0, "prompt": "?", "target": "t",
                "content_sha256": f"{number:064d}", "image_tokens_per_layer": [1]}  # fmt: skip

    both = [sample(number) | {"image_tokens": 1} for number in range(1001)]
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (both, "d" * 64)})
    synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", {"gqa": (both[700:703], "d" * 64)})
    page = paged()
    keys = {run["strategy"]: run["key"] for run in page.index["runs"]}
    score = page.runs[keys["vanilla"]]["scores"]["gqa"]
    assert score["chunks"] == 3
    assert score["set"] == page.runs[keys["pdrop"]]["scores"]["gqa"]["set"] == "mini-gqa-dddddddd"
    assert [one["id"] for one in page.questions(score["set"])] == list(range(1001))
    assert [one[0] for one in page.answers(keys["vanilla"], "gqa")] == [f"answer {i}" for i in range(1001)]
    few = page.answers(keys["pdrop"], "gqa")
    assert [place for place, one in enumerate(few) if one] == [700, 701, 702]
    assert len(few) == 1001


def test_runs_that_were_asked_otherwise_have_a_set_of_their_own(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(4))
    other = [{**one, "prompt": "more words", "content_sha256": "e" * 64} for one in samples]
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)})
    synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", {"gqa": (other, "d" * 64)})
    synthetic.write_run(tmp_path / "runs", "mini576", "fastv", {"gqa": (samples[1:3], "d" * 64)})
    page = paged(pictures=0)
    sets = {run["strategy"]: run["scores"]["gqa"]["set"] for run in page.index["runs"]}
    assert sets == {
        "vanilla": "mini-gqa-dddddddd",
        "pdrop": "mini-gqa-dddddddd-2",
        "fastv": "mini-gqa-dddddddd",
    }
    assert {one["prompt"] for one in page.questions(sets["pdrop"])} == {"more words"}


def test_runs_on_other_data_or_another_suite_share_nothing(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    for number, (suite, content) in enumerate((("mini", "a"), ("mini", "b"), ("paper", "a"))):
        head = synthetic.header("mini576", "vanilla", suite={"name": suite, "source": "rendered"})
        tasks = {"gqa": (samples, content * 64)}
        synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", tasks, head=head, identity=number)
    sets = {run["scores"]["gqa"]["set"] for run in paged(pictures=0).index["runs"]}
    assert sets == {"mini-gqa-aaaaaaaa", "mini-gqa-bbbbbbbb", "paper-gqa-aaaaaaaa"}


def test_a_runs_file_holds_its_record_and_names_its_downloads(page, recorded):
    for record in load_records(recorded / "runs"):
        (shown,) = (run for run in page.index["runs"] if run["run_id"] == record["run_id"])
        name, value = data(page.out / f"data/runs/{shown['key']}.js")
        assert name == f"run/{shown['key']}"
        assert value["record"]["tasks"] == record["tasks"]
        assert value["record"]["folder"] == f"{shown['model']}/{record['run_id']}"
        downloaded = json.loads((page.out / value["files"]["json"]).read_text("utf-8"))
        assert downloaded == value["record"]
        with open(page.out / value["files"]["csv"], encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == 3 * (shown["limit"] or 20)
        assert {line["benchmark"] for line in lines} == {"mme", "textvqa", "gqa"}
        first = next(line for line in lines if line["benchmark"] == "gqa")
        assert first["answer"] == page.answers(shown["key"], "gqa")[0][0]


def test_sheets_of_tables_and_runs_are_there(page):
    for table in page.index["tables"]:
        for file in table["files"]:
            assert (
                (page.out / file["file"]).read_text("utf-8").startswith(("source,size,suite,", "size,suite,"))
            )
    lines = list(csv.DictReader(io.StringIO((page.out / page.index["downloads"]["runs"]).read_text("utf-8"))))
    assert [line["key"] for line in lines] == list(page.runs)


def test_the_page_is_as_new_as_its_newest_record(page, recorded):
    newest = max(datetime.fromisoformat(record["updated"]) for record in load_records(recorded / "runs"))
    assert datetime.fromisoformat(page.index["built"]) == newest


def test_unfinished_runs_are_shown_with_what_they_have(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    synthetic.write_run(
        tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)}, status="failed"
    )
    synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", {}, status="started")
    page = paged(pictures=0)
    runs = {run["strategy"]: run for run in page.index["runs"]}
    assert runs["vanilla"]["status"] == "failed"
    assert runs["vanilla"]["error"] == "RuntimeError: the model has left"
    assert list(runs["vanilla"]["scores"]) == ["gqa"]
    assert (runs["pdrop"]["status"], runs["pdrop"]["scores"]) == ("started", {})
    assert data(page.out / f"data/runs/{runs['pdrop']['key']}.js")[1]["files"]["csv"] is None


def test_samples_of_earlier_versions_have_answers_and_no_overlays(tmp_path, paged):
    new = ("image_sizes", "image_grids", "retained")
    samples = synthetic.samples("mini576", "pdrop", "gqa", range(3))
    old = [{name: value for name, value in one.items() if name not in new} for one in samples]
    synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", {"gqa": (old, "d" * 64)})
    page = paged(pictures=0)
    (run,) = page.index["runs"]
    assert run["scores"]["gqa"]["samples"]
    assert not run["scores"]["gqa"]["overlays"]
    assert all(
        one["grids"] is None and one["sizes"] == [] for one in page.questions(run["scores"]["gqa"]["set"])
    )
    assert [one[3:] for one in page.answers(run["key"], "gqa")] == [[None, None, None]] * 3


def test_masks_of_another_number_of_tokens_are_not_shown(tmp_path, paged):
    samples = synthetic.samples("mini576", "pdrop", "gqa", range(2))
    samples[1]["retained"][0][1] = "AAAA"
    synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", {"gqa": (samples, "d" * 64)})
    page = paged(pictures=0)
    (run,) = page.index["runs"]
    first, second = page.answers(run["key"], "gqa")
    assert first[3]
    assert second[3] is None
    assert second[5] is None
    assert any(
        "don't fit the image tokens" in notice and run["key"] in notice for notice in page.index["notices"]
    )


def test_runs_without_samples_are_named_once(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    for strategy in ("vanilla", "pdrop"):
        folder = synthetic.write_run(tmp_path / "runs", "mini576", strategy, {"gqa": (samples, "d" * 64)})
        (folder / "samples" / "gqa.jsonl").unlink()
    page = paged()
    for run in page.index["runs"]:
        score = run["scores"]["gqa"]
        assert (score["samples"], score["set"], score["chunks"]) == (False, None, 0)
        assert score["score"] is not None
    (notice,) = page.index["notices"]
    assert notice.startswith("No samples are stored of ")
    assert all(key in notice for key in page.runs)
    assert notice.endswith("Move the runs' folders away and run them again.")


def test_a_run_without_samples_says_what_to_do(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    folder = synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)})
    (folder / "samples" / "gqa.jsonl").unlink()
    (notice,) = paged().index["notices"]
    assert notice.endswith("no answers. Move the run's folder away and run it again.")


def test_samples_without_a_record_are_named_once(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    tasks = {"gqa": (samples, "d" * 64), "mme": (samples, "e" * 64)}
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", tasks)
    lost = synthetic.write_run(tmp_path / "runs", "mini576", "pdrop", tasks)
    (lost / "record.json").unlink()
    page = paged(pictures=0)
    (notice,) = page.index["notices"]
    assert notice.startswith(
        f"mini576/{lost.name} has samples but no record.json, so nothing of it is shown: "
    )
    assert notice in page.told
    assert len(page.runs) == 1


def test_more_samples_without_a_record_are_one_notice(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(1))
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)})
    for number in range(7):
        (tmp_path / f"runs/mini576/lost-{number}/samples").mkdir(parents=True)
        (tmp_path / f"runs/mini576/lost-{number}/samples/gqa.jsonl").write_text("")
    (notice,) = paged(pictures=0).index["notices"]
    assert "mini576/lost-4 and 2 others have samples but no record.json" in notice
    assert "lost-5" not in notice


def test_damaged_samples_become_a_notice_with_the_reason(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    folder = synthetic.write_run(
        tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64), "mme": (samples, "e" * 64)}
    )
    (folder / "samples" / "gqa.jsonl").write_text('{"doc_id": 0, "answer": 5}\n')
    page = paged(pictures=0)
    (run,) = page.index["runs"]
    assert run["scores"]["gqa"]["samples"] is False
    assert run["scores"]["mme"]["samples"] is True
    (notice,) = page.index["notices"]
    assert "'answer' is 5, no text" in notice
    assert run["key"] in notice
    assert str(tmp_path) not in notice


def test_a_question_that_is_there_twice_is_a_fault_of_the_samples(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": ([*samples, samples[0]], "d" * 64)})
    assert any("the question 0 of gqa twice" in notice for notice in paged().index["notices"])


def test_a_benchmark_that_this_version_does_not_know_is_named(tmp_path, paged):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    tasks = {"gqa": (samples, "d" * 64), "new_task": (samples, "e" * 64)}
    synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", tasks)
    page = paged(pictures=0)
    assert list(page.index["runs"][0]["scores"]) == ["gqa"]
    assert any("new_task" in notice for notice in page.index["notices"])


def test_records_that_contradict_each_other_are_an_error_as_in_the_tables(tmp_path, quick):
    samples = synthetic.samples("mini576", "vanilla", "gqa", range(2))
    folder = synthetic.write_run(tmp_path / "runs", "mini576", "vanilla", {"gqa": (samples, "d" * 64)})
    copy = folder.parent / "copy"
    shutil.copytree(folder, copy)
    build(tmp_path)
    (kept,) = Read(tmp_path / "site").runs.values()  # a copy that says the same is the same run
    assert kept["folder"].endswith(folder.name)
    record = json.loads((copy / "record.json").read_text())
    record["tasks"]["gqa"]["score"] += 1
    (copy / "record.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="contradict each other in gqa"):
        build(tmp_path)
    assert len(Read(tmp_path / "site").runs) == 1  # the former page is still there
