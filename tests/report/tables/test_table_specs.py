"""A table is one YAML: its rows are any runs, its columns benchmarks; what is wrong in it is said."""

import pytest
from report_records import NEXT_P5

from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables.fill import measured_parts
from pdrop_eval.report.tables.layout import scores_grid
from pdrop_eval.report.tables.spec import TABLES, find_table, load_table, shipped
from pdrop_eval.utils.errors import UserError

BUDGET = {"tokens": None, "share": None, "tflops": None}
OWN = "title: mine\ncolumns: [gqa, mme]\nrows: {}\n"


@pytest.fixture
def own(tmp_path):
    """Writes a table of the user's own, and returns its path."""

    def write(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def rows(table, runs):
    """Lines of the only part by their labels; a mark of changed settings is left out."""
    (part,) = measured_parts(table, runs)
    grid = scores_grid(part)
    lines = [[cell.text for cell in line.cells] for band in grid.bands for line in band.lines]
    return {line[0].rstrip("*"): dict(zip(grid.heads, line, strict=True)) for line in lines}


def test_the_papers_tables_and_the_fields_are_shipped():
    assert list(shipped()) == [
        "table1", "table2", "table3", "table4", "table5", "budgets", "field", "frontier", "qwen", "shelf"
    ]  # fmt: skip
    assert list(TABLES) == [1, 2, 3, 4, 5]


def test_any_run_is_a_row_of_a_table_that_asks_for_it(own, add_run, runs):
    add_run("vanilla", {"gqa": 60.0, "mme": 1000.0})
    add_run("pdrop", {"gqa": 50.0}, budget={**BUDGET, "tokens": 64})
    add_run("pdrop", {"gqa": 55.0}, budget={**BUDGET, "tokens": 128})
    add_run("fastv", {"gqa": 52.0}, fields={"k": 3, "r": 0.75})
    add_run("pdrop", {"gqa": 51.0}, fields={"ratio": 0.4})
    found = rows(load_table(own(OWN)), runs())
    assert list(found) == [
        "vanilla",
        "FastV K=3 R=0.75",
        "PDrop λ=0.4",
        "PDrop tokens=64",
        "PDrop tokens=128",
    ]
    assert [line["GQA"] for line in found.values()] == ["60.0", "52.0", "51.0", "50.0", "55.0"]
    assert found["vanilla"]["Avg"] == "55.0"  # (60 + 1000/20) / 2


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("{strategy: fastv}", ["FastV"]),
        ("{strategy: {not: [fastv, vanilla]}}", ["PDrop", "PDrop share=0.5"]),
        ("{settings: budget}", ["PDrop share=0.5"]),
        ("{settings: [default, changed], strategy: {not: vanilla}}", ["FastV", "PDrop"]),
        ("{train: pdrop}", None),
    ],
)
def test_the_conditions_of_rows_all_hold(own, add_run, runs, asked, shown):
    for strategy, more in (("vanilla", {}), ("fastv", {}), ("pdrop", {})):
        add_run(strategy, {"gqa": 60.0}, **more)
    add_run("pdrop", {"gqa": 60.0}, budget={**BUDGET, "share": 0.5})
    table = load_table(own(OWN.replace("{}", asked)))
    assert (list(rows(table, runs())) if shown else measured_parts(table, runs())) == (shown or [])


