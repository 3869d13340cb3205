"""From records to Table 5: which run is shown, what is subtracted, and what is said of the rest."""

import json
import math
import re
import subprocess
import sys

import pandas as pd
import pytest

from pdrop_eval.errors import UserError
from pdrop_eval.records import load_records
from pdrop_eval.report.cli import END, START, make_tables, with_table
from pdrop_eval.report.frame import changes_from_default, to_frame
from pdrop_eval.report.layout import cost_table, scores_table, sections
from pdrop_eval.report.render import markdown, terminal
from pdrop_eval.report.table5 import measured_groups


@pytest.fixture
def groups(tmp_path):
    return lambda: measured_groups(to_frame(load_records(tmp_path / "runs")))


@pytest.fixture
def three(add_run, all_scores):
    """Vanilla, FastV and PDrop, all complete."""
    add_run("vanilla", all_scores(1600, 70.0))
    add_run("fastv", all_scores(1400, 60.0))
    add_run("pdrop", all_scores(1500, 66.0))


def table(group):
    return scores_table(group).set_index("Strategy")


def notes(group):
    return "\n".join(sections([group])[0].notes)


def test_the_average_divides_mme_by_twenty_and_the_delta_is_pdrop_minus_fastv(three, groups):
    (group,) = groups()
    scores = table(group)
    assert list(scores.index) == ["vanilla", "FastV", "PDrop", "Δ"]
    # vanilla (1600/20 + 7*70)/8 = 71.25; FastV (70 + 420)/8 = 61.25; PDrop (75 + 462)/8 = 67.125
    assert scores["Avg"].tolist() == ["71.2", "61.2", "67.1", "+5.9"]
    assert scores.loc["Δ", ["MME", "GQA"]].tolist() == ["+5.0", "+6.0"]
    assert scores.loc["PDrop", "MME"] == "1500.0"
    assert scores["TFLOPs"].tolist() == ["0.000412", "0.000251", "0.000187", ""]


def test_the_standard_error_of_the_average_has_mme_on_the_common_scale(three, groups):
    average = groups()[0].rows[0].average
    # Every stderr is 2.0, MME's becomes 0.1: sqrt(7 * 4 + 0.01) / 8
    assert average.stderr == pytest.approx(math.sqrt(28.01) / 8)


def test_an_average_over_fewer_benchmarks_is_not_formed(add_run, all_scores, groups):
    scores = all_scores(1500, 66.0)
    del scores["docvqa"]
    add_run("pdrop", scores, complete=False)
    (group,) = groups()
    assert table(group).loc["PDrop", ["DocVQA", "Avg"]].tolist() == ["-", "-"]
    assert table(group).loc["FastV"].tolist() == ["-"] * 10
    assert "PDrop DocVQA. Run: make eval STRATEGY=pdrop MODEL=mini SUITE=table5" in notes(group)
    assert "FastV. Run: make eval STRATEGY=fastv MODEL=mini SUITE=table5" in notes(group)


def test_the_default_configuration_is_shown_and_the_others_are_named(add_run, all_scores, groups):
    add_run("pdrop", all_scores(1500, 66.0))
    changed = add_run("pdrop", all_scores(1590, 69.0), fields={"ratio": 0.6})
    seeded = add_run("pdrop", all_scores(1580, 68.0), seed=7)
    limited = add_run("pdrop", all_scores(1570, 67.0), limit=32, n=32)
    (group,) = groups()
    assert table(group).loc["PDrop", "GQA"] == "66.0"
    assert f"{changed.folder.name} (strategy.ratio=0.6)" in notes(group)
    assert f"{seeded.folder.name} (seed=7)" in notes(group)
    assert f"{limited.folder.name} (limit=32 " in notes(group)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"seed": 7}, {"limit": 64}),
        ({"limit": 64}, {"limit": 32}),
        ({"limit": 32}, {"fields": {"ratio": 0.6}}),
        ({"seed": 7}, {"seed": 7, "dtype": "float16"}),
    ],
)
def test_of_changed_runs_the_one_nearest_to_the_default_is_shown(add_run, all_scores, groups, one, other):
    add_run("pdrop", all_scores(1500, 11.0), **other)
    add_run("pdrop", all_scores(1500, 22.0), **one)
    add_run("pdrop", all_scores(1500, 33.0), **other, batch_size=4)
    assert table(groups()[0]).loc["PDrop*", "GQA"] == "22.0"


