"""The report in its formats: it fits a terminal, nothing breaks out of its format, and all say the same."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from report_records import LLAVA_15, NEXT_P5, edit

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.report.formats.grid import Band, Grid, Note, Section, Shown, plain
from pdrop_eval.report.formats.html import page
from pdrop_eval.report.formats.latex import latex
from pdrop_eval.report.formats.markdown import markdown
from pdrop_eval.report.formats.terminal import terminal
from pdrop_eval.report.readme.reports import make_reports

KEYS = [key for key in benchmarks() if not benchmarks()[key].judge]
NASTY = """<b>&"' a_b*c|d%e#f$g{h}~i^j\\k"""


@pytest.fixture
def reports(add_run, all_scores, runs):
    """All reports of several models and strategies, by name."""
    for strategy, score in (("vanilla", 100.0), ("fastv", 60.0), ("pdrop", 66.6)):
        add_run(strategy, all_scores(1234.5, score, KEYS), judge=["mmvet"])
    trained = {**LLAVA_15, "train": "pdrop", "train_ratio": 0.5}
    training = {"device_hours": 1.26, "device_label": "CPU hours"}
    add_run("pdrop", all_scores(1300, 67.0, KEYS), model="mini576_pdrop_05", kind=trained, training=training)
    add_run("vanilla", all_scores(1300, 67.0, KEYS), model="mini576_next_p5", kind=NEXT_P5, limit=32, n=32)
    return {report.name: report for report in make_reports(runs(), "all")}


@pytest.fixture
def limited(add_run, all_scores, runs):
    """Table 5 of one run, with a limit."""
    add_run("vanilla", all_scores(1300, 67.0, KEYS), model="mini576_next_p5", kind=NEXT_P5, limit=32, n=32)
    (report,) = [one for one in make_reports(runs(), "all") if one.name == "table5"]
    return report


@pytest.fixture
def nasty():
    """A report in which every text is hostile."""
    cells = [Shown(NASTY), Shown(NASTY, "measured", NASTY)]
    bands = [Band(NASTY, [plain([NASTY, "1.0"]), plain(["Δ", "+1.0"], apart=True)])]
    bands[0].lines[0].cells = cells
    return [Section(NASTY, [NASTY], [Grid(NASTY, [NASTY, NASTY], bands)], [Note(NASTY, ["make eval"])])]


@pytest.mark.parametrize("width", [80, 60, 200])
def test_no_line_of_a_table_is_wider_than_the_terminal(reports, width):
    for report in reports.values():
        for line in terminal(report.sections, width).splitlines():
            command = line.startswith("    make ") or line.strip().startswith("ARGS=")
            assert len(line) <= width or command, line


def test_at_80_columns_commands_fit_too_and_scores_stand_in_one_piece(reports):
    for name, report in reports.items():
        text = terminal(report.sections, 80)
        assert [line for line in text.splitlines() if len(line) > 80] == []
        if name not in ("overview", "budgets", "frontier"):  # with wide columns, in several pieces
            averages = re.findall(r"^vanilla.* (\d+\.\d)$", text, re.M)
            assert len(averages) >= (2 if name == "field" else 3), name


def test_a_table_that_is_too_wide_is_cut_and_every_piece_has_the_labels():
    heads = ["Strategy", *(f"column{number}" for number in range(6))]
    grid = Grid("t", heads, [Band("", [plain(["vanilla", *"123456"])])])
    text = terminal([Section("s", [], [grid])], 40)
    # 8 of the label and 8 a column with gaps: 40 columns hold 8 + 3 * 8 and the gaps between them
    assert re.findall(r"column\d", text) == [f"column{number}" for number in range(6)]
    assert text.count("Strategy") == 2
    assert text.count("vanilla") == 2


def test_a_long_command_is_continued_so_that_it_can_be_copied():
    run = (
        "make eval STRATEGY=pdrop MODEL=mini576_next_p5_pdrop_05 SUITE=mini ARGS='model.pretrained=<folder>'"
    )
    text = terminal([Section("s", [], [], [Note("n", [run])])], 80)
    shown = text.split("n\n", 1)[1]
    assert shown.count("\\\n") == 1
    assert shown.replace("\\\n", "").split() == run.split()


