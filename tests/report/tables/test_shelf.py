"""Strategies in blocks by budget: rows, comparisons, what is printed, and what the table says of it."""

import csv
import io
import json
import re

import pytest
import shelf_records as made

from pdrop_eval.records.rows.left_out import LeftOut, note_left_out
from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.budgets.board.blocks import boards
from pdrop_eval.report.budgets.board.layout import venue
from pdrop_eval.report.budgets.board.order import order_of
from pdrop_eval.report.budgets.board.paired import Pairing, compare
from pdrop_eval.report.budgets.board.words import reasons
from pdrop_eval.report.budgets.published import model_name, printed
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables.spec import load_table, shipped
from pdrop_eval.strategies.registry import StrategyInfo
from pdrop_eval.utils.errors import UserError

SIX = ("gqa", "mmbench_en", "mme", "pope", "scienceqa_image", "textvqa")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(made.YAML, encoding="utf-8")
    return load_table(path)


@pytest.fixture
def board(tmp_path, table):
    """The board of the records that were written to `tmp_path / "runs"`, compared."""

    def of(left=()):
        (found,) = boards(table, to_runs(load_records(tmp_path / "runs")), left)
        compare(found, Pairing(table.benchmarks))
        return found

    return of


@pytest.fixture
def written(tmp_path, table):
    """What `pdrop-eval-tables` prints and writes of a table."""

    def of():
        text = make_tables(tmp_path / "runs", tmp_path / "out", str(tmp_path / "mine.yaml"))
        return text, {
            path.suffix[1:]: path.read_text(encoding="utf-8") for path in (tmp_path / "out").iterdir()
        }

    return of


def rows(board):
    return {f"{block.tokens:g}": [row.name for row in block.rows] for block in board.blocks}


def test_rows_stand_in_blocks_by_budget_and_what_takes_none_in_the_nearest(tmp_path, board):
    made.shelf(tmp_path / "runs")
    found = board()
    # 36.5 is 11.5 from 48 and 20.5 from 16
    assert rows(found) == {
        "48": ["FastV", "PDrop", "PruMerge", "Pooling", "Random"],
        "16": ["FastV", "PDrop", "Pooling", "Random"],
    }
    own = next(row for row in found.rows if row.own)
    assert (own.name, own.tokens, own.tflops) == ("PruMerge", 36.5, pytest.approx(36.5 / 144 * 0.0004))
    assert [round(block.share, 4) for block in found.blocks] == [0.3333, 0.1111]


def test_budgets_as_tokens_and_as_shares_are_one_block(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "fastv", 70, 36, budget={"tokens": 36})
    made.add(tmp_path / "runs", "pdrop", 60, 36, budget={"share": 0.25})
    assert rows(board()) == {"36": ["FastV", "PDrop"]}


def test_default_settings_of_a_strategy_that_was_run_at_budgets_are_no_row(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "fastv", 70, 36, budget={"tokens": 36})
    made.add(tmp_path / "runs", "fastv", 79, 90)
    made.add(tmp_path / "runs", "mine", 60, 40)  # at no budget at all: it stands at its own setting
    assert rows(board()) == {"36": ["FastV", "mine"]}


def test_other_settings_are_a_row_of_their_own(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "fastv", 70, 36, budget={"tokens": 36})
    made.add(tmp_path / "runs", "fastv", 60, 36, budget={"tokens": 36}, fields={"rounding": "floor"})
    assert rows(board()) == {"36": ["FastV", "FastV rounding=floor"]}


def test_means_are_in_percent_of_vanilla_with_the_paired_interval(tmp_path, board):
    made.shelf(tmp_path / "runs")
    found = {(row.name, block.tokens): row for block in board().blocks for row in block.rows}
    # 76 and 59 of 80, in both benchmarks
    assert found["FastV", 48].percent == pytest.approx(95)
    assert found["PDrop", 48].percent == pytest.approx(73.75)
    low, high = found["FastV", 48].mean.relative_interval
    assert found["FastV", 48].mean.relative == pytest.approx(95)
    assert 85 < low < 95 < high < 100  # 4 of 100 questions less; both benchmarks ask about the same pictures


def test_above_and_below_a_control_is_beyond_the_paired_interval(tmp_path, board):
    made.shelf(tmp_path / "runs")
    signs = {
        (row.name, block.tokens): {name: mean.found.sign for name, mean in row.against.items()}
        for block in board().blocks
        for row in block.rows
    }
    assert signs["FastV", 48] == {"random": 1, "pool": 1}  # 76 against 60 and 40
    assert signs["PDrop", 48] == {"random": 0, "pool": 1}  # 59 against 60: one question
    assert signs["PDrop", 16] == {"random": -1, "pool": -1}  # 10 against 20 and 30
    assert signs["FastV", 16] == {"random": 0, "pool": -1}
    assert signs["Random", 48] == {"pool": 1}  # not against itself