def test_of_equal_runs_the_more_complete_then_the_newer_is_shown(add_run, all_scores, groups):
    add_run("fastv", all_scores(1500, 11.0), commit="a" * 40)
    add_run("fastv", all_scores(1500, 22.0), commit="b" * 40)
    add_run("fastv", {"gqa": 33.0}, commit="d" * 40, complete=False)
    (group,) = groups()
    assert table(group).loc["FastV", "GQA"] == "22.0"


def test_a_limited_row_is_marked_and_not_subtracted_from_a_full_one(add_run, all_scores, groups):
    add_run("fastv", all_scores(1400, 60.0))
    add_run("pdrop", all_scores(1500, 66.0), limit=32, n=32)
    (group,) = groups()
    assert "PDrop*" in table(group).index
    assert "PDrop* was run with limit=32" in notes(group)
    assert set(table(group).loc["Δ"]) == {"", "-"}
    assert "FastV and PDrop answered other questions: all benchmarks" in notes(group)


def test_rows_with_the_same_limit_are_subtracted(add_run, all_scores, groups):
    add_run("fastv", all_scores(1400, 60.0), limit=32, n=32)
    add_run("pdrop", all_scores(1500, 66.0), limit=32, n=32)
    (group,) = groups()
    assert table(group).loc["Δ", "GQA"] == "+6.0"
    assert "vanilla. Run: make eval STRATEGY=vanilla MODEL=mini SUITE=table5 LIMIT=32" in notes(group)


def test_a_changed_row_is_completed_with_its_own_settings(add_run, groups):
    add_run("fastv", {"gqa": 60.0}, fields={"k": 3}, dtype="bfloat16", complete=False)
    text = notes(groups()[0])
    assert "make eval STRATEGY=fastv MODEL=mini SUITE=table5 ARGS='strategy.k=3 dtype=bfloat16'" in text


def test_rows_of_different_checkpoints_are_not_subtracted(three, groups, tmp_path):
    path = next((tmp_path / "runs" / "mini").glob("pdrop-*/record.json"))
    path.write_text(path.read_text().replace("ab" * 32, "cd" * 32))
    (group,) = groups()
    assert group.delta == {}
    assert "differ in checkpoint" in notes(group)


def test_the_mean_cost_weighs_benchmarks_by_their_questions(add_run, groups):
    run = add_run("pdrop", {"gqa": 60.0, "pope": 80.0})
    path = run.folder / "record.json"
    record = json.loads(path.read_text())
    record["tasks"]["gqa"] |= {"n": 100, "tflops_mean": 2.0}
    record["tasks"]["pope"] |= {"n": 300, "tflops_mean": 4.0}
    path.write_text(json.dumps(record))
    row = next(row for row in groups()[0].rows if row.run)
    assert row.tflops_mean == 3.5  # (100 * 2 + 300 * 4) / 400
    assert cost_table([row])["TFLOPs mean"].tolist() == ["3.5"]


def test_models_and_suites_are_kept_apart(add_run, all_scores, groups):
    add_run("pdrop", all_scores(1500, 66.0))
    add_run("pdrop", all_scores(1400, 55.0), suite="table5_hub")
    add_run("pdrop", all_scores(1300, 44.0), model="llava_1_5_7b")
    assert [(group.model, group.suite) for group in groups()] == [
        ("llava_1_5_7b", "table5"),
        ("mini", "table5"),
        ("mini", "table5_hub"),
    ]


def test_a_strategy_of_ones_own_gets_a_row_after_the_papers(three, add_run, all_scores, groups):
    add_run("random", all_scores(1000, 40.0))
    assert list(table(groups()[0]).index) == ["vanilla", "FastV", "PDrop", "random", "Δ"]


