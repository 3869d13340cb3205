"""The field's table: columns as measured, the best of a block, published rows, costs, fronts and ranks."""

import csv
import io
from types import SimpleNamespace

import pytest
import shelf_records as made
from report_records import NEXT_P5, edit

from pdrop_eval.records.rows.run import to_runs
from pdrop_eval.records.store import load_records
from pdrop_eval.report.budgets.board.blocks import boards
from pdrop_eval.report.budgets.board.paired import Pairing, compare
from pdrop_eval.report.budgets.board.rows import _measured_layers
from pdrop_eval.report.budgets.field import field_section
from pdrop_eval.report.budgets.frontier import fronts
from pdrop_eval.report.budgets.published import (
    blocks,
    model_name,
    models,
    printed,
    title,
    without_dropping,
)
from pdrop_eval.report.budgets.ranks import ranks
from pdrop_eval.report.budgets.speed import Prefills
from pdrop_eval.report.readme.cli import make_tables
from pdrop_eval.report.tables.spec import load_table, shipped
from pdrop_eval.utils.errors import UserError

TABLE = shipped()["budgets"]


@pytest.fixture
def board(tmp_path):
    """The one board of the records beneath tmp_path, compared."""

    def of(table=TABLE):
        (found,) = boards(table, to_runs(load_records(tmp_path / "runs")))
        compare(found, Pairing(found.table.benchmarks))
        return found

    return of


def lines(section, grid=0):
    """The texts of each line by its first cell; bands in order."""
    return {
        line.cells[0].text: [cell.text for cell in line.cells[1:]]
        for band in section.grids[grid].bands
        for line in band.lines
    }


def test_columns_are_those_that_vanilla_and_half_of_the_rows_have(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80, keys=("gqa", "textvqa", "pope"))
    made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48}, keys=("gqa", "textvqa", "pope"))
    for strategy in ("pdrop", "dart"):
        made.add(tmp_path / "runs", strategy, 60, 48, budget={"tokens": 48}, keys=("gqa", "docvqa"))
    found = board()
    # GQA: 3 of 3 rows; TextVQA and POPE: 1; DocVQA: 2, but vanilla lacks it
    assert found.table.benchmarks == ("gqa",)
    assert found.lacking == {"docvqa": 2, "textvqa": 1, "pope": 1}
    assert [row.percent for row in found.rows] == pytest.approx([87.5, 75.0, 75.0])