def test_what_could_not_be_run_is_a_row_with_its_reason(tmp_path, board, written):
    made.shelf(tmp_path / "runs")
    left = [
        LeftOut("mini576", "mini", "cdpruner", (f"budget.tokens={tokens}",), "no text tower")
        for tokens in (48, 16)
    ]
    left += [
        LeftOut("mini576", "mini", "fastv", ("budget.tokens=16",), "made since"),
        LeftOut("mini576", "mini", "prumerge_plus", (), "too few patches"),
        LeftOut("other", "mini", "hired", ("budget.tokens=48",), "of another model"),
    ]
    found = board(left)
    assert rows(found)["48"] == ["FastV", "PDrop", "CDPruner", "PruMerge", "Pooling", "Random"]
    assert rows(found)["16"] == ["FastV", "PDrop", "CDPruner", "PruMerge+", "Pooling", "Random"]
    note_left_out(tmp_path / "runs", left, set())
    text, files = written()
    said = " ".join(text.split())
    assert "Not run, CDPruner at 48, 16: no text tower" in said
    assert "Not run, PruMerge+: too few patches" in said
    assert "made since" not in said
    assert "of another model" not in said
    lines = list(csv.DictReader(io.StringIO(files["csv"])))
    missing = [
        (one["strategy"], one["budget_tokens"], one["reason"]) for one in lines if one["source"] == "missing"
    ]
    assert missing[0] == ("cdpruner", "48", "no text tower")


def test_a_run_that_could_not_be_made_is_called_as_the_one_that_could(tmp_path, board):
    version = {"version": "plus", "rope": False}
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "sparsevlm", 70, 36, budget={"tokens": 36}, fields=version)
    settings = ("budget.tokens=16", "strategy.version=plus", "strategy.rope=false")
    found = rows(board([LeftOut("mini576", "mini", "sparsevlm", settings, "too few")]))
    assert found == {"36": ["SparseVLM vplus rope=False"], "16": ["SparseVLM vplus rope=False"]}


def test_runs_that_cannot_be_paired_have_a_mean_without_an_interval(tmp_path, board, written):
    made.shelf(tmp_path / "runs")
    lost = made.add(tmp_path / "runs", "hired", 40, 48, budget={"tokens": 48})
    (lost.folder / "samples" / "gqa.jsonl").unlink()
    row = next(row for row in board().rows if row.name == "HiRED")
    assert row.percent == pytest.approx(50)
    assert row.mean is None
    assert row.against == {"random": None, "pool": None}
    assert "No interval, HiRED at 48: GQA:" in " ".join(written()[0].split())


def test_a_row_without_a_benchmark_has_no_mean(tmp_path, board):
    made.shelf(tmp_path / "runs")
    made.add(tmp_path / "runs", "hired", 40, 48, budget={"tokens": 48}, keys=("gqa",))
    found = board()
    row = next(row for row in found.rows if row.name == "HiRED")
    assert (row.percent, row.mean) == (None, None)
    assert reasons(found) == ["No interval, HiRED at 48: its record has no score of TextVQA."]


def test_without_vanilla_there_is_no_mean_and_the_reason_is_said(tmp_path, written):
    made.add(tmp_path / "runs", "fastv", 70, 36, budget={"tokens": 36})
    assert "No interval, FastV at 36: vanilla was not run" in " ".join(written()[0].split())


def test_runs_of_another_kind_do_not_stand_in_the_blocks(tmp_path, board):
    made.shelf(tmp_path / "runs")
    made.add(tmp_path / "runs", "hired", 8, 48, budget={"tokens": 48}, n=10)
    found = board()
    assert "HiRED" not in rows(found)["48"]
    assert [one.split("-")[0] for one in found.apart] == ["hired"]


def test_without_a_run_at_a_budget_there_is_no_table(tmp_path, written, table):
    made.add(tmp_path / "runs", "vanilla", 80)
    with pytest.raises(UserError, match=r"table=.*mine.yaml: it has those at a budget"):
        written()


def test_the_words_are_those_of_the_numbers(tmp_path, written, table):
    made.shelf(tmp_path / "runs")
    said = " ".join(written()[0].split())
    assert "Questions: 100 of each benchmark for every strategy, rendered" in said
    # 76, 60, 59 of 80
    assert (
        "48 tokens a layer (33.3%): the highest means are FastV 95.0%, Random 75.0% and PDrop 73.8% of "
        "vanilla's scores. Beyond the interval, 1 of 4 are above Random (FastV), 2 below it (PruMerge and "
        "Pooling). Beyond the interval, 4 of 4 are above Pooling." in said
    )
    assert "16 tokens a layer (11.1%): the highest means are Pooling 37.5%" in said


