"""The rules give every average and every difference that the paper prints, from its other numbers."""

import pytest

from pdrop_eval.benchmarks.registry import benchmarks
from pdrop_eval.report.tables.fill import published_part
from pdrop_eval.report.tables.layout import published_section, scores_grid
from pdrop_eval.report.tables.spec import TABLES

# Read off the paper: the last column of each table, in its order.
AVERAGES = {
    1: ["67.4", "67.3", "66.7", "67.3", "63.9", "63.9"],
    2: ["63.0", "62.6", "63.5", "64.4"],
    3: ["72.4", "72.2", "68.8", "70.0"],
    4: ["63.5", "62.6", "62.8", "63.1", "52.6", "52.2", "52.4", "52.7"],
    5: ["69.9", "67.0", "68.5", "55.8", "54.7", "55.6"],
}
# The rows of differences, benchmarks in the table's order and then the average.
DELTAS = {
    3: [["+4.0", "+1.8", "-0.4", "+0.5", "-0.3", "+1.3", "+1.2"]],
    5: [
        ["+2.5", "+0.2", "+0.1", "+0.9", "+0.9", "+1.0", "+3.2", "+3.5", "+1.5"],
        ["+1.3", "+0.7", "+1.7", "+0.5", "+0.0", "+0.4", "+0.8", "+1.9", "+0.9"],
    ],
}
# Table 5 prints +0.1 where its own scores, 59.9 for PDrop and 60.0 for FastV, give -0.1.
MISPRINT = (5, 0, 2)
HEADS = {
    1: "Train & Infer|GPU hours|#patches|TFLOPs|MME|MMB|MMB-CN|SEED-I|MMStar|POPE|Avg",
    2: "Train & Infer|GPU hours|#patches|TFLOPs|DocVQA|InfoVQA|TextVQA|ChartQA|OCRVQA|VQAv2|VizWiz|GQA|Avg",
    3: "Train|Infer|TFLOPs|ChartQA|DocVQA|TextVQA|MME|SQA-I|POPE|Average",
    4: "λ|GPU hours|#patches|TFLOPs|MME|MMB|GQA|MMB-CN|SEED-I|DocVQA|InfoVQA|Avg",
    5: "Strategy|TFLOPs|MME|SQA-I|MMB-CN|GQA|POPE|TextVQA|ChartQA|DocVQA|Avg",
}
# What stands before the scores, in the paper's digits.
FACTS = {
    1: [
        "vanilla 366 5 20.8", "PDrop 218 5 9.46", "vanilla 483 9 40.6", "PDrop 269 9 18.1",
        "vanilla 104 1 3.82", "PDrop 79 1 1.78",
    ],
    2: ["vanilla 366 5 20.8", "PDrop 218 5 9.46", "vanilla 483 9 40.6", "PDrop 269 9 18.1"],
    3: ["vanilla vanilla 20.8", "PDrop PDrop 9.46", "vanilla FastV 10.6", "PDrop FastV 10.6"],
    4: [
        "vanilla 366 5 20.8", "0.4 204 5 8.22", "0.5 218 5 9.46", "0.6 240 5 11.0",
        "vanilla 104 1 3.82", "0.4 75 1 1.54", "0.5 79 1 1.78", "0.6 82 1 2.06",
    ],
    5: ["vanilla 20.8", "FastV 10.6", "PDrop 9.5", "vanilla 3.82", "FastV 2.01", "PDrop 1.78"],
}  # fmt: skip


@pytest.fixture(params=TABLES)
def number(request):
    return request.param


def lines(number, apart):
    grid = scores_grid(published_part(TABLES[number]))
    return [
        [cell.text for cell in line.cells]
        for band in grid.bands
        for line in band.lines
        if line.apart == apart
    ]


def test_all_28_averages_are_the_printed_ones(number):
    assert [line[-1] for line in lines(number, apart=False)] == AVERAGES[number]
    assert [f"{row.average:.1f}" for row in TABLES[number].published] == AVERAGES[number]
    assert sum(map(len, AVERAGES.values())) == 28


def test_all_differences_are_the_printed_ones_but_for_a_misprint_in_the_paper(number):
    found = lines(number, apart=True)
    assert len(found) == len(DELTAS.get(number, []))
    for group, printed in enumerate(DELTAS.get(number, [])):
        differences = found[group][-len(printed) :]
        for column, value in enumerate(printed):
            expected = "-0.1" if (number, group, column) == MISPRINT else value
            assert differences[column] == expected, (group, column)


def test_the_misprint_is_told(number):
    said = "where the paper prints Δ +0.1" in published_section(published_part(TABLES[number])).text[0]
    assert said == (number == MISPRINT[0])


def test_columns_stand_in_the_papers_order_with_marks_where_they_do_not_plainly_compare(number):
    heads = scores_grid(published_part(TABLES[number])).heads
    assert "|".join(head.rstrip("†‡") for head in heads) == HEADS[number]
    marks = {head.rstrip("†‡"): head[len(head.rstrip("†‡")) :] for head in heads}
    for key in TABLES[number].benchmarks:
        benchmark = benchmarks()[key]
        assert marks[benchmark.name] == {"yes": "", "with care": "†", "no": "‡"}[benchmark.comparable]


def test_rows_stand_in_the_papers_order_with_its_facts_and_digits(number):
    table = TABLES[number]
    before = len(table.labels) + len(table.facts)
    assert [" ".join(line[:before]) for line in lines(number, apart=False)] == FACTS[number]


def test_groups_are_the_papers_models(number):
    names = [group.name for group in published_part(TABLES[number]).groups]
    assert names == (["LLaVA-NeXT-7B"] if number in (2, 3) else ["LLaVA-NeXT-7B", "LLaVA-1.5-7B"])


def test_the_tables_together_have_all_benchmarks_but_the_judged_one():
    found = {name for table in TABLES.values() for name in table.benchmarks}
    assert found == {key for key, benchmark in benchmarks().items() if not benchmark.judge}


def test_the_ratio_belongs_to_training_and_to_pyramiddrop_at_inference():
    fastv_on_pdrop = TABLES[3].published[3].key
    assert (fastv_on_pdrop.train, fastv_on_pdrop.train_ratio) == ("pdrop", 0.5)
    assert (fastv_on_pdrop.strategy, fastv_on_pdrop.ratio) == ("fastv", None)
    ablated = TABLES[4].published[1].key
    assert (ablated.train_ratio, ablated.ratio) == (0.4, 0.4)
    inference_only = TABLES[5].published[2].key
    assert (inference_only.train, inference_only.train_ratio, inference_only.ratio) == ("vanilla", None, 0.5)


def test_every_benchmark_that_is_not_plainly_comparable_has_its_reason_beneath_the_table(number):
    text = " ".join(note.text for note in published_section(published_part(TABLES[number])).notes)
    for key in TABLES[number].benchmarks:
        benchmark = benchmarks()[key]
        assert benchmark.name in text
        assert benchmark.why in text
        assert bool(benchmark.why) == (benchmark.comparable != "yes")