def test_a_relative_table_is_in_percent_of_vanilla_on_the_same_questions(own, add_run, runs):
    add_run("vanilla", {"gqa": 80.0, "mme": 1000.0})
    add_run("pdrop", {"gqa": 60.0, "mme": 1200.0})
    fastv = add_run("fastv", {"gqa": 60.0, "mme": 1100.0}, n=100, limit=100)
    add_run("pdrop", {"gqa": 60.0}, model="mini576_next_p5", kind=NEXT_P5)
    found = rows(load_table(own(OWN + "normalisation: relative\nfacts: [patches, tokens]\n")), runs())
    assert [found["vanilla"][name] for name in ("GQA", "MME", "Avg")] == ["100.0", "100.0", "100.0"]
    # 60/80, 1200/1000; their mean: MME isn't divided by 20 here
    (part,) = measured_parts(find_table("field"), runs())
    by_row = {(row.key.architecture, row.key.inferred): row for row in part.rows}
    cells = by_row["llava-1.5", "PDrop"].cells
    assert (cells["gqa"].score, cells["mme"].score) == (75.0, 120.0)
    assert ("llava-1.5", "FastV") not in by_row
    (left,) = part.left_out
    assert [run.id for run in left.apart] == [fastv.folder.name]
    assert by_row["llava-next", "PDrop"].cells["gqa"].why == "vanilla has no score"


def test_a_table_of_the_users_own_is_written_like_the_others(own, add_run, tmp_path):
    add_run("pdrop", {"gqa": 60.0, "mme": 1000.0}, budget={**BUDGET, "share": 0.5})
    text = make_tables(tmp_path / "runs", tmp_path / "out", str(own(OWN)))
    assert "Table mine, measured: size mini576, suite mini" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"mine.{kind}" for kind in ("md", "csv", "tex", "html")
    }
    assert "| PDrop share=0.5 |" in (tmp_path / "out" / "mine.md").read_text(encoding="utf-8")


def test_a_table_without_a_run_says_so(own, add_run, tmp_path):
    add_run("pdrop", {"gqa": 60.0})
    path = own(OWN.replace("{}", "{strategy: fastv}"))
    with pytest.raises(UserError, match=r"No run is a row of table=.*mine\.yaml"):
        make_tables(tmp_path / "runs", tmp_path / "out", str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [gqa]\nrows: {}", "title: Field required"),
        ("title: a\nrows: {}", "columns: Field required"),
        ("title: a\ncolumns: [gqq]\nrows: {}", "Unknown column: 'gqq'.*Did you mean gqa"),
        ("title: a\ncolumns: [gqa]", "neither rows nor published rows"),
        ("title: a\ncolumns: [gqa]\nrows: {trian: vanilla}", "Unknown condition of rows: 'trian'"),
        ("title: a\ncolumns: [gqa]\nrows: {ratio: {below: 1}}", "is no condition: write a value, a list"),
        ("title: a\ncolumns: [gqa]\nrows: {}\nnormalisation: half", "normalisation: Input should be 'raw'"),
        ("title: a\ncolumns: [gqa]\nrows: {}\ncolour: red", "colour: Extra inputs are not permitted"),
        (
            "title: a\ncolumns: [gqa, mme]\n"
            "published: [{architecture: a, patches: 1, strategy: b, scores: [1]}]",
            "row 1 of published has 1 scores for 2 columns",
        ),
        (
            "title: a\ncolumns: [gqa]\nrows: {}\nlayout: columns",
            "layout: Input should be 'rows', 'budgets' or 'frontier'",
        ),
        (
            "title: a\ncolumns: [gqa]\nlayout: budgets\n"
            "published: [{architecture: a, patches: 1, strategy: b, scores: [1]}]",
            "takes its published rows from report/budgets/published.csv",
        ),
        ("title: [", "is no valid YAML"),
        ("- a", "title: Field required"),
    ],
)
def test_what_is_wrong_in_a_table_is_said_with_its_file(own, text, message):
    with pytest.raises(UserError, match=rf"mine\.yaml.*{message}"):
        load_table(own(text))


def test_a_name_that_no_table_has_is_refused_with_the_names(tmp_path):
    with pytest.raises(
        UserError,
        match=r"Unknown table: '6'. Allowed: 1, 2, 3, 4, 5, budgets, field, frontier, qwen, shelf, all",
    ):
        find_table("6")
    with pytest.raises(UserError, match=r"none\.yaml can't be read: No such file"):
        find_table(str(tmp_path / "none.yaml"))