def test_a_command_is_continued_before_as_many_variables_as_it_takes():
    run = "make eval STRATEGY=pdrop MODEL=mini576_next_p5_pdrop_05 SUITE=mini LIMIT=32 ARGS='a=1 b=2'"
    lines = terminal([Section("s", [], [], [Note("n", [run])])], 48).split("n\n", 1)[1].splitlines()
    assert [line.strip(" \\") for line in lines] == [
        "make eval STRATEGY=pdrop", "MODEL=mini576_next_p5_pdrop_05", "SUITE=mini LIMIT=32 ARGS='a=1 b=2'",
    ]  # fmt: skip
    assert [line.endswith(" \\") for line in lines] == [True, True, False]
    assert max(map(len, lines)) <= 48


def test_markdown_tables_have_as_many_cells_in_each_line(reports):
    for report in reports.values():
        for block in re.findall(r"(?:^\|.*\|\n)+", markdown(report.sections), re.M):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_markdown_shows_special_characters_as_they_are(nasty):
    row = next(line for line in markdown(nasty).splitlines() if line.startswith("| \\<b"))
    assert r"\<b\>&" in row
    assert r"a\_b\*c\|d" in row


class Tags(HTMLParser):
    """Checks that tags are balanced, and gathers the table's rows."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.text, self.states = [], [], [], []

    def handle_starttag(self, tag, attributes):
        if tag == "meta":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.states.append(dict(attributes))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def parsed(text):
    tags = Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    return tags


def test_the_page_stands_alone_and_is_balanced(reports):
    for report in reports.values():
        text = report.files()[f"{report.name}.html"]
        assert text.startswith("<!DOCTYPE html>")
        assert not re.search(r"(src|href)=|@import|url\(|<script", text)
        parsed(text)


def test_the_page_escapes_everything_and_keeps_it_readable(nasty):
    text = page(NASTY, nasty)
    assert "<b>" not in text
    tags = parsed(text)
    assert tags.rows[-2] == [NASTY, NASTY]
    assert tags.states[-3]["title"] == NASTY


def test_the_page_tells_the_state_of_each_cell_and_its_interval(reports):
    tags = parsed(reports["table5"].files()["table5.html"])
    found = {(state.get("class"), state.get("title")) for state in tags.states}
    # stderr 2.0: 66.6 - 3.92 and + 3.92
    assert ("measured", "measured, n 200, 95% interval 62.7 to 70.5") in found
    assert ("partial", "partial, limit=32, n 32, 95% interval 63.1 to 70.9") in found  # another model's
    everywhere = {
        (state.get("class"), state.get("title"))
        for name, report in reports.items()
        for state in parsed(report.files()[f"{name}.html"]).states
    }
    assert ("missing", "not measured yet") in everywhere
    assert ("published", None) in found
    judged = parsed(reports["overview"].files()["overview.html"]).states
    assert any(
        state.get("class") == "needs-judge" and "predictions/mmvet.json" in state["title"] for state in judged
    )


def test_a_row_of_some_of_the_questions_is_partial(limited):
    found = {
        (state.get("class"), state.get("title")) for state in parsed(limited.files()["table5.html"]).states
    }
    # stderr 2.0: 67.0 - 3.92 and + 3.92
    assert ("partial", "partial, limit=32, n 32, 95% interval 63.1 to 70.9") in found
    assert ("missing", "not measured yet") in found
    (row,) = [row for row in rows_of(limited) if row["gqa_n"]]
    assert (row["architecture"], row["strategy"], row["limit"]) == ("llava-next", "vanilla", "32")
    assert (row["gqa"], row["gqa_state"], row["gqa_n"]) == ("67", "partial", "32")
    assert (row["gqa_low"], row["gqa_high"]) == ("63.08", "70.92")


def test_no_format_shows_an_interval_where_all_came_out_alike(add_run, runs):
    run = add_run("pdrop", {"gqa": 100.0}, n=8)
    edit(run, lambda record: record["tasks"]["gqa"].update(stderr=0.0))
    for report in [one for one in make_reports(runs(), "all") if one.name in ("table5", "overview")]:
        files = report.files()
        hints = {state.get("title") for state in parsed(files[f"{report.name}.html"]).states}
        assert "measured, n 8, no 95% interval: nothing varied" in hints
        (row,) = [row for row in rows_of(report) if row["gqa_n"] == "8"]
        assert (row["gqa_stderr"], row["gqa_low"], row["gqa_high"]) == ("0", "", "")
        for kind in ("md", "tex", "html"):
            assert files[f"{report.name}.{kind}"].count("300/n points away") == 1
        assert "300/n points away" in " ".join(terminal(report.sections, 80).split())


def test_latex_escapes_everything(nasty):
    lines = [line for line in latex(nasty).splitlines() if not line.startswith("%")]
    row = next(
        line for line in lines if line.endswith(r"\\") and "textbackslash" in line and "Model" not in line
    )
    assert row.count(" & ") == 2
    for character in "_%#":
        assert not re.search(rf"(?<!\\){character}", row)
    assert r"\textbackslash{}" in row


def test_latex_floats_are_complete_and_rows_as_wide_as_their_heads(reports):
    for report in reports.values():
        text = latex(report.sections)
        count = sum(len(section.grids) for section in report.sections)
        for word in (r"\begin{table}", r"\end{table}", r"\toprule", r"\bottomrule", r"\caption{"):
            assert text.count(word) == count
        for tabular in re.findall(r"\\begin{tabular}{(\w+)}\n(.*?)\\end{tabular}", text, re.S):
            rows = [line for line in tabular[1].splitlines() if line.endswith(r" \\")]
            rows = [line for line in rows if not line.startswith(r"\multicolumn")]  # names of blocks
            assert {line.count(" & ") + 1 for line in rows} == {len(tabular[0])}


def rows_of(report):
    return list(csv.DictReader(io.StringIO(report.files()[f"{report.name}.csv"])))


def test_the_csv_has_every_digit_and_every_state(reports):
    rows = rows_of(reports["table5"])
    measured = {(row["architecture"], row["strategy"]): row for row in rows if row["source"] == "measured"}
    pdrop = measured["llava-1.5", "pdrop"]
    # (1234.5/20 + 7*66.6)/8 = (61.725 + 466.2)/8
    assert pdrop["avg"] == "65.990625"
    assert (pdrop["gqa"], pdrop["gqa_state"], pdrop["gqa_n"]) == ("66.6", "measured", "200")
    assert (pdrop["gqa_stderr"], pdrop["gqa_low"], pdrop["gqa_high"]) == ("2", "62.68", "70.52")
    assert measured["llava-1.5", "delta"]["gqa"] == "6.6"
    fewer = measured["llava-next", "vanilla"]
    assert (fewer["gqa_state"], fewer["gqa_n"]) == ("partial", "32")  # another model may be asked fewer
    missing = measured["llava-next", "pdrop"]
    assert (missing["gqa"], missing["gqa_state"], missing["avg_state"]) == ("", "missing", "missing")
    assert missing["command"].startswith("make eval STRATEGY=pdrop MODEL=mini576_next_p5 SUITE=mini LIMIT=32")
    published = [row for row in rows if row["source"] == "published" and row["strategy"] == "pdrop"]
    assert [row["mme"] for row in published] == ["1533", "1500.8"]
    assert {row["mme_state"] for row in published} == {"published"}


def test_the_csv_of_the_overview_has_the_judged_benchmark_as_waiting(reports):
    rows = rows_of(reports["overview"])
    assert [row["mmvet_state"] for row in rows] == ["needs judge"] * 3 + ["missing"] * 2
    assert [row["mmvet"] for row in rows] == [""] * 5
    assert {row["mme_state"] for row in rows} == {"measured", "partial"}


def test_measured_and_published_are_told_apart(reports):
    text = reports["table5"].files()["table5.md"]
    measured, published = text.split("### Table 5, published (not measured here)")
    assert "### Table 5, measured: size mini576, suite mini" in measured
    assert "not the benchmarks themselves" in measured
    assert "multiply-adds, image tokens only" in measured
    assert "| PDrop      |" in published
    assert "arXiv 2410.17247" in published
    assert "1533.0" not in measured
