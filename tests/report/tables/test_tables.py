"""From runs to the paper's tables: what fills a row, what is subtracted, and what is said of the rest."""

import math
from dataclasses import replace

import pytest
from report_records import FIELDS, LLAVA_15, NEXT_P5, NEXT_P9, TABLE_5, edit

from pdrop_eval.benchmarks.registry import divisors
from pdrop_eval.records.run_identity import code_sha256
from pdrop_eval.report.tables.cells import Cell, average, difference
from pdrop_eval.report.tables.fill import measured_parts
from pdrop_eval.report.tables.layout import cost_grid, intervals_grid, measured_section, scores_grid
from pdrop_eval.report.tables.missing import experiment_of, fill_row, missing_notes
from pdrop_eval.report.tables.spec import TABLES
from pdrop_eval.utils.paths import CONF

PDROP_05 = {"train": "pdrop", "train_ratio": 0.5}


@pytest.fixture
def part(runs):
    """The only measured part of a table."""

    def one(number):
        (found,) = measured_parts(TABLES[number], runs())
        return found

    return one


@pytest.fixture
def three(add_run, all_scores):
    """Vanilla, FastV and PDrop, all complete."""
    add_run("vanilla", all_scores(1600, 70.0))
    add_run("fastv", all_scores(1400, 60.0))
    add_run("pdrop", all_scores(1500, 66.0))


def table(part, group="LLaVA-1.5 mini576"):
    """Lines of a group by their labels, cells by their heads."""
    grid = scores_grid(part)
    (band,) = [band for band in grid.bands if band.name == group]
    lines = [[cell.text for cell in line.cells] for line in band.lines]
    return {" ".join(line[: grid.labels]).strip(): dict(zip(grid.heads, line, strict=True)) for line in lines}


def notes(part):
    return "\n".join("\n".join([note.text, *note.commands]) for note in measured_section(part).notes)


def test_the_average_divides_mme_by_twenty_and_the_delta_is_pdrop_minus_fastv(three, part):
    found = table(part(5))
    assert list(found) == ["vanilla", "FastV", "PDrop", "Δ"]
    # vanilla (1600/20 + 7*70)/8 = 71.25; FastV (70 + 420)/8 = 61.25; PDrop (75 + 462)/8 = 67.125
    assert [line["Avg"] for line in found.values()] == ["71.2", "61.2", "67.1", "+5.9"]
    assert (found["Δ"]["MME"], found["Δ"]["GQA"]) == ("+5.0", "+6.0")
    assert found["PDrop"]["MME"] == "1500.0"
    assert [line["GFLOPs"] for line in found.values()] == ["0.412", "0.251", "0.187", ""]


def test_the_standard_error_of_an_average_has_mme_on_the_common_scale():
    cells = {"mme": Cell("measured", 1000.0, 40.0), "gqa": Cell("measured", 60.0, 1.5)}
    mean = average(cells, ["mme", "gqa"])
    assert mean.score == 55.0  # (50 + 60) / 2
    assert mean.stderr == pytest.approx(1.25)  # sqrt(2^2 + 1.5^2) / 2
    assert mean.half_width == pytest.approx(1.96 * 1.25)


def test_an_average_without_a_known_error_has_none():
    cells = {"mme": Cell("measured", 1000.0, 40.0), "gqa": Cell("measured", 60.0)}
    assert average(cells, ["mme", "gqa"]).stderr is None


def test_only_the_same_questions_are_subtracted_and_no_average_formed_over_the_rest():
    one = {"mme": Cell("measured", 1400.0, n=10), "gqa": Cell("measured", 62.0, n=10, data="a")}
    other = {"mme": Cell("measured", 1300.0, n=10), "gqa": Cell("measured", 60.0, n=10, data="b")}
    assert difference(one, other, ["mme", "gqa"]) == {"mme": 5.0}