def test_a_terminal_of_80_columns_has_every_column(tmp_path, written, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    made.shelf(tmp_path / "runs")
    text, _ = written()
    assert max(map(len, text.splitlines()[:-2])) <= 80  # but for the names of files
    # a piece a line: first of the block of 48 tokens, then of that of 16
    pieces = [re.split(" {2,}", line)[1:] for line in text.splitlines() if line.startswith("FastV ")]
    assert pieces[0][:-1] == ["ECCV 2024", "76.0", "76.0", "95.0"]
    assert pieces[2] == ["above", "above", "0.133", "33.3", "48"]
    for head in ("Venue", "GQA", "Mean", "interval", "Random", "Pooling", "Tokens"):
        assert head in text


def test_all_formats_have_the_blocks(tmp_path, written):
    made.shelf(tmp_path / "runs")
    _, files = written()
    assert set(files) == {"md", "csv", "tex", "html"}
    assert re.search(r"^\| \*\*48 tokens a layer \(33.3%\)\*\* +\|", files["md"], re.M)
    assert r"\multicolumn{11}{l}{\textit{48 tokens a layer (33.3\%)}} \\" in files["tex"]
    assert r"PruMerge$^\circ$ & ICCV 2025 &" in files["tex"]
    assert '<th class="band" scope="rowgroup" colspan="11">48 tokens a layer (33.3%)</th>' in files["html"]
    lines = list(csv.DictReader(io.StringIO(files["csv"])))
    fastv = next(one for one in lines if one["strategy"] == "fastv" and one["budget_tokens"] == "48")
    assert (fastv["percent"], fastv["vs_random"], fastv["vs_random_points"]) == ("95", "above", "16")
    assert float(fastv["percent_low"]) < 95 < float(fastv["percent_high"])
    assert [one["source"] for one in lines].count("measured") == 10


def test_a_readme_gets_a_row_a_strategy_and_a_column_a_budget(tmp_path):
    from pdrop_eval.report.budgets.report import budgets

    made.shelf(tmp_path / "runs")
    (tmp_path / "mine.yaml").write_text(made.YAML, encoding="utf-8")
    table = load_table(tmp_path / "mine.yaml")
    text = budgets(table, boards(table, to_runs(load_records(tmp_path / "runs")))).first
    lines = {
        line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]]
        for line in text.splitlines()
        if line.startswith("| ")
    }
    assert lines["Strategy"] == ["Published", "48 tokens a layer (33.3%)", "16 tokens a layer (11.1%)"]
    assert lines["FastV"][0] == "ECCV 2024"
    assert re.fullmatch(r"95\.0 \[8\d\.\d, 9\d\.\d\] rp", lines["FastV"][1])
    assert re.fullmatch(r"62\.5 \[\d+\.\d, \d+\.\d\] p at 36\.5", lines["PruMerge°"][1])
    assert lines["PruMerge°"][2] == "-"


def test_of_a_readme_only_its_own_block_is_written_and_others_leave_it(tmp_path, table):
    made.shelf(tmp_path / "runs")
    readme = tmp_path / "README.md"
    readme.write_text("<!-- mine -->\nold\n<!-- /mine -->\n<!-- first -->\nkept\n<!-- /first -->\n")
    make_tables(tmp_path / "runs", tmp_path / "out", str(tmp_path / "mine.yaml"), readme)
    text = readme.read_text(encoding="utf-8")
    assert "| FastV      | ECCV 2024   |" in text
    assert "old" not in text
    assert text.endswith("<!-- first -->\nkept\n<!-- /first -->\n")
    make_tables(tmp_path / "runs", tmp_path / "out", "all", readme)
    after = readme.read_text(encoding="utf-8")
    assert after.partition("<!-- first -->")[0] == text.partition("<!-- first -->")[0]
    assert "kept" not in after


