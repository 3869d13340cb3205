"""What makes large tables fast changes none of their bytes."""

import random

import pytest
from tabulate import tabulate

from pdrop_eval.benchmarks.scoring.difference import tango
from pdrop_eval.records.rows import run as runs
from pdrop_eval.report.formats import pipes as module
from pdrop_eval.report.formats.grid import Band, Grid, Line, Shown
from pdrop_eval.report.formats.html import body
from pdrop_eval.report.formats.pipes import pipes

TEXTS = ["", "-", "12.5", "1e5", "True", "None", " x ", "nan", "λ=0.4", "–", "a\\|b", "é†", "+3.0*"]
ODD = ["漢字", "e\u0301", "\x1b[31mred", "a\nb"]  # wide, combined, a sequence of control, two lines


@pytest.mark.parametrize(("texts", "plain"), [(TEXTS, True), (TEXTS + ODD, False)])
def test_columns_are_set_as_tabulate_sets_them(texts, plain, monkeypatch):
    if plain:
        monkeypatch.setattr(module, "_tabulated", None)
    draw = random.Random(1)
    for _ in range(200):
        count = draw.randrange(1, 5)
        heads, *rows = ([draw.choice(texts) for _ in range(count)] for _ in range(draw.randrange(2, 6)))
        right = {place for place in range(count) if draw.random() < 0.5}
        aligned = ["right" if place in right else "left" for place in range(count)]
        expected = tabulate(rows, heads, tablefmt="pipe", colalign=aligned, disable_numparse=True)
        assert pipes(heads, rows, right) == expected


def test_a_table_without_rows_has_its_heads():
    assert pipes(["a", "b"], [], {1}) == tabulate([], ["a", "b"], tablefmt="pipe")


def test_cells_of_a_page_have_their_class_and_hint_and_nothing_is_markup():
    cells = [Shown("<b>"), Shown("4&2", "needs judge", '"why"'), Shown("all", ""), Shown("x", "best")]
    lines = [Line(cells[:3], apart=True), Line([cells[0], cells[3], cells[3]])]
    grid = Grid("", ["", "A", "B"], [Band("<64>", lines)], left=True)
    assert str(body(grid)) == (
        '<tbody>\n<tr><th class="band" scope="rowgroup" colspan="3">&lt;64&gt;</th></tr>\n'
        '<tr class="apart"><th scope="row" class="label">&lt;b&gt;</th>'
        '<td class="needs-judge" title="&quot;why&quot;">4&amp;2</td><td class="text">all</td></tr>\n'
        '<tr><th scope="row" class="label">&lt;b&gt;</th><td class="best">x</td>'
        '<td class="best text">x</td></tr>\n</tbody>\n'
    )


@pytest.mark.parametrize("more", [
    {"suite": "a\x1bb"}, {"suite": "a\x7f"}, {"suite": "a\u202eb"}, {"a\nb": 1}, {"error": " one\ntwo"},
    {"error": " one "}, {"command": "pdrop-eval results=x\udcff"},
])  # fmt: skip
def test_only_records_in_plain_letters_are_taken_as_they_are(more):
    assert runs._is_plain({"suite": "mini", "tasks": {"gqa": [1.5, None]}})
    record = {"run_id": "fastv", **more}
    assert not runs._is_plain(record)
    assert runs._visible(record) != record


def test_a_folder_of_any_name_is_told_as_it_is():
    folder = "Müller\udcff"  # a byte that is no UTF-8, as Python has it
    assert runs._is_plain({"suite": "mini", "folder": folder})
    assert runs._visible({"folder": folder}) == {"folder": folder}


def test_tangos_interval_solves_his_equation():
    """At each end the score is as large as the quantile: here of 10 gained and 4 lost of 60."""
    gained, lost, n, z = 10, 4, 60, 1.959964
    for end in tango(gained, lost, n, z):
        b = -(gained + lost) + (2 * n - gained + lost) * end
        share = ((b * b + 8 * n * lost * end * (1 - end)) ** 0.5 - b) / (4 * n)
        score = n * ((gained - lost) / n - end) / (n * (2 * share + end - end * end)) ** 0.5
        assert abs(score) == pytest.approx(z, abs=1e-9)
