"""Comparisons in a real browser: numbers that follow from the answers, and what happens without a file."""

import math
import re
import shutil

import pytest
from browsing import Results
from browsing import tab as open_tab

from pdrop_eval.benchmarks.scoring.interval import Spread, possible


def compare(tab, one="mini vanilla", two="mini pdrop", path=""):
    keys = tab.results.keys
    return tab.open(f"#/compare{path}?a={keys[one]}&b={keys[two]}")


def test_the_comparison_shows_the_differences_that_follow_from_the_answers(tab):
    compare(tab)
    tab.page.wait_for_selector("[data-done=yes]")
    row = (
        tab.page.locator("table.compare tr", has_text=re.compile("^GQA")).locator("th, td").all_inner_texts()
    )
    # 15 and 12 of 20 are right; 10 to 14 are lost, 15 and 16 gained
    assert row[:4] == ["GQA", "75.0", "60.0", "\N{MINUS SIGN}15.0"]
    assert row[5:8] == ["20", "5", "2"]
    # seven answers of changed score, all others equal; the wrong ones say the same
    assert row[8] == "7 (35%)"
    mean = -3 / 20
    squares = 5 * (-1 - mean) ** 2 + 2 * (1 - mean) ** 2 + 13 * mean**2
    error = 100 * math.sqrt(squares * 20 / 19) / 20
    low, high = Spread(-15.0, error, 35.0, 5.0, 20, 20, 19.0).interval()
    shown = [float(text.replace("\N{MINUS SIGN}", "-")) for text in row[4].split(" to ")]
    assert shown == [pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05)]


def test_a_sum_has_a_difference_but_no_interval_of_this_page(tab):
    compare(tab)
    tab.page.wait_for_selector("[data-done=yes]")
    row = (
        tab.page.locator("table.compare tr", has_text=re.compile("^MME")).locator("th, td").all_inner_texts()
    )
    assert row[3] == "+0.0"
    assert "a sum, not a mean" in row[4]
    row = (
        tab.page.locator("table.compare tr", has_text=re.compile("^InfoVQA"))
        .locator("th, td")
        .all_inner_texts()
    )
    assert row[3] == "\N{EN DASH}"
    assert "the candidate has not run it" in row[4]


def test_the_interval_is_that_of_the_project_also_with_clusters_and_without_changes(tab):
    tab.open()
    ask = "([changes, labels]) => pdrop.statistics.paired(changes, labels)"
    labels = ["a", "a", "a", "b", "b", "c", "d", "d"]
    found = tab.page.evaluate(ask, [[1, 1, 0, -1, 0, 0, 0.5, 0], labels])
    sums, sizes, mean = [2, -1, 0, 0.5], [3, 2, 1, 2], 1.5 / 8
    squares = sum((s - mean * n) ** 2 for s, n in zip(sums, sizes, strict=True))
    assert found["difference"] == pytest.approx(100 * mean)
    assert found["clusters"] == 4
    assert found["error"] == pytest.approx(100 * math.sqrt(squares * 4 / 3) / 8)
    spread = Spread(18.75, found["error"], 100 * 3.5 / 8, 100 * 3 / 8, 8, 4, 3.0)
    assert found["interval"] == pytest.approx(possible(spread.interval()), abs=0.01)
    still = tab.page.evaluate(ask, [[0] * 8, labels])
    bound = 100 * 3 / 8 * 4 * (1 - 0.025 ** (1 / 4))
    assert still["interval"] == pytest.approx([-min(bound, 100), min(bound, 100)])


def test_answers_without_a_score_are_neither_lost_nor_gained(tab):
    tab.open()
    found = tab.page.evaluate(
        """() => {
            const mmvet = {samples: true, set: "s", chunks: 1, score: null, n: 4};
            const run = (key) => ({key, scores: {mmvet}});
            const { task } = pdrop.index.benchmarks.mmvet;
            const answers = (...scores) => scores.map((score) => ["x", score, 1, null, null, null]);
            const asked = (id) => ({id, prompt: "?", hash: `${id}`, pictures: []});
            pdrop.put("questions/s/0", [0, 1, 2, 3].map(asked));
            pdrop.put(`answers/one/${task}/0`, answers(null, 1, 0.5, null));
            pdrop.put(`answers/two/${task}/0`, answers(0.5, null, 0, null));
            pdrop.put(`answers/three/${task}/0`, answers(null, null, null, null));
            return Promise.all(["two", "three"].map((key) =>
                pdrop.pairs.compare(run("one"), run(key), "mmvet", () => false)));
        }"""
    )
    assert [(one["n"], one["lost"], one["gained"]) for one in found] == [(4, 1, 0), (4, None, None)]