def test_an_average_over_fewer_benchmarks_is_not_formed(add_run, all_scores, part):
    scores = all_scores(1500, 66.0)
    del scores["docvqa"]
    add_run("pdrop", scores, complete=False)
    found = table(part(5))
    assert (found["PDrop"]["DocVQA"], found["PDrop"]["Avg"]) == ("-", "-")
    assert set(found["FastV"].values()) == {"FastV", "-"}
    text = notes(part(5))
    assert "Not measured yet (DocVQA): LLaVA-1.5 trained without dropping: PDrop." in text
    assert "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini" in text
    assert "make eval STRATEGY=fastv MODEL=mini576 SUITE=mini" in text


def test_the_intervals_are_196_standard_errors(three, part):
    grid = intervals_grid(part(5))
    # Every stderr is 2.0: 1.96 * 2 = 3.9; the average's is sqrt(7 * 4 + 0.01) / 8 = 0.6616, times 1.96 = 1.3
    (band,) = grid.bands
    texts = [[cell.text for cell in line.cells] for line in band.lines]
    assert texts[0] == ["vanilla", *["3.9"] * 8, "1.3"]
    assert texts[-1] == ["questions", *["200"] * 8, ""]
    assert math.sqrt(28.01) / 8 * 1.96 == pytest.approx(1.297, abs=1e-3)


def test_where_all_came_out_alike_there_is_no_interval_and_one_note(add_run, all_scores, part):
    run = add_run("vanilla", all_scores(1600, 100.0))
    edit(run, lambda record: record["tasks"]["gqa"].update(stderr=0.0))
    edit(run, lambda record: record["tasks"]["pope"].update(stderr=1e-14))  # equal values, but for rounding
    found = part(5)
    line = [cell.text for cell in intervals_grid(found).bands[0].lines[0].cells]
    # stderr 2.0 of five, MME's on their scale 0.1: sqrt(5 * 4 + 0.01) / 8 = 0.559, times 1.96 = 1.1
    assert line == ["vanilla", "3.9", "3.9", "3.9", "-", "-", "3.9", "3.9", "3.9", "1.1"]
    assert notes(found).count("a bootstrap can't see what didn't vary") == 1
    assert "300/n points away" in notes(found)
    assert "The interval of Avg leaves this out, and is too narrow." in notes(found)


def test_where_something_varied_nothing_is_said_of_intervals(three, part):
    assert "bootstrap can't see" not in notes(part(5))


def test_an_average_of_which_nothing_varied_has_no_interval():
    cells = {"mme": Cell("measured", 2000.0, 0.0), "gqa": Cell("measured", 100.0, 0.0)}
    mean = average(cells, ["mme", "gqa"])
    assert (mean.stderr, mean.half_width) == (0.0, None)


def test_numbers_of_questions_are_told_row_by_row_where_they_differ(add_run, all_scores, part):
    add_run("fastv", all_scores(1400, 60.0))
    other = add_run("pdrop", all_scores(1500, 66.0), commit="e" * 40)
    edit(other, lambda record: record["tasks"]["gqa"].update(n=100))
    last = intervals_grid(part(5)).bands[-1]
    assert last.name == "Questions"
    gqa = 1 + TABLE_5.index("gqa")
    assert [[line.cells[0].text, line.cells[gqa].text] for line in last.lines] == [
        ["FastV", "200"],
        ["PDrop", "100"],
    ]


def test_only_rows_of_one_kind_stand_side_by_side(add_run, all_scores, part):
    for strategy in ("vanilla", "fastv"):
        add_run(strategy, all_scores(1400, 60.0), limit=32, n=32)
    whole = add_run("pdrop", all_scores(1500, 66.0))
    found = part(5)
    # 2 rows of 32 questions against 1 of 200: the larger set is shown, the other is named with what mends it
    assert [row.key.strategy for row in found.rows if row.run] == ["vanilla", "fastv"]
    assert (table(found)["PDrop"]["GQA"], table(found)["Δ"]["GQA"]) == ("-", "-")
    assert {cell.state for row in found.rows if row.run for cell in row.cells.values()} == {"partial"}
    assert (
        "Measured otherwise than the rows above (limit=32), so not beside them: PDrop: "
        f"{whole.folder.name} (all questions). As the others:\n"
        "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini LIMIT=32\n"
    ) in notes(found)
    assert "Not measured yet: LLaVA-1.5 trained without dropping: PDrop" not in notes(found)


