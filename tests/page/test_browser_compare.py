"""Comparisons in a real browser: numbers that follow from the answers, and what happens without a file."""

import re
import shutil

import pytest
from browsing import QUESTIONS, Results, _graded
from browsing import tab as open_tab
from paging import build
from synthetic import header, samples, write_data, write_run

from pdrop_eval.benchmarks.scoring.difference import tango


def compare(tab, one="mini576 vanilla", two="mini576 pdrop", path=""):
    keys = tab.results.keys
    return tab.open(f"#/compare{path}?a={keys[one]}&b={keys[two]}")


def line(tab, name):
    """A benchmark's cells."""
    row = tab.page.locator("table.compare tr", has_text=re.compile(f"^{name}"))
    return row.locator("th, td").all_inner_texts()


def ends(cell):
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in cell.split(" to ")]


def test_the_comparison_shows_the_differences_that_follow_from_the_answers(tab):
    compare(tab)
    tab.page.wait_for_selector("[data-done=yes]")
    row = line(tab, "GQA")
    # 15 and 12 of 20 are right; 10 to 14 are lost, 15 and 16 gained
    assert row[:4] == ["GQA", "75.0", "60.0", "\N{MINUS SIGN}15.0"]
    assert row[5:8] == ["20", "5", "2"]
    # seven answers of changed score, all others equal; the wrong ones say the same
    assert row[8] == "7 (35%)"
    # Tango's interval of 2 gained and 5 lost of 20, with Student's quantile of 19 degrees of freedom; a
    # little wider, as the sample's variance divides by 19
    low, high = tango(2, 5, 20, 2.093)
    assert ends(row[4]) == [pytest.approx(100 * low, abs=1.2), pytest.approx(100 * high, abs=1.2)]
    assert ends(row[4])[0] < 100 * low
    assert ends(row[4])[1] > 100 * high


def test_the_other_way_round_the_interval_is_the_same(tab):
    compare(tab)
    tab.page.wait_for_selector("[data-done=yes]")
    there = ends(line(tab, "GQA")[4])
    compare(tab, "mini576 pdrop", "mini576 vanilla")
    tab.page.wait_for_selector("[data-done=yes]")
    assert ends(line(tab, "GQA")[4]) == [-there[1], -there[0]]


def test_of_runs_of_other_limits_the_common_questions_are_compared_and_said_once(
    chromium_started, tmp_path, monkeypatch
):
    made = mixed_results(tmp_path, monkeypatch)
    with open_tab(chromium_started, made) as tab:
        tab.open("#/compare").page.wait_for_selector("[data-done=yes]")
        chosen = [one.input_value() for one in tab.page.get_by_role("combobox").all()]
        # FastV answered all questions as vanilla did, PDrop ten of them: what shares more is opened
        assert chosen == [
            "LLaVA-1.5 mini576 \N{EN DASH} vanilla",
            "LLaVA-1.5 mini576 \N{EN DASH} FastV K=2 R=0.5",
        ]
        assert "unpaired" not in tab.text("pre")
        compare(tab)
        tab.page.wait_for_selector("[data-done=yes]")
        row = line(tab, "GQA")
        # of the first ten questions, vanilla has ten right, PDrop ten
        assert row[1:4] == ["100.0", "100.0", "+0.0"]
        assert row[5] == "10"
        (said,) = tab.texts(".reason")
        assert "the baseline 20 a benchmark, the candidate 10." in said
        assert tab.text("pre").endswith("unpaired=leave_out")


def mixed_results(folder, monkeypatch):
    """Vanilla and FastV on all questions of GQA and MME, PDrop on ten of each."""
    for name in ("PDROP_EVAL_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(folder / "empty"))
    hashes = {task: write_data(folder / "data", task, [*range(QUESTIONS)]) for task in ("gqa", "mme")}
    keys = {}
    for strategy, limit in (("vanilla", None), ("fastv", None), ("pdrop", 10)):
        asked = {
            "gqa": (_graded("mini576", strategy, [*range(QUESTIONS)])[:limit], hashes["gqa"]),
            "mme": (samples("mini576", "vanilla", "mme", [*range(QUESTIONS)])[:limit], hashes["mme"]),
        }
        made = write_run(
            folder / "runs", "mini576", strategy, asked, head=header("mini576", strategy, limit=limit)
        )
        keys[f"mini576 {strategy}"] = f"mini576.{made.name}"
    build(folder)
    return Results(folder / "site", keys)


def test_a_sum_has_an_interval_and_what_was_not_run_a_reason(tab):
    compare(tab)
    tab.page.wait_for_selector("[data-done=yes]")
    row = line(tab, "MME")
    assert row[3] == "+0.0"
    low, high = ends(row[4])
    assert low < 0 < high
    low, high = ends(line(tab, "Mean")[4])
    assert low < 0 < high
    row = line(tab, "InfoVQA")
    assert row[3] == "\N{EN DASH}"
    assert row[4] == "\N{EN DASH}"
    assert tab.texts(".reason") == ["No difference of InfoVQA: the candidate has not run it."]


def test_runs_that_were_not_compared_have_a_difference_and_the_command(tab):
    compare(tab, "mini576 pdrop", "mini576 fastv")
    tab.page.wait_for_selector("[data-done=yes]")
    row = line(tab, "GQA")
    assert row[3] not in ("", "\N{EN DASH}")
    assert row[4] == "\N{EN DASH}"
    assert "pdrop-eval-compare baseline=mini576/" in tab.text("pre")


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
                pdrop.pairs.compare(run("one"), run(key), "mmvet", null, () => false)));
        }"""
    )
    assert [(one["n"], one["lost"], one["gained"]) for one in found] == [(4, 1, 0), (4, None, None)]


def test_without_answers_a_difference_needs_the_same_questions(tab):
    tab.open()
    ask = """([a, b]) => {
        const run = (change) => ({key: "x", scores: {gqa: {
            score: 50, n: 20, samples: true, set: "s", data: "d", chunks: 1, ...change}}});
        return pdrop.pairs.compare(run(a), run({score: 60, ...b}), "gqa", null, () => false);
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
    tab.until(f"location.hash.includes('b={keys['mini576 vanilla']}')")
    tab.page.wait_for_selector("[data-done=yes]")
    assert "+15.0" in tab.text("table.compare")
    field = tab.page.get_by_role("combobox", name="Candidate")
    field.click()
    field.press_sequentially("fastv")
    assert tab.page.get_by_role("option").count() == 1
    field.press("ArrowDown")
    field.press("Enter")
    tab.until(f"location.hash.includes('b={keys['mini576 fastv']}')")
    assert f"pdrop-eval-compare baseline=mini576/{keys['mini576 pdrop'].split('.')[1]}" in tab.text("pre")


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
    lost = folder / "data" / "answers" / page_results.keys["mini576 pdrop"] / "gqa-0.js"
    lost.unlink()
    with open_tab(chromium_started, Results(folder, page_results.keys)) as tab:
        tab.expected = lost.name
        tab.open(f"#/samples/{page_results.keys['mini576 pdrop']}/gqa")
        assert lost.name in tab.text("[role=alert]")
        assert "missing" in tab.text("[role=alert]")
        tab.open("#/compare")
        tab.page.wait_for_selector("[data-done=yes]")
        compare(tab)
        tab.page.wait_for_selector("[data-done=yes]")
        assert "is missing" in " ".join(tab.texts(".reason"))
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
