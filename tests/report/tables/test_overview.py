"""The overview: every benchmark of every run, also what has no place in the paper's tables."""

import pytest
from report_records import LLAVA_15, edit

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.report.tables.overview import overview


@pytest.fixture
def shown(runs):
    """The bands of the only section: names, and lines of texts."""

    def make():
        (section,) = overview(runs())
        (grid,) = section.grids
        bands = {
            band.name: [[cell.text for cell in line.cells] for line in band.lines] for band in grid.bands
        }
        return grid.heads, bands, "\n".join("\n".join([note.text, *note.commands]) for note in section.notes)

    return make


def test_all_sixteen_benchmarks_are_columns_in_the_order_of_the_registry(add_run, shown):
    add_run("pdrop", {"gqa": 60.0})
    heads, bands, _ = shown()
    assert heads[2:-1] == [benchmark.name for benchmark in benchmarks().values()]
    assert len(heads[2:-1]) == 16
    line = dict(zip(heads, bands["mini576"][0], strict=True))
    assert (line["GQA"], line["MME"]) == ("60.0", "-")


def test_a_run_that_waits_for_a_judge_says_so_and_how_to_go_on(add_run, shown):
    add_run("pdrop", {"gqa": 60.0}, judge=["mmvet"])
    heads, bands, notes = shown()
    assert dict(zip(heads, bands["mini576"][0], strict=True))["MM-Vet"] == "needs judge"
    assert "MM-Vet needs a judge" in notes
    assert "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini ARGS='judge.model=<name>'" in notes


def test_a_judged_score_is_a_score_and_its_judge_is_named(add_run, shown):
    run = add_run("pdrop", {"mmvet": 31.5})
    edit(run, lambda record: record["tasks"]["mmvet"].update(judge={"model": "a-judge"}))
    heads, bands, notes = shown()
    assert dict(zip(heads, bands["mini576"][0], strict=True))["MM-Vet"] == "31.5"
    assert f"MM-Vet was judged by a-judge: {run.folder.name}." in notes
    assert "needs a judge" not in notes


def test_other_settings_and_models_have_lines_of_their_own_in_the_papers_order(add_run, shown):
    add_run("zebra", {"gqa": 1.0})
    add_run("pdrop", {"gqa": 60.0})
    add_run("pdrop", {"gqa": 61.0}, fields={"ratio": 0.6})
    add_run("vanilla", {"gqa": 62.0}, limit=32)
    add_run("vanilla", {"gqa": 63.0}, model="other")
    _, bands, notes = shown()
    assert list(bands) == ["mini576", "mini576, limit=32", "other"]
    assert [line[0] for line in bands["mini576"]] == ["PDrop", "PDrop ratio=0.6", "zebra"]
    assert [line[0] for line in bands["mini576, limit=32"]] == ["vanilla*"]
    assert "limit=32." in notes


def test_of_runs_with_the_same_settings_one_is_shown_and_the_others_are_named(add_run, shown):
    add_run("pdrop", {"gqa": 60.0})
    other = add_run("pdrop", {"gqa": 61.0}, batch_size=4)
    _, bands, notes = shown()
    assert [line[0] for line in bands["mini576"]] == ["PDrop"]
    assert f"is shown: {other.folder.name} (batch_size=4)." in notes


def test_of_many_others_the_number_is_told(add_run, shown):
    for size in range(1, 12):
        add_run("pdrop", {"gqa": 60.0}, batch_size=size)
    _, _, notes = shown()
    assert " and 2 more." in notes  # 11 runs: one is shown, eight are named


def test_a_model_that_belongs_to_no_table_is_named(add_run, shown):
    add_run("pdrop", {"gqa": 60.0}, model="mine", kind={**LLAVA_15, "architecture": None})
    assert "In none of the paper's tables: mine." in shown()[2]


def test_suites_are_sections_of_their_own(add_run, runs):
    add_run("pdrop", {"gqa": 60.0})
    add_run("pdrop", {"gqa": 60.0}, suite="paper", source="hub")
    titles = [section.title for section in overview(runs())]
    assert titles == [f"Overview: all benchmarks of all runs on suite {suite}" for suite in ("mini", "paper")]


def test_another_seed_is_a_line_of_its_own_that_says_so(add_run, shown):
    add_run("random", {"gqa": 60.0})
    add_run("random", {"gqa": 61.0}, seed=2)
    heads, bands, _ = shown()
    found = [dict(zip(heads, line, strict=True)) for line in bands["mini576"]]
    assert [(line["Strategy"], line["GQA"]) for line in found] == [
        ("Random", "60.0"),
        ("Random seed=2*", "61.0"),
    ]