def test_a_run_of_the_others_kind_comes_before_the_one_nearest_to_the_default(add_run, all_scores, part):
    for strategy in ("vanilla", "fastv", "pdrop"):
        add_run(strategy, all_scores(1400, 60.0), limit=32, n=32)
    whole = add_run("pdrop", all_scores(1500, 66.0))
    found = part(5)
    assert [row.run.limit for row in found.rows if row.run] == [32, 32, 32]
    assert (table(found)["PDrop*"]["GQA"], table(found)["Δ"]["GQA"]) == ("60.0", "+0.0")
    assert f"of the kind of the other rows; not {whole.folder.name} (all questions)" in notes(found)


def test_of_kinds_that_fill_as_much_the_one_of_more_questions_is_shown(add_run, all_scores, part):
    add_run("fastv", all_scores(1400, 60.0))
    add_run("pdrop", all_scores(1500, 66.0), limit=32, n=32)
    found = part(5)
    assert [row.key.strategy for row in found.rows if row.run] == ["fastv"]
    assert "not beside them: PDrop: pdrop-" in notes(found)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dtype": "bfloat16"}, "(dtype=bfloat16)"),
        ({"downsample": 4}, "(downsample=4)"),
        ({"limit": 300, "n": 200}, None),  # the same questions, whatever chose them
        ({"batch_size": 4}, None),
        ({"seed": 7}, None),
    ],
)
def test_settings_that_can_change_an_answer_make_another_kind(add_run, all_scores, part, settings, words):
    for strategy in ("vanilla", "fastv"):
        add_run(strategy, all_scores(1400, 60.0))
    add_run("pdrop", all_scores(1500, 66.0), **settings)
    found = part(5)
    assert sum(row.run is not None for row in found.rows) == (2 if words else 3)
    assert (words is not None and words in notes(found)) or "Measured otherwise" not in notes(found)


def test_a_larger_set_counts_by_the_cells_that_it_fills(add_run, all_scores, part):
    for strategy in ("vanilla", "pdrop"):
        add_run(strategy, all_scores(1400, 60.0))
    for strategy in ("vanilla", "pdrop", "fastv"):  # 3 rows with a cell each against 2 with 8
        add_run(strategy, {"gqa": 50.0}, limit=8, n=8)
    assert [row.run.limit for row in part(5).rows if row.run] == [None, None]