def test_the_best_of_a_block_and_what_differs_from_it_for_certain_after_holm(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    # with c answers lost and none gained, z is the root of c: 1.7 of PDrop is less than 1.96; 3 of HiRED is
    # more than the 2.13 that three rows would need
    for strategy, right in (("fastv", 70), ("pdrop", 67), ("dart", 20), ("hired", 61)):
        made.add(tmp_path / "runs", strategy, right, 48, budget={"tokens": 48})
    found = board()
    (block,) = found.blocks
    assert block.best.name == "FastV"
    verdicts = {row.name: row.verdict for row in block.rows}
    assert verdicts == {"FastV": None, "PDrop": 0, "DART": -1, "HiRED": -1}
    shown = lines(field_section(found, Pairing(found.table.benchmarks), Prefills()))
    assert [shown[name][-1] for name in ("FastV", "PDrop", "DART")] == ["best", "~", "below"]


def test_a_difference_that_is_certain_alone_may_not_be_for_the_whole_block(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "fastv", 70, 48, budget={"tokens": 48})
    # 5 lost, none gained: z is 2.24, more than 1.96, and less than the 2.64 of six rows
    made.add(tmp_path / "runs", "pdrop", 65, 48, budget={"tokens": 48})
    alone = {row.name: row.verdict for row in board().rows}
    assert alone["PDrop"] == -1
    for strategy in ("dart", "hired", "visionzip", "divprune", "cdpruner"):
        made.add(tmp_path / "runs", strategy, 69, 48, budget={"tokens": 48})
    together = {row.name: row.verdict for row in board().rows}
    assert together["PDrop"] == 0
    assert together["DART"] == 0


def test_published_rows_stand_in_the_block_of_their_budget_and_keep_their_holes(tmp_path, board):
    made.shelf(tmp_path / "runs")
    found = board()
    section = field_section(found, Pairing(found.table.benchmarks), Prefills())
    shown = lines(section)
    # MMTok's table: TextVQA 57.3, GQA 59.3 of 58.2 and 61.9 at 192 of 576 tokens
    assert shown["VisionZip (published B)"] == ["CVPR 2025", "57.3", "59.3", "97.1", "", ""]
    names = {band.name: [line.cells[0].text for line in band.lines] for band in section.grids[0].bands}
    assert "CDPruner (published C)" in names["16 tokens a layer (11.1%)"]
    assert "CDPruner (published C)" not in names["48 tokens a layer (33.3%)"]
    assert names["All 144 tokens"][0] == "vanilla"
    none = field_section(found, Pairing(found.table.benchmarks), Prefills(), "none")
    assert "published" not in " ".join(lines(none))


def test_a_model_with_another_grid_of_patches_has_no_published_rows(tmp_path):
    for patches in (5, 9):
        model = {**NEXT_P5, "patches": patches}
        made.add(tmp_path / "runs", "vanilla", 80, seed=patches, model=model)
        made.add(tmp_path / "runs", "fastv", 70, 32, seed=patches, model=model, budget={"tokens": 32})
    five, nine = boards(TABLE, to_runs(load_records(tmp_path / "runs")))
    # of LLaVA-NeXT, papers print 640 of 2,880 tokens: as many as 32 of 144
    assert (five.published, nine.published) == ("llava-next-7b", None)
    assert {row.tokens for row in five.printed(five.blocks[0])} == {640}
    assert nine.printed(nine.blocks[0]) == []
    text = field_section(nine, Pairing(nine.table.benchmarks), Prefills())
    assert "published" not in " ".join(lines(text))


def test_a_second_seed_is_a_row_that_says_so_and_vanilla_is_one(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "vanilla", 80, seed=2)
    for seed, right in ((1, 60), (2, 40)):
        made.add(tmp_path / "runs", "random", right, 48, budget={"tokens": 48}, seed=seed)
    made.add(tmp_path / "runs", "fastv", 72, 48, budget={"tokens": 48}, seed=2)
    rows = board().rows
    assert {row.name: row.percent for row in rows} == {"Random": 75.0, "Random seed=2": 50.0, "FastV": 90.0}
    assert {row.name for row in rows if row.info.name == "random"} == {"Random", "Random seed=2"}


def test_numbers_that_are_not_printed_are_empty(tmp_path):
    rows = {row.strategy: row for row in printed("llava-1.5", 1 / 3, ("gqa", "chartqa"))}
    assert rows["fastv"].scores == {"gqa": 52.7}
    assert rows["fastv"].percent is None


def test_families_are_printed_at_shares_and_belong_to_their_own_model():
    rows = {row.strategy: row for row in printed("qwen2.5-vl", 0.25, ("mmbench_cn", "textvqa"))}
    assert {"visionzip", "divprune", "dart", "vispruner", "fastv_k1", "idpruner"} <= set(rows)
    assert rows["visionselector"].scores == {"mmbench_cn": 75.86, "textvqa": 80.39}
    assert (rows["fastv_k1"].tokens, rows["fastv_k1"].budget) == (None, "25.0% of the tokens")
    assert rows["fastv_k1"].info.display_name == "FastV K=1"
    assert all(row.source.startswith("AngelSlim") for row in rows.values())
    assert printed("qwen2.5-vl", 0.25, ("textvqa",), "3b") == []  # of 3B nothing but vanilla is printed
    assert [model_name("qwen2.5-vl", size) for size in ("7b", "3b", "mini")] == [
        "Qwen2.5-VL-7B", "Qwen2.5-VL-3B", "Qwen2.5-VL-7B"
    ]  # fmt: skip
    assert title("llava-onevision-7b") == "LLaVA-OneVision-7B"
    assert without_dropping("qwen2.5-vl-3b", ("docvqa", "chartqa"))[0].tokens is None


def test_the_paper_s_own_rows_stand_at_the_budgets_of_their_settings():
    (row,) = printed("llava-1.5", (1 + 0.5 + 0.25 + 0.125) / 4, ("gqa",))
    assert (row.strategy, row.scores["gqa"], row.source) == (
        "pdrop", 60.1, "PyramidDrop, arXiv 2410.17247, table 5"
    )  # fmt: skip
    assert {row.strategy for row in printed("llava-next", 17 / 32, ("gqa",))} == {"fastv"}


def test_averages_over_images_belong_to_no_block():
    rows = [row for model in models() for _, found in blocks(model, ("pope", "gqa")) for row in found]
    assert not any("LoRA" in row.source for row in rows)
    assert all(0 < row.share < 1 for row in rows)


def test_published_rows_alone_need_no_record(tmp_path):
    text = make_tables(tmp_path / "none", tmp_path / "out", "budgets", published="only")
    assert "Table budgets, published: Qwen2.5-VL-7B" in text
    assert max(map(len, text.splitlines()[:-2])) <= 80
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"budgets.{kind}" for kind in ("md", "csv", "tex", "html")
    }
    found = list(csv.DictReader(io.StringIO((tmp_path / "out" / "budgets.csv").read_text("utf-8"))))
    one = next(row for row in found if row["strategy"] == "hiprune" and row["budget_share"] == "0.1")
    assert one["model"] == "Qwen2.5-VL-7B"
    with pytest.raises(UserError, match="table=frontier has no published numbers"):
        make_tables(tmp_path / "none", tmp_path / "out", "frontier", published="only")


