"""What comparisons, tables, the results page and the doctor make of the user's own data."""

import json
import sys
from pathlib import Path

import pytest
from own_folders import COLOURS, rows_of, write_jsonl

from pdrop_eval import score_folder
from pdrop_eval.benchmarks.own.store import find_stored
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.compare import cli as compare
from pdrop_eval.report.show.settings import read_settings
from pdrop_eval.report.site.build import Sources, make_page
from pdrop_eval.report.tables.overview import overview
from pdrop_eval.report.tables.summary import summary
from pdrop_eval.run.config.spec import compose_spec
from pdrop_eval.run.doctor import inputs
from pdrop_eval.utils import definitions
from pdrop_eval.utils.errors import UserError

OWN = ["data.folder=mine", "data.metric=exact_match"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Four questions, in the folder mine of the working folder."""
    monkeypatch.setenv("PDROP_EVAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(definitions, "_known", {})
    return write_jsonl(tmp_path / "mine", rows_of())


@pytest.mark.slow
def test_a_comparison_a_table_and_the_page(lmms_eval, llava, monkeypatch, capsys):
    given = [*OWN, f"model.pretrained={llava}", "name=x", "max_drop_of={mine_exact_match:99}"]
    monkeypatch.setattr(
        sys, "argv", ["pdrop-eval-compare", "candidate_overrides=[strategy.ratio=1.0]", *given]
    )
    with pytest.raises(SystemExit) as leaving:
        compare.main()
    assert leaving.value.code == 0
    found = json.loads(Path("results/compare/x.json").read_text(encoding="utf-8"))
    (one,) = found["benchmarks"]
    assert (one["name"], one["metric"], one["n"], one["agreement"]) == (
        "mine_exact_match",
        "exact_match",
        4,
        100,
    )
    definitions._known.clear()  # another process knows the benchmark from the records alone
    runs = to_runs(load_records(Path("results/runs")))
    printed = summary(runs, Path("tables"), 80)
    assert "mine_exact_match\n" in printed
    assert "nothing measured yet" not in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("mini576 ", "       "))]
    assert [row[-1] for row in rows] == ["4", "4"]
    (section,) = overview(runs)
    assert section.grids[0].heads[2:] == ["mine_exact_match", "Record"]
    assert "Questions: the user's own, in mine." in section.text
    capsys.readouterr()
    make_page(Sources(Path("results/runs"), Path("bench"), Path("results/compare")), Path("page"))
    assert len(list(Path("page/pictures").glob("*.webp"))) == 4
    assert "mine_exact_match" in Path("page/data/index.js").read_text(encoding="utf-8")


def test_answers_of_anyone_are_scored(lmms_eval):
    answers = ["Red", "blue", "blue", "a white one"]
    found = score_folder("mine", "exact_match", answers)
    assert (found.task, found.value, found.n, found.clusters) == ("mine_exact_match", 50.0, 4, 4)
    assert score_folder("mine", "contains", answers).value == 75.0
    assert score_folder("mine", "exact_match", answers[:1], limit=1).value == 100.0
    with pytest.raises(UserError, match=r"has 4 questions\. Give an answer to each"):
        score_folder("mine", "exact_match", answers[:3])
    with pytest.raises(UserError, match=r"line 1, id 'q0': the answer 'red' is neither yes nor no"):
        score_folder("mine", "yes_no", answers)


def test_the_doctor_looks_into_the_folder(folder):
    (found,) = inputs.data(compose_spec(OWN))
    assert (found.status, found.text) == ("ok", "4 questions in mine, whole and scorable")
    write_jsonl(folder, rows_of(image=[*(f"images/{n}.png" for n in range(3)), "images/9.png"]))
    (found,) = inputs.data(compose_spec(OWN))
    assert found.status == "FAIL"
    assert "line 4, id 'q3': image='images/9.png' isn't there" in found.text


def test_samples_are_named_by_the_folder():
    settings = read_settings(["sample=mine_exact_match:1-2", *OWN])
    assert settings.overrides("pdrop") == ["strategy=pdrop", *OWN]
    assert settings.samples[0].text == "mine_exact_match:1-2"
    with pytest.raises(UserError, match=r"Unknown name of data\.folder: 'gqa'. Allowed: mine_exact_match"):
        read_settings(["sample=gqa:1", *OWN])


def test_stored_questions_are_found_by_their_content():
    from pdrop_eval.benchmarks.own.store import store_folder

    stored = store_folder("mine", "exact_match")
    assert find_stored(stored.sha256) == stored.path
    assert find_stored("0" * 64) is None
    assert find_stored(None) is None
    assert len(COLOURS) == stored.questions