def test_changes_are_written_as_overrides():
    config = {
        "strategy": {
            "_target_": "pdrop_eval.strategies.pyramiddrop.PyramidDrop",
            "ratio": None,
            "stages": 4,
            "layers": [8, 16],
        },
        "seed": 3,
        "device": "cuda",
    }
    assert changes_from_default(config) == ["strategy.ratio=null", "strategy.layers=[8,16]", "seed=3"]


def test_the_terminal_table_fits_80_columns(three, groups):
    text = terminal(sections(groups()), 80)
    too_wide = [line for line in text.splitlines() if len(line) > 80]
    assert too_wide == []
    assert re.search(r"^vanilla +0\.000412 +1600\.0 +70\.0", text, re.M)
    assert "144 x2, 72 x2, 36 x2, 18 x2" in text


def test_measured_and_published_are_told_apart(three, groups):
    text = markdown(sections(groups()))
    measured, published = text.split("### Table 5, published (not measured here)")
    assert "### Table 5, measured: mini on suite table5" in measured
    assert "checkpoint abababababab" in measured
    assert "not the benchmarks themselves" in measured
    assert "multiply-adds, image tokens only" in measured
    assert "| PDrop      |" in published
    assert "arXiv 2410.17247" in published
    assert "1533.0" not in measured


def test_all_formats_are_written_with_the_same_numbers(three, tmp_path):
    shown = make_tables(tmp_path / "runs", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "table5.csv",
        "table5.md",
        "table5.tex",
    ]
    numbers = pd.read_csv(tmp_path / "out" / "table5.csv")
    measured = numbers[numbers["source"] == "measured"].set_index("strategy")
    assert measured.loc["pdrop", "avg"] == pytest.approx(67.125)
    assert measured.loc["pdrop-fastv", "mme"] == pytest.approx(5.0)
    assert measured.loc["vanilla", "gqa_n"] == 200
    latex = (tmp_path / "out" / "table5.tex").read_text()
    assert latex.count(r"\begin{table}") == latex.count(r"\end{table}") == 5
    assert r"\toprule" in latex
    assert r"$\Delta$ &  & +5.0 & +6.0" in latex
    assert "PDrop" in shown
    assert str(tmp_path / "out" / "table5.md") in shown


def test_latex_special_characters_are_escaped(add_run, all_scores, tmp_path):
    add_run("my_way", all_scores(1, 2.0), model="llava_1_5_7b")
    make_tables(tmp_path / "runs", tmp_path)
    lines = (tmp_path / "table5.tex").read_text().splitlines()
    assert any(line.startswith(r"my\_way & ") for line in lines)
    assert not [line for line in lines if not line.startswith("%") and re.search(r"(?<!\\)[_%#]", line)]


def test_the_readme_gets_the_table_between_its_marks_and_keeps_the_rest(three, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{START}\nold\n{END}\nafter\n")
    make_tables(tmp_path / "runs", tmp_path / "out", readme)
    table = (tmp_path / "out" / "table5.md").read_text()
    assert readme.read_text() == f"before\n{START}\n{table}{END}\nafter\n"


def test_a_readme_without_a_place_for_the_table_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(UserError, match="Put a line <!-- table5 -->"):
        with_table(tmp_path / "README.md", "x")


def test_without_records_the_command_to_run_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match=r"make eval STRATEGY=pdrop MODEL=mini SUITE=table5"):
        make_tables(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_explained(three, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        make_tables(tmp_path / "runs", tmp_path / "out")


def run_script(*arguments, cwd):
    command = [sys.executable, "-m", "pdrop_eval.report.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("rot=x", "Unknown setting: 'rot'. Allowed: table, root, out, readme. Did you mean root?"),
        ("table=6", "Unknown table: '6'. Allowed: 5."),
        ("root=nowhere", "No benchmark of Table 5 is finished in nowhere. Run first: make eval"),
    ],
)
def test_wrong_arguments_end_with_one_line_and_status_2(tmp_path, argument, words):
    done = run_script(argument, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_script_prints_the_table_and_needs_no_torch(three, tmp_path):
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "sys.argv[1:] = ['root=runs', 'out=o']\n"
        "from pdrop_eval.report.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Table 5, measured: mini on suite table5" in done.stdout
    assert (tmp_path / "o" / "table5.md").is_file()