def test_costs_have_the_prefill_of_the_benchmark_with_the_same_tokens_a_layer(tmp_path, board):
    import json

    made.shelf(tmp_path / "runs")
    for strategy, tokens in (("vanilla", 144), ("fastv", 48)):
        run = next(r for r in load_records(tmp_path / "runs") if len({*layers(r)} - {tokens}) == 0
                   and r["strategy"]["name"] == strategy)  # fmt: skip
        path = tmp_path / "runs" / "mini576" / run["run_id"] / "record.json"
        record = json.loads(path.read_text("utf-8"))
        record["efficiency"]["kv_cache_bytes"] = 1_000_000 * tokens
        path.write_text(json.dumps(record), "utf-8")
    variants = [
        {"label": label, "prefill": {"seconds": [0.001, middle, 0.1]}}
        for label, middle in (("vanilla", 0.04), ("fastv k=2", 0.0255))
    ]
    bench = {
        "created": "2026-01-01", "hardware": {"cpu": "A processor", "gpus": []},
        "settings": {"device": "cpu", "dtype": "float32"}, "model": {"name": "mini576", "layers": 8},
        "sample": {"image_tokens": 144}, "batches": {"1": {"batch_size": 1, "variants": variants}},
        "strategies": [
            {"label": "vanilla", "strategy": None},
            {"label": "fastv k=2", "strategy": "fastv", "schedule": [48] * 8},
        ],
    }  # fmt: skip
    path = tmp_path / "bench" / "mini576" / "a" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 1, "status": "completed", **bench}), "utf-8")
    found = board()
    section = field_section(found, Pairing(found.table.benchmarks), Prefills(tmp_path / "bench"))
    costs = {band.name: {line.cells[0].text: [cell.text for cell in line.cells[1:]] for line in band.lines}
             for band in section.grids[1].bands}  # fmt: skip
    assert costs["All 144 tokens"]["vanilla"] == ["144", "0.4", "100.0", "40", "144.00 MB", "100.0"]
    assert costs["48 tokens a layer (33.3%)"]["FastV"] == ["48", "0.133", "33.3", "25.5", "48.00 MB", "33.3"]
    assert costs["48 tokens a layer (33.3%)"]["PDrop"][3] == "-"
    assert "A processor, float32, batch 1" in section.grids[1].title


def layers(record):
    return record["efficiency"]["image_tokens_per_layer"] or []


def test_a_readme_gets_one_table_of_all_models_with_a_column_a_budget(tmp_path):
    made.shelf(tmp_path / "runs")
    made.add(tmp_path / "runs", "vanilla", 50, model=NEXT_P5, seed=3)
    made.add(tmp_path / "runs", "fastv", 40, 72, model=NEXT_P5, seed=3, budget={"share": 0.5})
    readme = tmp_path / "README.md"
    readme.write_text("<!-- budgets -->\n<!-- /budgets -->\n<!-- first -->\nkept\n<!-- /first -->\n")
    make_tables(tmp_path / "runs", tmp_path / "tables", "budgets", readme)
    text = readme.read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "|" in line
    ]
    assert rows[0] == ["Model", "Strategy", "50% of tokens", "33.3% of tokens", "11.1% of tokens"]
    found = {(row[0], row[1]): [cell.partition(" ")[0] for cell in row[2:]] for row in rows[2:]}
    # of vanilla's 80: 76, 59, 50, 40, 60 at 48 tokens, and 20, 10, 30, 20 at 16
    assert found == {
        ("LLaVA-1.5 mini576", "FastV"): ["-", "95.0", "25.0"],
        ("", "PDrop"): ["-", "73.8", "12.5"],
        ("", "PruMerge°"): ["-", "62.5", "-"],
        ("", "Pooling"): ["-", "50.0", "37.5"],
        ("", "Random"): ["-", "75.0", "25.0"],
        ("LLaVA-NeXT mini576 p5", "FastV"): ["80.0", "-", "-"],
    }
    best = [row[1] for row in rows[2:] if any(cell.endswith("•") for cell in row)]
    assert {"FastV", "Pooling"} <= {*best}
    assert "PDrop" not in best
    assert "FLOPs of these tokens are then 50%, 33%, 11% of those without dropping" in text
    assert text.endswith("<!-- first -->\nkept\n<!-- /first -->\n")


