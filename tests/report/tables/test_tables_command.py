"""pdrop-eval-tables: what it writes, what it puts into a README, and how it ends on wrong input."""

import re
import subprocess
import sys

import pytest
from report_records import LLAVA_15, edit

from pdrop_eval.report.readme.blocks import COMPACT, FIRST, WHOLE, marks, with_blocks
from pdrop_eval.report.readme.cli import main, make_tables
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.utils.errors import UserError

FORMATS = ("md", "csv", "tex", "html")


@pytest.fixture
def one(add_run, all_scores):
    """One run with Table 5's benchmarks."""
    return add_run("pdrop", all_scores(1500, 66.0))


def test_all_tables_and_the_overview_are_written_in_every_format_and_summed_up(one, tmp_path):
    shown = make_tables(tmp_path / "runs", tmp_path / "out")
    names = [*(f"table{number}" for number in range(1, 6)), "field", "frontier", "overview"]
    expected = {f"{name}.{kind}" for name in names for kind in FORMATS} | {"tables1-4.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    for number in range(1, 6):
        text = (tmp_path / "out" / f"table{number}.md").read_text()
        assert f"Table {number}, measured: size mini576, suite mini" in text
        assert f"Table {number}, published (not measured here)" in text
    assert "are in" in shown
    assert str(tmp_path / "out") in " ".join(shown.split())


def test_the_summary_has_each_measured_row_with_its_average_in_80_columns(
    add_run, all_scores, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    add_run("vanilla", all_scores(1500, 70.0))
    add_run("pdrop", all_scores(1500, 66.0), seed=7)
    shown = make_tables(tmp_path / "runs", tmp_path / "out")
    assert max(len(line) for line in shown.splitlines() if str(tmp_path) not in line) <= 80
    assert len(shown.splitlines()) < 60
    table5 = shown.partition("Table 5: strategies at inference only\n")[2].splitlines()
    # mean of 1500 / 20 and seven scores; errors 2 / 20 and seven times 2, of independent benchmarks
    half = f"{1.96 * (0.1**2 + 7 * 2.0**2) ** 0.5 / 8:.1f}"
    assert table5[0] == "2 of 6 rows measured (size mini576, suite mini)"
    assert table5[1].split()[-5:] == [f"{(75 + 7 * 70) / 8:.1f}", half, "8", "of", "8"]
    assert table5[2].split()[0] == "PDrop*"
    assert table5[2].split()[-5:] == [f"{(75 + 7 * 66) / 8:.1f}", half, "8", "of", "8"]
    assert "* Not the default settings" in shown
    assert "    make experiment EXPERIMENT=table5\n" in shown
    assert "Overview: 2 runs on suite mini, 0 with all 16 benchmarks." in shown


def test_the_summary_names_a_full_run_that_a_trial_of_more_rows_hides(
    add_run, all_scores, tmp_path, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    full = add_run("pdrop", all_scores(1500, 66.0), n=240)
    assert "asked more" not in make_tables(tmp_path / "runs", tmp_path / "out")
    for strategy in ("vanilla", "pdrop"):
        add_run(strategy, all_scores(1500, 50.0), n=8, limit=8)
    shown = " ".join(make_tables(tmp_path / "runs", tmp_path / "out").split())
    why = "Not shown, though asked more, as the rows beside were asked or set otherwise:"
    assert f"{why} {full.folder.name} (all questions). Every run is in" in shown
    unlisted = add_run("random", all_scores(1500, 40.0), n=240)
    add_run("fastv", all_scores(1500, 45.0), n=8, limit=8)
    shown = " ".join(make_tables(tmp_path / "runs", tmp_path / "out").split())
    assert f"{unlisted.folder.name} (all questions)" in shown


def test_a_table_of_which_nothing_is_measured_is_a_line_of_the_summary(one, tmp_path):
    out = tmp_path / "out"
    shown = make_tables(tmp_path / "runs", out)
    # PDrop on the vanilla-trained model is a row of Table 5 only
    assert re.findall(r"^Table (\d): .*\nnothing measured yet", shown, re.M) == ["1", "2", "3", "4"]
    assert "make eval STRATEGY=vanilla" in (out / "table2.md").read_text()
    assert "Table 2, published" in make_tables(tmp_path / "runs", out, "2")


def test_runs_that_belong_to_no_table_are_in_the_overview_alone(add_run, tmp_path):
    add_run("pdrop", {"gqa": 60.0}, kind={**LLAVA_15, "train": None})
    shown = make_tables(tmp_path / "runs", tmp_path / "out")
    assert "measured yet" not in shown
    assert "Overview: 1 run on suite mini" in shown


def test_each_size_has_its_own_lines_and_commands(one, add_run, all_scores, tmp_path):
    add_run("pdrop", all_scores(1500, 66.0), model="llava_1_5_7b", kind={**LLAVA_15, "size": "7b"})
    shown = make_tables(tmp_path / "runs", tmp_path / "out")
    assert "nothing measured yet (size 7b, suite mini)" in shown
    assert "1 of 6 rows measured (size 7b, suite mini)" in shown
    assert "SIZE=7b" not in shown  # the 7B models' experiments take the suite paper


@pytest.mark.parametrize("which", ["2", "overview"])
def test_one_report_alone(one, tmp_path, which):
    shown = make_tables(tmp_path / "runs", tmp_path / "out", which)
    name = which if which == "overview" else f"table{which}"
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{name}.{kind}" for kind in FORMATS}
    assert ("Table 2" in shown) == (which == "2")
    assert "Table 5" not in shown


def test_the_readme_gets_its_blocks_between_their_marks_and_keeps_the_rest(one, tmp_path):
    readme = tmp_path / "README.md"
    (start, end), (short_start, short_end) = marks(WHOLE), marks(COMPACT)
    readme.write_text(f"before\n{start}\nold\n{end}\nbetween\n{short_start}\n{short_end}\nafter\n")
    make_tables(tmp_path / "runs", tmp_path / "out", readme=readme)
    whole, short = ((tmp_path / "out" / name).read_text() for name in ("table5.md", "tables1-4.md"))
    assert readme.read_text() == (
        f"before\n{start}\n{whole.strip()}\n{end}\nbetween\n{short_start}\n{short.strip()}\n{short_end}\nafter\n"
    )


def test_the_short_tables_have_the_measured_rows_and_name_the_others(one, tmp_path):
    make_tables(tmp_path / "runs", tmp_path / "out")
    short = (tmp_path / "out" / "tables1-4.md").read_text()
    assert [line for line in short.splitlines() if line.startswith("### ")] == [
        f"### Table {number}, measured: size mini576, suite mini" for number in range(1, 5)
    ]
    assert "Not measured yet: LLaVA-NeXT p5 trained without dropping: vanilla;" in short
    assert "`results/tables/table1.md`" in short


def test_the_short_tables_say_what_their_marks_mean(add_run, all_scores, tmp_path):
    keys = TABLES[1].benchmarks
    add_run("vanilla", all_scores(1500, 66.0, keys), limit=8, n=8)
    kind = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
    add_run("pdrop", all_scores(1500, 66.0, keys), kind=kind, model="mini576_pdrop_05", seed=7, limit=8, n=8)
    make_tables(tmp_path / "runs", tmp_path / "out")
    short = (tmp_path / "out" / "tables1-4.md").read_text()
    first = short.split("### ")[1].replace("\\", "")
    assert re.findall(r"(\w+\*) ", first.split("- *")[0]) == ["vanilla*", "PDrop*"]
    assert "- * vanilla: limit=8 (the first questions of each benchmark)." in first
    assert "- * PDrop-trained λ=0.5 PDrop: limit=8 seed=7 (the first questions" in first


def first_block(tmp_path):
    """What `readme=` writes between the marks of the first look."""
    readme, (start, end) = tmp_path / "README.md", marks(FIRST)
    readme.write_text(f"{start}\n{end}\n")
    make_tables(tmp_path / "runs", tmp_path / "out", readme=readme)
    return readme.read_text().partition(start)[2].partition(end)[0].strip()


def test_the_first_look_has_a_line_a_measured_strategy_with_the_average_and_its_interval(
    add_run, all_scores, tmp_path
):
    add_run("vanilla", all_scores(1500, 70.0))
    add_run("pdrop", all_scores(1500, 66.0))
    head, _, *rows, _, text = first_block(tmp_path).splitlines()
    assert [word.strip() for word in head.strip("|").split("|")] == [
        *("Model", "Strategy", "GFLOPs", "GQA", "POPE", "TextVQA", "DocVQA", "Avg ± 95%")
    ]
    cells = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    # mean of 1500 / 20 and seven times 66; errors 2 / 20 and seven times 2, of independent benchmarks
    half = 1.96 * (0.1**2 + 7 * 2.0**2) ** 0.5 / 8
    assert [row[:2] + row[3:] for row in cells] == [
        ["LLaVA-1.5 mini576", "vanilla", *["70.0"] * 4, f"{(75 + 7 * 70) / 8:.1f} ± {half:.1f}"],
        ["", "PDrop", *["66.0"] * 4, f"{(75 + 7 * 66) / 8:.1f} ± {half:.1f}"],
    ]
    assert "200 questions a benchmark, rendered by this project" in text
    assert "do not compare these scores with published ones" in text
    assert re.search(r"Measured with pdrop-eval \S+", text)


def test_the_first_look_says_what_is_not_the_default_and_nothing_where_nothing_is_measured(
    add_run, all_scores, tmp_path
):
    add_run("pdrop", all_scores(1500, 66.0), limit=8, n=8)
    add_run("vanilla", all_scores(1500, 66.0), limit=8, n=8)
    add_run("fastv", all_scores(1500, 66.0))
    block = first_block(tmp_path).replace("\\", "")
    assert "PDrop*" in block
    assert "- * vanilla, PDrop: limit=8 (the first questions of each benchmark)." in block
    assert "FastV" not in block
    assert "8 questions a benchmark" in block


def test_the_first_look_of_runs_that_are_no_row_of_the_table_is_a_line(add_run, tmp_path):
    add_run("pdrop", {"gqa": 60.0}, kind={**LLAVA_15, "train": None})
    assert first_block(tmp_path) == "Nothing measured yet."


def test_a_readme_without_a_place_for_any_block_is_refused(one, tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(UserError, match="no place for first or table5 or tables1-4") as error:
        make_tables(tmp_path / "runs", tmp_path / "out", readme=tmp_path / "README.md")
    assert "Put a line <!-- first --> and a line <!-- /first -->" in str(error.value)
    assert (tmp_path / "README.md").read_text() == "nothing"


@pytest.mark.parametrize("mark", marks(WHOLE))
def test_half_of_a_place_is_refused(tmp_path, mark):
    (tmp_path / "README.md").write_text(f"before\n{mark}\nafter")
    with pytest.raises(UserError, match="Put a line <!-- table5 --> and a line <!-- /table5 -->"):
        with_blocks(tmp_path / "README.md", {FIRST: "y", WHOLE: "x"})


def test_blocks_that_a_readme_does_without_are_left_out(tmp_path):
    start, end = marks(WHOLE)
    (tmp_path / "README.md").write_text(f"{start}\n{end}\n")
    assert with_blocks(tmp_path / "README.md", {FIRST: "y", WHOLE: "x"}) == f"{start}\nx\n{end}\n"


def test_a_readme_that_is_not_there_is_explained(tmp_path):
    with pytest.raises(UserError, match="can't be read"):
        with_blocks(tmp_path / "README.md", {WHOLE: "x"})


def test_without_records_the_command_to_run_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match=r"make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini"):
        make_tables(tmp_path / "runs", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_explained(one, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="can't be written"):
        make_tables(tmp_path / "runs", tmp_path / "out")


def test_a_record_of_the_first_schema_is_migrated_and_fills_its_row(one, tmp_path):
    def to_first(record):
        record["schema"] = 1
        kept = {
            "name": "mini",
            "sha256": "ab" * 32,
            "family": "llava",
            "dtype": "float32",
            "image_tokens": 144,
        }
        record["model"] = kept
        for entry in record["tasks"].values():
            entry.pop("status", None)

    edit(one, to_first)
    make_tables(tmp_path / "runs", tmp_path / "out", "5")
    rows = [line for line in (tmp_path / "out" / "table5.md").read_text().splitlines() if "| PDrop" in line]
    assert "66.0" in rows[0]  # of LLaVA-1.5, its intervals, its cost and the published ones


def test_a_record_of_a_later_schema_is_refused_with_the_reason(one, tmp_path):
    edit(one, lambda record: record.update(schema=99))
    with pytest.raises(UserError, match="schema 99"):
        make_tables(tmp_path / "runs", tmp_path / "out")


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("rot=x", "Unknown setting: 'rot'. Allowed: table, root, out, readme, published, bench, page."),
        (
            "table=6",
            "Unknown table: '6'. Allowed: 1, 2, 3, 4, 5, budgets, field, frontier, qwen, shelf, all, "
            "overview.",
        ),
        ("root=nowhere", "No benchmark is finished in nowhere. Run first: make eval"),
    ],
)
def test_wrong_arguments_end_with_one_line_and_status_2(tmp_path, argument, words, leave):
    status, said = leave(main, argument)
    assert status == 2
    assert words in said.err
    assert "Traceback" not in said.err
    assert list(tmp_path.iterdir()) == []


def test_the_script_prints_the_table_and_needs_neither_torch_nor_pandas(one, tmp_path):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'pandas', 'numpy', 'lmms_eval'): sys.modules[name] = None\n"
        "sys.argv[1:] = ['root=runs', 'out=o', 'table=5']\n"
        "from pdrop_eval.report.readme.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "Table 5, measured: size mini576, suite mini" in done.stdout
    assert (tmp_path / "o" / "table5.html").is_file()