def test_without_answers_a_difference_needs_the_same_questions(tab):
    tab.open()
    ask = """([a, b]) => {
        const run = (change) => ({key: "x", scores: {gqa: {
            score: 50, n: 20, samples: true, set: "s", data: "d", chunks: 1, ...change}}});
        return pdrop.pairs.compare(run(a), run({score: 60, ...b}), "gqa", () => false);
    }"""
    none = {"samples": False, "set": None}
    unknown = "the answers are not recorded, and nothing says that both runs had the same questions"
    for a, b, difference, why in (
        (none, none, 10, "the answers are not recorded"),
        ({}, none, 10, "the answers are not recorded"),
        (none, {}, 10, "the answers are not recorded"),
        (none, {**none, "n": 4}, None, unknown),
        ({"n": 4}, none, None, unknown),
        ({}, {**none, "data": "e"}, None, unknown),
        ({**none, "data": None}, {**none, "data": None}, None, unknown),
        ({}, {"set": "t"}, None, "the runs were asked other questions"),
    ):
        found = tab.page.evaluate(ask, [a, b])
        assert (found["difference"], found["why"]) == (difference, why), (a, b)


def test_runs_are_swapped_and_searched(tab):
    keys = tab.results.keys
    compare(tab)
    tab.page.get_by_role("button", name="Swap").click()
    tab.until(f"location.hash.includes('b={keys['mini vanilla']}')")
    tab.page.wait_for_selector("[data-done=yes]")
    assert "+15.0" in tab.text("table.compare")
    field = tab.page.get_by_role("combobox", name="Candidate")
    field.click()
    field.press_sequentially("fastv")
    assert tab.page.get_by_role("option").count() == 1
    field.press("ArrowDown")
    field.press("Enter")
    tab.until(f"location.hash.includes('b={keys['mini fastv']}')")
    assert f"pdrop-eval-compare baseline=mini/{keys['mini pdrop'].split('.')[1]}" in tab.text("pre")


def test_changed_answers_are_filtered_and_lead_to_both_overlays(tab):
    compare(tab, path="/gqa")
    for kind, many in (("lost", 5), ("gained", 2), ("changed", 7), ("same", 13), ("all", 20)):
        tab.page.get_by_label("Answers", exact=True).select_option(kind)
        tab.until(f"document.querySelectorAll('li.card').length === {many}")
    tab.page.get_by_label("Answers", exact=True).select_option("lost")
    tab.until("document.querySelectorAll('li.card').length === 5")
    tab.page.locator("li.card p a").first.click()
    tab.settle()
    assert tab.text("h1") == "GQA 10"
    assert tab.page.locator(".panel").count() == 2
    tab.page.go_back()
    tab.until("document.querySelectorAll('li.card').length === 5")


def test_a_missing_file_is_named_and_the_rest_goes_on(chromium_started, page_results, tmp_path):
    folder = shutil.copytree(page_results.folder, tmp_path / "copy")
    lost = folder / "data" / "answers" / page_results.keys["mini pdrop"] / "gqa-0.js"
    lost.unlink()
    with open_tab(chromium_started, Results(folder, page_results.keys)) as tab:
        tab.expected = lost.name
        tab.open(f"#/samples/{page_results.keys['mini pdrop']}/gqa")
        assert lost.name in tab.text("[role=alert]")
        assert "missing" in tab.text("[role=alert]")
        tab.open("#/compare")
        tab.page.wait_for_selector("[data-done=yes]")
        assert "is missing" in tab.text("table.compare")
        tab.page.click("#views a[data-view=records]")
        assert tab.settle().text("h1") == "Records"


def test_a_missing_index_is_said(chromium_started, page_results, tmp_path):
    folder = tmp_path / "bare"
    folder.mkdir()
    shutil.copytree(page_results.folder / "assets", folder / "assets")
    shutil.copy(page_results.folder / "index.html", folder)
    with open_tab(chromium_started, Results(folder, {})) as tab:
        tab.expected = "index.js"
        assert "data/index.js is missing" in tab.open().text("[role=alert]")