def test_a_readme_keeps_the_tables_of_other_records_when_all_are_made(tmp_path):
    """Runs of a figure have budgets, too: they are no rows of what `make budgets` measured."""
    made.shelf(tmp_path / "runs")
    readme = tmp_path / "README.md"
    marks = "<!-- budgets -->\nkept\n<!-- /budgets -->\n<!-- shelf -->\nkept\n<!-- /shelf -->\n"
    readme.write_text(marks + "<!-- first -->\nold\n<!-- /first -->\n")
    make_tables(tmp_path / "runs", tmp_path / "tables", "all", readme)
    assert readme.read_text().startswith(marks)
    assert "old" not in readme.read_text()
    written = {path.stem for path in (tmp_path / "tables").iterdir()}
    assert {"budgets", "shelf"} & written == set()
    assert {"field", "frontier", "overview"} <= written
    make_tables(tmp_path / "runs", tmp_path / "tables", "all", readme, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "](tables/field.md)" in page
    assert "](tables/budgets.md)" not in page  # there is no such file
    make_tables(tmp_path / "runs", tmp_path / "own", "all")
    assert {"budgets", "shelf"} <= {path.stem for path in (tmp_path / "own").iterdir()}


def test_a_front_has_what_no_other_beats_at_its_flops(tmp_path, board):
    made.shelf(tmp_path / "runs")
    points = {
        key: [(point.row.name, point.budget) for point in found]
        for key, found in fronts(board(shipped()["frontier"])).items()
    }
    # at 16: 30 of Pooling; PruMerge 50 at 36.5; FastV 76 at 48; vanilla 80
    expected = [
        ("Pooling", "16"), ("PruMerge", "own setting"), ("FastV", "48"), ("vanilla", "all tokens")
    ]  # fmt: skip
    assert points == {"gqa": expected, "textvqa": expected, "mean": expected}


def test_rows_at_one_place_of_a_front_are_both_on_it(tmp_path, board):
    made.add(tmp_path / "runs", "vanilla", 80)
    for strategy, right in (("fastv", 70), ("pdrop", 70), ("dart", 69)):
        made.add(tmp_path / "runs", strategy, right, 48, budget={"tokens": 48})
    found = fronts(board(shipped()["frontier"]))["gqa"]
    assert [point.row.name for point in found] == ["FastV", "PDrop", "vanilla"]


def test_a_frontier_needs_no_budgets(tmp_path):
    made.add(tmp_path / "runs", "vanilla", 80)
    made.add(tmp_path / "runs", "pdrop", 70, 67)
    text = make_tables(tmp_path / "runs", tmp_path / "out", "frontier")
    assert "own setting" in text
    with pytest.raises(UserError, match="table=budgets: it has those at a budget"):
        make_tables(tmp_path / "runs", tmp_path / "out", "budgets")


def test_ranks_are_those_of_the_means_and_ties_share_one(tmp_path, board):
    made.shelf(tmp_path / "runs")
    found = ranks(board())
    points = {one["name"]: [(p["block"], p["rank"]) for p in one["points"]] for one in found["series"]}
    # at 48: 76, 59, 40, 60; at 16: 20, 10, 30, 20
    assert points == {
        "FastV": [(0, 1), (1, 2)], "PDrop": [(0, 3), (1, 4)], "Pooling": [(0, 4), (1, 1)],
        "Random": [(0, 2), (1, 2)],
    }  # fmt: skip
    assert [budget["tokens"] for budget in found["budgets"]] == [48, 16]


def test_a_run_without_vanilla_has_no_best(tmp_path, board):
    made.add(tmp_path / "runs", "fastv", 70, 36, budget={"tokens": 36})
    found = board()
    assert found.blocks[0].best is None
    assert ranks(found) is None


def test_columns_as_measured_are_for_blocks_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("title: mine\ncolumns: measured\nrows: {}\n")
    with pytest.raises(UserError, match="columns: measured is for the layouts budgets and frontier"):
        load_table(path)


def test_a_score_that_waits_for_its_judge_is_no_column(tmp_path, board):
    keys = ("gqa", "mmvet")
    for strategy, budget in (("vanilla", None), ("fastv", {"tokens": 48})):
        run = made.add(tmp_path / "runs", strategy, 70, 48, budget=budget, keys=keys)
        edit(run, lambda record: record["tasks"]["mmvet"].update(
            status="needs_judge", score=None, predictions="predictions/a.json"))  # fmt: skip
    assert board().table.benchmarks == ("gqa",)


def test_benchmarks_with_other_numbers_of_layers_have_no_mean():
    results = {
        "gqa": {"n": 3, "retained_tokens_per_layer": [4, 2]},
        "pope": {"n": 1, "retained_tokens_per_layer": [8, 6]},
    }
    run = SimpleNamespace(results=results, of=lambda *_: None)
    assert _measured_layers(run) == [5, 3]
    results["pope"]["retained_tokens_per_layer"].pop()
    assert _measured_layers(run) is None