def test_rows_of_other_questions_are_left_out_across_the_models_of_an_architecture(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    limited = add_run(
        "vanilla", all_scores(1600, 70.0, keys), model="mini576_next_p9", kind=NEXT_P9, limit=16, n=16
    )
    add_run("vanilla", all_scores(1600, 70.0, keys), model="mini576_next_p5", kind=NEXT_P5)
    trained = {**NEXT_P5, **PDROP_05}
    add_run("pdrop", all_scores(1600, 70.0, keys), model="mini576_next_p5_pdrop_05", kind=trained)
    assert f"so not beside them: vanilla p9: {limited.folder.name} (limit=16)." in notes(part(1))
    assert "Δ is formed" not in notes(part(1))


def test_models_of_another_architecture_may_be_asked_fewer_questions(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    add_run("vanilla", all_scores(1600, 70.0, keys))
    few, trained = {"limit": 16, "n": 16}, {**NEXT_P5, **PDROP_05}
    scores = all_scores(1500, 60.0, keys)
    limited = [
        add_run("vanilla", scores, model="mini576_next_p5", kind=NEXT_P5, **few),
        add_run("pdrop", scores, model="mini576_next_p5_pdrop_05", kind=trained, **few),
    ]
    found = part(1)
    assert {run.folder.name for run in limited} < {row.run.id for row in found.rows if row.run}
    assert (
        "Not the same questions in all blocks; compare rows of one block alone. LLaVA-NeXT mini576: 16 "
        "questions a benchmark; LLaVA-1.5 mini576: 200 questions a benchmark."
    ) in notes(found)
    assert "Not the same questions;" not in notes(found)
    commands = [line for line in notes(found).splitlines() if line.startswith("make eval")]
    assert {"LIMIT=16" in line for line in commands if "MODEL=mini576_next_p9 " in line} == {True}
    assert {"LIMIT=16" in line for line in commands if "MODEL=mini576_pdrop_05 " in line} == {False}


@pytest.mark.parametrize("trial_first", [True, False])
def test_a_trial_of_all_models_hides_no_larger_run_of_one(add_run, all_scores, part, trial_first):
    keys = TABLES[1].benchmarks
    ours = [
        {"limit": 8, "n": 8},
        {"limit": 8, "n": 8, "model": "mini576_next_p5", "kind": NEXT_P5},
        {"n": 240},
        {"limit": 60, "n": 60, "model": "mini576_next_p5", "kind": NEXT_P5},
    ]
    for one in ours if trial_first else reversed(ours):
        add_run("vanilla", all_scores(1600, 70.0, keys), **one)
    assert [row.run.limit for row in part(1).rows if row.run] == [60, None]


def test_blocks_of_other_data_with_as_many_questions_are_named(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    add_run("vanilla", all_scores(1600, 70.0, keys))
    run = add_run("vanilla", all_scores(1600, 70.0, keys), model="mini576_next_p5", kind=NEXT_P5)
    edit(run, lambda record: record["tasks"]["pope"].update(data_sha256="others"))
    assert (
        "Not the same questions in all blocks (of POPE); compare rows of one block alone. LLaVA-NeXT "
        "mini576: 200 questions a benchmark; LLaVA-1.5 mini576: 200 questions a benchmark, but of other data."
    ) in notes(part(1))


def test_the_first_row_of_an_architecture_is_asked_what_its_experiment_asks(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    add_run("vanilla", all_scores(1600, 70.0, keys))
    found = part(1)
    commands = [fill_row(found, row).command for row in found.rows if not row.run]
    assert {"LIMIT=60" in line for line in commands if "mini576_next_" in line} == {True}
    assert {"LIMIT=60" in line for line in commands if "mini576_next_" not in line} == {False}


def test_what_an_experiment_asks_of_one_architecture_is_no_limit_of_others(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    few = {"limit": 60, "n": 60}
    add_run("vanilla", all_scores(1600, 70.0, keys), model="mini576_next_p5", kind=NEXT_P5, **few)
    found = part(1)
    commands = [fill_row(found, row).command for row in found.rows if not row.run]
    assert {"LIMIT=60" in line for line in commands if "mini576_next_" in line} == {True}
    assert {"LIMIT=60" in line for line in commands if "mini576_next_" not in line} == {False}
    assert experiment_of(found) == "make experiment EXPERIMENT=table1"


def test_a_cell_of_other_data_is_left_out_of_its_column(add_run, all_scores, part):
    for strategy in ("vanilla", "fastv"):
        add_run(strategy, all_scores(1400, 60.0))
    run = add_run("pdrop", all_scores(1500, 66.0))
    edit(run, lambda record: record["tasks"]["gqa"].update(data_sha256="others"))
    found = table(part(5))["PDrop"]
    assert (found["GQA"], found["POPE"], found["Avg"]) == ("-", "66.0", "-")


def test_other_data_with_the_same_number_of_questions_are_named_by_benchmark(add_run, all_scores, part):
    add_run("fastv", all_scores(1400, 60.0))
    run = add_run("pdrop", all_scores(1500, 66.0))
    edit(run, lambda record: record["tasks"]["gqa"].update(data_sha256="others"))
    assert (
        "Not the same questions (of GQA); don't compare these rows, nor their averages. FastV: 200 questions "
        "a benchmark; PDrop: 200 questions a benchmark, but of other data."
    ) in notes(part(5))


def test_rows_of_the_same_questions_may_be_compared_also_if_one_is_unfinished(three, add_run, part):
    add_run("random", {"gqa": 50.0})
    assert "Not the same questions" not in notes(part(5))


def test_rows_with_the_same_limit_are_subtracted_and_the_missing_ones_get_it_too(add_run, all_scores, part):
    add_run("fastv", all_scores(1400, 60.0), limit=32, n=32)
    add_run("pdrop", all_scores(1500, 66.0), limit=32, n=32)
    assert table(part(5))["Δ"]["GQA"] == "+6.0"
    assert "make eval STRATEGY=vanilla MODEL=mini576 SUITE=mini LIMIT=32" in notes(part(5))


def test_a_changed_row_is_completed_with_its_own_settings(add_run, part):
    add_run("fastv", {"gqa": 60.0}, dtype="bfloat16", complete=False)
    assert "make eval STRATEGY=fastv MODEL=mini576 SUITE=mini ARGS='dtype=bfloat16'" in notes(part(5))


def test_a_missing_row_gets_the_settings_that_all_others_share(add_run, part):
    add_run("fastv", {"gqa": 60.0}, dtype="float16", device="cuda", batch_size=16)
    add_run("vanilla", {"gqa": 60.0}, dtype="float16", device="cuda", seed=2)
    text = notes(part(5))
    assert "make eval STRATEGY=pdrop MODEL=mini576 SUITE=mini ARGS='dtype=float16 device=cuda'" in text
    assert "make experiment EXPERIMENT=table5 ARGS='dtype=float16 device=cuda'" in text
    assert "STRATEGY=fastv MODEL=mini576 SUITE=mini ARGS='dtype=float16 batch_size=16 device=cuda'" in text


def test_rows_of_different_checkpoints_of_one_model_are_not_subtracted(add_run, all_scores, part):
    add_run("fastv", all_scores(1400, 60.0))
    other = add_run("pdrop", all_scores(1500, 66.0))
    edit(other, lambda record: record["model"].update(sha256="cd" * 32))
    found = part(5)
    assert [group.delta for group in found.groups] == [{}, {}]
    assert "The rows of mini576 differ in checkpoint: compare them with care." in notes(found)


def test_runs_that_claim_one_row_are_all_named(add_run, all_scores, part):
    shown = add_run("pdrop", all_scores(1500, 66.0))
    seeded = add_run("pdrop", all_scores(1580, 68.0), seed=7)
    found = part(5)
    assert table(found)["PDrop"]["GQA"] == "66.0"
    assert f"Shown is {shown.folder.name}" in notes(found)
    # records without the hash of their code: not known to be of the installed one
    expected = (
        f"not {seeded.folder.name} (seed=7). The shown one was made by other code than is installed now."
    )
    assert expected in notes(found)
    edit(shown, lambda record: record["identity"].update(code=code_sha256(FIELDS["pdrop"]["_target_"])))
    assert f"not {seeded.folder.name} (seed=7, other code).\n" in notes(part(5))
    assert "than is installed now" not in notes(part(5))


def test_other_settings_of_a_strategy_do_not_fill_the_papers_row(add_run, all_scores, part):
    add_run("vanilla", all_scores(1600, 70.0))
    add_run("pdrop", all_scores(1590, 69.0), fields={"ratio": 0.6})
    assert table(part(5))["PDrop"]["GQA"] == "-"


def test_the_experiment_that_measures_all_rows_is_named(add_run, runs, part):
    add_run("pdrop", {"gqa": 60.0})
    assert "make experiment EXPERIMENT=table5\n" in f"{notes(part(5))}\n"
    assert (CONF / "experiment" / "table5.yaml").is_file()


def test_a_suite_that_is_no_more_has_no_commands(add_run, part):
    add_run("pdrop", {"gqa": 60.0}, suite="table5")
    assert "What is missing can't be measured: there is no suite table5 in conf/suite." in notes(part(5))
    assert "make eval" not in notes(part(5))


def test_a_complete_table_has_no_commands(add_run, all_scores, part):
    for kind, model in ((LLAVA_15, "mini576"), (NEXT_P5, "mini576_next_p5")):
        for strategy in ("vanilla", "fastv", "pdrop"):
            add_run(strategy, all_scores(1500, 66.0), kind=kind, model=model)
    assert "eval" not in notes(part(5)).replace("pdrop_eval", "")


def test_a_failed_run_says_why_its_cells_are_missing(add_run, part):
    run = add_run("pdrop", {"gqa": 60.0}, complete=False)
    edit(run, lambda record: record.update(status="failed", error="pope, sample 7: out of memory\nmore"))
    row = next(row for row in part(5).rows if row.run)
    assert row.cells["pope"].why == f"{run.folder.name} stopped before it: pope, sample 7: out of memory"


def test_sizes_and_suites_are_kept_apart(add_run, all_scores, runs):
    add_run("pdrop", all_scores(1500, 66.0))
    add_run("pdrop", all_scores(1400, 55.0), suite="paper", source="hub")
    add_run("pdrop", all_scores(1300, 44.0), model="llava_1_5_7b", kind={**LLAVA_15, "size": "7b"})
    parts = measured_parts(TABLES[5], runs())
    assert [(part.size, part.suite) for part in parts] == [
        ("7b", "mini"),
        ("mini576", "mini"),
        ("mini576", "paper"),
    ]
    assert [group.name for group in parts[0].groups] == ["LLaVA-NeXT-7B", "LLaVA-1.5-7B"]
    assert [group.name for group in parts[1].groups] == ["LLaVA-NeXT mini576", "LLaVA-1.5 mini576"]


def test_models_of_one_size_fill_the_rows_of_their_architecture_and_patches(add_run, part):
    add_run("vanilla", {"pope": 85.0})
    add_run("vanilla", {"pope": 86.0}, model="mini576_next_p5", kind=NEXT_P5)
    add_run(
        "pdrop", {"pope": 87.0}, model="mini576_next_p9_pdrop_05", kind={**NEXT_P5, "patches": 9, **PDROP_05}
    )
    popes = [
        [cell.text for cell in line.cells][-2] for band in scores_grid(part(1)).bands for line in band.lines
    ]
    # LLaVA-NeXT p5 vanilla, PDrop; p9 vanilla, PDrop; LLaVA-1.5 vanilla, PDrop
    assert popes == ["86.0", "-", "-", "87.0", "85.0", "-"]


def test_table_3_subtracts_fastv_on_the_two_trainings(add_run, all_scores, part):
    keys = TABLES[3].benchmarks
    add_run("fastv", all_scores(1400, 60.0, keys), model="mini576_next_p5", kind=NEXT_P5)
    add_run(
        "fastv", all_scores(1420, 63.0, keys), model="mini576_next_p5_pdrop_05", kind={**NEXT_P5, **PDROP_05}
    )
    found = table(part(3), "LLaVA-NeXT mini576")
    assert list(found) == ["vanilla vanilla", "PDrop PDrop", "vanilla FastV", "PDrop FastV", "Δ"]
    # MME (1420 - 1400) / 20 = 1.0, five others 3.0: the average is 16 / 6 = 2.67
    assert (found["Δ"]["MME"], found["Δ"]["POPE"], found["Δ"]["Average"]) == ("+1.0", "+3.0", "+2.7")


@pytest.mark.parametrize("number", [2, 3])
def test_a_measured_model_that_the_paper_lacks_here_gets_a_marked_group(add_run, part, number):
    add_run("vanilla", {"textvqa": 58.0})
    group = part(number).groups[-1]
    assert (group.name, group.beyond) == ("LLaVA-1.5 mini576", True)
    assert len(group.rows) == {2: 2, 3: 4}[number]
    assert group.rows[0].cells["textvqa"].score == 58.0
    assert scores_grid(part(number)).bands[-1].name == "LLaVA-1.5 mini576 (not in the paper)"


def test_without_such_a_model_there_is_no_such_group(add_run, part):
    add_run("vanilla", {"textvqa": 58.0}, model="mini576_next_p5", kind=NEXT_P5)
    assert [group.name for group in part(2).groups] == ["LLaVA-NeXT mini576"]


def test_table_4_tells_its_rows_by_lambda(add_run, all_scores, part):
    keys = TABLES[4].benchmarks
    for ratio in (0.4, 0.6):
        kind = {**LLAVA_15, "train": "pdrop", "train_ratio": ratio}
        add_run(
            "pdrop",
            all_scores(1400, 100 * ratio, keys),
            model=f"m{ratio}",
            kind=kind,
            fields={"ratio": ratio},
        )
    found = table(part(4))
    assert {name: line["GQA"] for name, line in found.items()} == {
        "vanilla": "-",
        "0.4": "40.0",
        "0.5": "-",
        "0.6": "60.0",
    }


def test_a_strategy_of_ones_own_gets_a_row_after_the_papers(three, add_run, all_scores, part):
    add_run("mine", all_scores(1000, 40.0))
    assert list(table(part(5))) == ["vanilla", "FastV", "PDrop", "mine", "Δ"]
    assert "mine" not in table(part(4))


def test_hours_come_from_the_checkpoints_record_of_its_training(add_run, all_scores, part):
    keys = TABLES[1].benchmarks
    training = {"device_hours": 1.26, "device_label": "CPU hours"}
    add_run("vanilla", all_scores(1400, 60.0, keys))
    add_run(
        "pdrop",
        all_scores(1400, 60.0, keys),
        model="mini576_pdrop_05",
        kind={**LLAVA_15, **PDROP_05},
        training=training,
    )
    found = table(part(1))
    assert (found["vanilla"]["CPU hours"], found["PDrop"]["CPU hours"]) == ("-", "1.3")
    assert "No hours where the checkpoint has no record of its training." in notes(part(1))


def test_the_cost_is_told_at_nominal_and_at_processed_tokens(add_run, part):
    run = add_run("pdrop", {"gqa": 60.0, "pope": 80.0})
    edit(run, lambda record: record["tasks"]["gqa"].update(n=100, tflops_mean=2e-3, image_tokens_mean=100.0))
    edit(run, lambda record: record["tasks"]["pope"].update(n=300, tflops_mean=4e-3, image_tokens_max=150))
    grid = cost_grid(part(5))
    (line,) = grid.bands[0].lines
    shown = dict(zip(grid.heads, [cell.text for cell in line.cells], strict=True))
    # mean TFLOPs (100 * 2e-3 + 300 * 4e-3) / 400 = 3.5e-3; mean tokens (100 * 100 + 300 * 144) / 400 = 133
    assert shown == {
        "Strategy": "PDrop",
        "GFLOPs": "0.187",
        "GFLOPs mean": "3.5",
        "Tokens": "144",
        "Tokens mean": "133.0",
        "Tokens max": "150",
        "KV cache": "1.18 MB",
        "Image tokens x layers": "144 x2, 72 x2, 36 x2, 18 x2",
    }


def test_rendered_questions_are_not_compared_with_published_ones_but_real_ones_are_marked(add_run, runs):
    add_run("vanilla", {"docvqa": 60.0})
    add_run("vanilla", {"docvqa": 60.0}, suite="paper", source="hub")
    rendered, real = (scores_grid(part).heads for part in measured_parts(TABLES[5], runs()))
    assert "DocVQA" in rendered
    assert "DocVQA†" in real
    assert len(TABLE_5) == len(TABLES[5].benchmarks)


def own_folder(record):
    record["config"] |= {
        "data": {"root": "mine"}, "suite": {"name": "mini", "source": "rendered"}, "results": "elsewhere"
    }  # fmt: skip


def test_data_of_the_users_own_are_marked_and_named(add_run, all_scores, part):
    edit(add_run("vanilla", all_scores(1600, 70.0)), own_folder)
    assert "vanilla*" in table(part(5))
    assert "* vanilla: data.root=mine." in notes(part(5))
    assert any("the user's own, in mine" in text for text in measured_section(part(5)).text)


def test_a_command_writes_where_the_table_reads(add_run, all_scores, part):
    edit(add_run("vanilla", all_scores(1600, 70.0)), own_folder)
    (line,) = [
        line
        for line in notes(part(5)).splitlines()
        if line.startswith("make eval STRATEGY=pdrop MODEL=mini576 ")
    ]
    assert "results=elsewhere" in line
    assert "data.root=mine" in line


def test_an_interval_ends_where_the_scale_does():
    assert Cell("measured", 99.0, 2.0, most=100.0).interval == pytest.approx((95.08, 100.0))
    assert Cell("measured", 1.0, 2.0, most=100.0).interval == pytest.approx((0.0, 4.92))
    assert Cell("measured", 1500.0, 10.0).interval == pytest.approx((1480.4, 1519.6))


def test_fewer_categories_of_mme_lower_the_highest_average(add_run, all_scores, part):
    def eight(record):
        record["tasks"]["mme"]["parts"] = dict.fromkeys("abcdefgh", 150.0)

    edit(add_run("vanilla", all_scores(1200, 70.0)), eight)
    # 8 x 200 points; (1600 / 20 + 7 x 100) / 8 = 97.5
    assert "8 of its 10 perception categories here: 1,600 points at most, and 97.5 for Avg" in notes(part(5))


def test_cropped_images_are_named_where_the_original_pads(add_run, all_scores, part):
    run = add_run("vanilla", all_scores(1600, 70.0))
    edit(run, lambda record: record.update(inputs={"images": "centre_crop"}))
    assert "cropped to their centre" in notes(part(5))
    edit(run, lambda record: record.update(inputs={"images": "pad"}))
    assert "cropped to their centre" not in notes(part(5))


def test_table_5_is_complete_for_the_model_that_was_measured_and_names_the_other(three, part):
    grid = scores_grid(part(5))
    assert [band.name for band in grid.bands] == ["LLaVA-1.5 mini576"]
    assert "Not measured yet: LLaVA-NeXT p5 trained without dropping: vanilla, FastV, PDrop." in notes(
        part(5)
    )
    assert [band.name for band in scores_grid(part(1)).bands] == ["LLaVA-NeXT mini576", "LLaVA-1.5 mini576"]


def test_a_benchmarks_divisor_is_the_range_of_its_metric_in_percent():
    """MME's perception score has 2,000 points, which the paper divides by 20; all others are percent."""
    found = dict(divisors())
    assert found.pop("mme") == 20.0
    assert set(found.values()) == {1.0}


def test_a_command_for_a_shared_record_names_no_folder_of_another_machine(add_run, runs):
    run = add_run("vanilla", {"gqa": 60.0}, results="…/real", data={"root": "…/data"})
    edit(run, lambda record: record["config"].update(model={"pretrained": "…/mine"}))
    (part,) = measured_parts(TABLES[5], runs())
    commands = [line for note in missing_notes(part) for line in note.commands]
    assert commands
    assert "…" not in " ".join(commands)
    assert "data.root=<folder>" in commands[0]


def test_of_a_part_with_other_rows_all_is_worked_out_anew(add_run, part):
    """The settings for a row that is missing are those that the runs of its own part share."""
    add_run("vanilla", {"gqa": 60.0}, seed=7)
    add_run("fastv", {"gqa": 50.0})
    whole = part(5)
    missing = next(row for row in whole.rows if row.key.strategy == "pdrop")
    assert "seed=7" not in fill_row(whole, missing).command
    rows = [row for row in whole.rows if row.key.strategy != "fastv"]
    alone = replace(whole, groups=[replace(whole.groups[0], rows=rows)])
    assert "seed=7" in fill_row(alone, missing).command