def test_the_results_page_has_the_blocks_with_their_intervals(tmp_path, table, monkeypatch):
    from pdrop_eval.report.site import build
    from pdrop_eval.report.site.data import tables

    monkeypatch.setattr(build, "_plotly", str)
    monkeypatch.setattr(tables, "shipped", lambda: {"mine": table})
    made.shelf(tmp_path / "runs")
    sources = build.Sources(tmp_path / "runs", tmp_path / "bench", tmp_path / "compare")
    build.make_page(sources, tmp_path / "site")
    text, later = (
        (tmp_path / "site" / "data" / name).read_text("utf-8") for name in ("index.js", "tables/mine.js")
    )
    (shown,) = json.loads(text[text.index("{") : text.rindex("}") + 1])["tables"]
    assert shown["load"] == "mine"
    whole = json.loads(later[later.index("{") : later.rindex("}") + 1])
    ranked = {one["name"]: [point["rank"] for point in one["points"]] for one in whole["ranks"][0]["series"]}
    assert ranked["FastV"] == [1, 2]  # 76 of 80 is the best, 20 is level with Random after Pooling
    grid = whole["sections"][0]["grids"][0]
    assert [band["name"] for band in grid["bands"][1:]] == [
        "48 tokens a layer (33.3%)",
        "16 tokens a layer (11.1%)",
    ]
    fastv = [cell["text"] for cell in grid["bands"][1]["lines"][0]]
    assert dict(zip(grid["heads"], fastv, strict=True)) == {
        "Strategy": "FastV", "Venue": "ECCV 2024", "GQA": "76.0", "TextVQA": "76.0", "Mean %": "95.0",
        "95% interval": "[87.6, 99.9]", "vs Random": "above", "vs Pooling": "above", "GFLOPs": "0.133",
        "FLOPs %": "33.3", "Tokens": "48",
    }  # fmt: skip
    assert str(tmp_path) not in later
    assert (tmp_path / "site" / shown["files"][0]["file"]).is_file()


def test_printed_rows_come_with_their_means_from_one_source_each():
    found = {row.strategy: row for row in printed("llava-1.5", 1 / 3, SIX)}
    # FastV at 192: 52.7/61.9 + 61.2/64.7 + 1612/1862 + 64.8/85.9 + 67.3/69.5 + 52.5/58.2 is 5.28779
    assert found["fastv"].percent == pytest.approx(88.130, abs=1e-3)
    assert found["fastv"].total
    assert found["fastv"].source.startswith("DIPrune paper")
    assert (found["visionzip"].tokens, found["visionzip"].scores["gqa"]) == (192, 59.3)
    at_64 = {row.strategy: row for row in printed("llava-1.5", 16 / 144, SIX)}
    # EADP prints four strategies at 64, MMTok two: VisionZip's row is EADP's, with its MME of perception
    assert (at_64["visionzip"].source[:4], at_64["visionzip"].scores["mme"]) == ("EADP", 1362.2)
    assert at_64["prumerge_plus"].scores["pope"] == 76.3
    assert printed("llava-1.5", 0.5, SIX) == []
    assert printed("mistral", 1 / 3, SIX) == []
    assert model_name("llava-next") == "LLaVA-NeXT-7B"
    assert {row.tokens for row in printed("llava-next", 640 / 2880, SIX)} == {640}


def test_the_order_is_compared_with_the_printed_one_pair_by_pair(tmp_path, board, written):
    # printed at 192, by GQA and TextVQA: DivPrune (59.97, 56.97), VisionZip (59.3, 57.3), PDrop, FastV
    made.add(tmp_path / "runs", "vanilla", 80)
    for strategy, right in (("divprune", 50), ("visionzip", 70), ("pdrop", 69), ("fastv", 40)):
        made.add(tmp_path / "runs", strategy, right, 48, budget={"tokens": 48})
    found = board()
    order = order_of(found, found.blocks[0], Pairing(made.KEYS))
    assert order.printed == ["DivPrune", "VisionZip", "PDrop", "FastV"]
    assert order.measured == ["VisionZip", "PDrop", "DivPrune", "FastV"]
    assert (order.pairs, order.kept) == (6, 4)
    assert sorted(order.turned) == [("PDrop", "DivPrune"), ("VisionZip", "DivPrune")]
    assert sorted(order.certain) == sorted(order.turned)
    # ranks 1 2 3 4 and 3 1 2 4: 1 - 6 · (4 + 1 + 1) / (4 · 15)
    assert order.rho == pytest.approx(0.4)
    said = " ".join(written()[0].split())
    assert "Printed order of LLaVA-1.5-7B at this share:" in said
    assert "PDrop above DivPrune" in said


def test_of_strategies_that_are_all_alike_no_order_is_said(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    for strategy in ("visionzip", "pdrop", "fastv"):
        made.add(tmp_path / "runs", strategy, 60, 48, budget={"tokens": 48})
    found = board()
    assert order_of(found, found.blocks[0], Pairing(made.KEYS)) is None


@pytest.mark.parametrize(
    ("paper", "words"),
    [
        ("Shang et al., ICCV 2025, arXiv 2403.15388", "ICCV 2025"),
        ("Zhang et al., 2024, arXiv 2412.01818", "arXiv 2024"),
        ("", "-"),
    ],
)
def test_a_venue_is_what_stands_between_the_authors_and_the_number(paper, words):
    assert venue(StrategyInfo("a", paper=paper)) == words


def test_the_shipped_shelf_has_seven_benchmarks_of_the_papers_and_both_controls():
    table = shipped()["shelf"]
    assert table.columns == (*SIX, "vqav2")
    assert table.controls == ("random", "pool")
    assert "never trained for such choices" in table.notes["mini"]
