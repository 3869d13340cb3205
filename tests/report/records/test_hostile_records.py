"""Records with names that are HTML, formulas, TeX, terminal codes or shell commands: shown, never obeyed."""

import csv
import io
import re
import shlex
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from pdrop_eval.report.figures.cli import make_figures
from pdrop_eval.report.figures.flops.chart import make_charts
from pdrop_eval.report.figures.flops.draw import draw
from pdrop_eval.report.figures.flops.text import figure_csv, figure_markdown
from pdrop_eval.report.formats.markdown import escaped
from pdrop_eval.report.formats.pipes import pipes
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables import commands
from pdrop_eval.report.tables.commands import command
from pdrop_eval.report.tables.csv_export import write_csv
from pdrop_eval.utils.terminal import console

# Something for every format in turn.
HOSTILE = (
    "=1+1 <script>alert(1)</script>&lt;b&gt; | \\| *bold* [a](http://b) \\input{/etc/passwd} $\\frac$ %\n"
    "\x1b[2J\x07\r@SUM(A1)\u202e';touch pwned;'"
)


@pytest.fixture
def files(add_run, all_scores, tmp_path):
    """All tables of a hostile strategy on a hostile model of a hostile suite, and what the screen shows."""
    for strategy in ("vanilla", HOSTILE):
        add_run(strategy, all_scores(1200.0, 50.0), model=HOSTILE, suite=HOSTILE, device=HOSTILE)
    shown = make_tables(tmp_path / "runs", tmp_path / "out", page=tmp_path / "page.md")
    found = {path.name: path.read_bytes().decode("utf-8") for path in (tmp_path / "out").iterdir()}
    return {**found, "page.md": (tmp_path / "page.md").read_text("utf-8"), "screen": shown}


class Tags(HTMLParser):
    """The tags of a page."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)


def test_no_file_has_control_characters_or_hidden_ones(files):
    assert len(files) > 20
    for name, text in files.items():
        unseen = {c for c in text if not c.isprintable()} - {"\n", "\xa0", "\u202f", "\u2009"}
        assert not unseen, (name, unseen)
    assert any("touch pwned" in text for text in files.values())  # it is there, and only shown


def test_names_are_text_in_html(files):
    for name in files:
        if name.endswith(".html"):
            tags = Tags()
            tags.feed(files[name])
            assert not tags.found & {"script", "b", "img"}, name
    assert "&lt;script&gt;" in files["overview.html"]


def prose(text):
    """Markdown without its code blocks and what is escaped."""
    return re.sub(r"(?ms)^ *```.*?^ *```$", "", text).replace("\\<", "")


def test_names_are_text_in_markdown(files):
    for name in files:
        if name.endswith(".md"):
            assert "<script" not in prose(files[name]), name
            assert "[a](" not in files[name], name


def test_names_are_text_in_tex(files):
    for name in files:
        if name.endswith(".tex"):
            for line in files[name].splitlines():
                assert line.startswith("%") or "\\input" not in line, (name, line)


def test_names_are_no_formulas_in_csv(files):
    cells = 0
    for name in files:
        if name.endswith(".csv"):
            for row in csv.reader(io.StringIO(files[name])):
                for cell in filter(None, row):
                    cells += 1
                    assert cell[0] not in "=@\t\r", (name, cell)
                    assert cell[0] not in "+-" or isinstance(float(cell), float)
    assert cells > 100


@pytest.mark.parametrize(("value", "cell"), [
    ("=1+1", "'=1+1"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "' =1"),
    ("\r=1", "\\x0d=1"), (" =1", "' =1"), ("＝1", "'＝1"), ("-", "'-"), ("=", "'="), (-1.5, "-1.5"),
    (-3, "-3"), ("-1.5", "-1.5"), ("+2", "+2"), ("-1e-05", "-1e-05"), ("a=1", "a=1"), (None, ""),
])  # fmt: skip
def test_a_spreadsheet_computes_nothing_and_numbers_stay_numbers(value, cell):
    assert write_csv(["name", "next"], [{"name": value, "next": 1}]) == f"name,next\n{cell},1\n"


def test_a_bar_behind_a_backslash_ends_no_cell():
    table = pipes(["a", "b"], [[escaped("x\\| y"), "z"]])
    row = table.splitlines()[2]
    # GitHub ends a cell at each bar without a backslash of its own; `\\` is a backslash that is shown
    assert row.replace("\\\\", "").replace("\\|", "").count("|") == 3


@pytest.mark.slow
def test_a_figure_takes_a_dollar_for_a_dollar_and_stays_in_its_folder(add_run, runs, tmp_path):
    scores = dict.fromkeys(("docvqa", "chartqa", "textvqa", "gqa"), 50.0)
    budget = {"tokens": None, "share": 0.5, "tflops": None}
    suite = "../../$\\frac$ <b>"
    add_run("vanilla", scores, suite=suite)
    add_run("pdrop", scores, budget=budget, suite=suite)
    (chart,) = make_charts("figure4", runs())
    ElementTree.fromstring(draw(chart)["svg"])
    assert "<b" not in prose(figure_markdown(chart))
    assert figure_csv(chart)
    make_figures(tmp_path / "runs", tmp_path / "a" / "b" / "out")
    names = {path.name for path in tmp_path.rglob("figure4*")}
    assert names == {path.name for path in (tmp_path / "a" / "b" / "out").iterdir()}
    assert len(names) == 5  # svg, pdf, png, csv, md, and none of them elsewhere


@pytest.mark.parametrize("makefile", [True, False])
def test_a_command_to_copy_runs_nothing_else(makefile, monkeypatch, tmp_path):
    (tmp_path / "pdrop_eval").mkdir()
    if makefile:
        (tmp_path / "Makefile").write_text("")
    for module in (commands, console):
        monkeypatch.setattr(module, "PACKAGE", tmp_path / "pdrop_eval")
    for value in ("a'; touch pwned; '", "$(touch pwned)", "`touch pwned`", "a b", "x>pwned", "x|tee pwned",
                  "<name>>pwned", "a\ntouch pwned", "$$(touch pwned)"):  # fmt: skip
        for line in (
            command("pdrop", "mini576", "mini", [f"results={value}"]),
            command(value, "mini576", "mini"),
        ):
            assert value in " ".join(shlex.split(line))
            program = f"pdrop-eval() {{ :; }}; .venv/bin/pdrop-eval() {{ :; }}; make() {{ :; }}; {line}"
            subprocess.run(["bash", "-c", program], cwd=tmp_path, check=True)
            assert not (tmp_path / "pwned").exists(), line
    plain = command("pdrop", "mini576", "mini", ["model.pretrained=<folder>"])
    assert plain.startswith("make eval" if makefile else "pdrop-eval")
