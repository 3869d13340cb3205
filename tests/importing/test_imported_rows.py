"""Imported results where they are shown: marked, with nothing in the place of what isn't known."""

import csv
import json
from pathlib import Path

import pytest
from foreign_results import importing, line, lmms_eval_log, our_run

from pdrop_eval import UserError
from pdrop_eval.records.rows.frame import to_frame
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.figures.cli import NothingToDrawError, make_figures
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.site.data.index import run_entry
from pdrop_eval.report.site.data.records import read_runs

MARKS = (1, 1, 0, 1)


@pytest.fixture
def both():
    """A run of ours, and an import that was asked the same, in one folder."""
    ours = our_run(Path("out"), (1, 1, 1, 1))
    log = lmms_eval_log(Path("log"), {"gqa": [line(i, float(mark)) for i, mark in enumerate(MARKS)]})
    importing("kind=lmms_eval", f"from={log}", f"like={ours}", "model=mini", "budget.tokens=72")
    return Path("out")


def test_the_overview_has_the_row_marked_and_no_cost(both):
    shown = make_tables(both, Path("t"), "overview")
    assert "fork (imported) tokens=72" in " ".join(shown.split()) or "fork (imported)" in shown
    assert "Imported, not run here: fork (imported) tokens=72 (scored by lmms-eval)" in " ".join(
        shown.split()
    )
    with open("t/overview.csv", encoding="utf-8") as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    row = rows["imported-fork"]
    assert (float(row["gqa"]), row["gqa_state"], row["gqa_n"]) == (75, "imported", "4")
    assert (row["tflops"], row["tflops_mean"], row["device_hours"]) == ("", "", "")
    assert rows["vanilla"]["gqa_state"] == "measured"


@pytest.mark.parametrize("table", ["field", "shelf", "5"])
def test_tables_take_the_row_and_offer_no_command_that_would_run_it(both, table):
    make_tables(both, Path("t"), table)
    texts = {path.suffix: path.read_text(encoding="utf-8") for path in Path("t").iterdir()}
    assert not [kind for kind, text in texts.items() if "strategy=imported" in text]
    assert "fork (imported)" in texts[".md"]


def test_in_a_table_in_percent_of_vanilla_it_is_compared_on_the_same_questions(both):
    Path("mine.yaml").write_text(
        "title: mine\ncolumns: [gqa]\nfacts: [tflops]\nnormalisation: relative\n"
        "rows: {train: vanilla, settings: [default, budget]}\n"
    )
    make_tables(both, Path("t"), "mine.yaml")
    with open("t/mine.csv", encoding="utf-8") as file:
        rows = {row["strategy"]: row for row in csv.DictReader(file)}
    assert (float(rows["imported-fork"]["gqa"]), rows["imported-fork"]["tflops"]) == (75, "")


def test_the_page_has_it_marked_and_its_unknown_costs_are_none(both):
    [one] = [one for one in read_runs(both) if one.run.imported]
    entry = run_entry(one, {}, [])
    assert entry["label"].startswith("fork (imported)")
    for unknown in (
        "tflops",
        "image_tokens",
        "tokens_per_layer",
        "kv_cache_bytes",
        "mean_tokens_share",
        "device",
    ):
        assert entry[unknown] is None
    assert entry["scores"]["gqa"]["state"] == "imported"
    assert (entry["scores"]["gqa"]["tflops_mean"], entry["scores"]["gqa"]["wall_seconds"]) == (None, None)


@pytest.mark.slow
def test_figures_of_score_against_cost_have_no_point_of_it(both):
    like = next(both.glob("mini/vanilla-*"))
    importing("kind=lmms_eval", "from=log", f"like={like}", "model=mini", "results=alone")
    with pytest.raises(NothingToDrawError):
        make_figures(Path("alone"), Path("f"), names=["figure4"])


@pytest.mark.parametrize(("change", "words"), [
    (lambda record: record.update(imported=3), "its field 'imported' is 3, no object"),
    (lambda record: record["tasks"]["gqa"]["imported"].update(pairs_by="content"), "no list of texts"),
])  # fmt: skip
def test_a_damaged_record_of_an_import_is_refused(both, change, words):
    [path] = both.glob("mini/imported-*/record.json")
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=words):
        load_records(both)


@pytest.mark.slow
def test_a_data_frame_has_it_with_missing_values(both):
    frame = to_frame(load_records(both)).set_index("strategy")
    assert frame.loc["imported-fork", "score"] == 75
    assert frame.loc["imported-fork", "tflops"] is None or frame.isna().loc["imported-fork", "tflops"]


def test_an_import_never_stands_for_the_model_without_dropping(both):
    runs = {run.strategy: run for run in to_runs(load_records(both))}
    importing("kind=lmms_eval", "from=log", "name=vanilla", "model=mini", "results=out2")
    assert set(runs) == {"vanilla", "imported-fork"}
    assert {run.strategy for run in to_runs(load_records(Path("out2")))} == {"imported-vanilla"}
