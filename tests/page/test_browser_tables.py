"""Tables and charts in a real browser: order, intervals, published numbers, what fills a cell, zoom."""

import pytest


def column(tab, heading, table="table.data:not(.printed)"):
    """The texts of a column, by its heading, without rows that span others."""
    heads = [text.split()[0] for text in tab.texts(f"{table} thead th")]
    place = heads.index(heading)
    rows = tab.page.locator(f"{table} tbody tr:not(.group):not(.delta)").all()
    return [row.locator("th, td").nth(place).inner_text().strip().split()[0] for row in rows]


def test_a_click_on_a_heading_sorts_by_number_and_the_third_one_restores_the_order(tab):
    tab.open("#/records")
    before = column(tab, "GFLOPs")
    values = [float(text) for text in before]
    assert values != sorted(values)
    assert values != sorted(values, reverse=True)
    heading = tab.page.locator("th", has_text="GFLOPs")
    for state, expected in (
        ("descending", sorted(values, reverse=True)), ("ascending", sorted(values)), ("none", values),
    ):  # fmt: skip
        heading.get_by_role("button").click()
        tab.page.wait_for_selector(f"th[aria-sort={state}]:has-text('GFLOPs')")
        assert [float(text) for text in column(tab, "GFLOPs")] == expected


def test_the_keyboard_sorts_a_table_of_the_paper_and_keeps_its_place(tab):
    tab.open("#/tables/5")
    unsorted = column(tab, "GQA")
    tab.page.locator("[data-key=sort-gqa]").focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_selector("th[aria-sort=descending]")
    assert tab.page.evaluate("document.activeElement.dataset.key") == "sort-gqa"
    numbers = [text for text in column(tab, "GQA") if text != "missing"]
    assert numbers == ["75.0", "60.0", "60.0", "60.0"]
    assert column(tab, "GQA") != unsorted
    assert tab.page.locator(".scroll table:not(.printed) tr:is(.delta, .group)").count() == 0
    tab.page.get_by_role("button", name="Paper's order").click()
    tab.page.wait_for_selector("tr.group")
    assert column(tab, "GQA") == unsorted


def test_a_score_says_its_interval_on_focus_and_on_hover(tab):
    tab.open("#/tables/5")
    score = tab.page.get_by_role("link", name="75.0")
    score.focus()
    assert "95% interval 70.1 to 79.9; 20 questions" in tab.text("#tip")  # 75 ± 1.96 x 2.5
    assert score.get_attribute("aria-describedby") == "tip"
    tab.page.keyboard.press("Escape")
    assert tab.page.locator("#tip").is_hidden()
    score.hover()
    assert tab.page.locator("#tip").is_visible()


def test_intervals_and_published_numbers_come_with_words_that_tell_them_apart(tab):
    tab.open("#/tables/5")
    assert "published (7B)" in tab.text("table.data")
    assert "on the benchmarks themselves, and can't be compared with these" in tab.text(".under")
    rows = tab.texts("table.data:not(.printed) tbody tr:not(.group, .delta) th .kind")
    assert rows[-3:] == ["measured", "measured", "measured"]
    assert rows[0] == "not measured"  # LLaVA-NeXT's vanilla
    tab.page.get_by_label("95% intervals").check()
    tab.page.wait_for_selector("td .interval")
    assert "intervals=1" in tab.route
    row = tab.page.locator("tr", has=tab.page.get_by_role("link", name="75.0"))
    assert row.locator("th").inner_text().split("\n") == [
        "vanilla measured",
        "95% interval",
        "published (7B)",
    ]
    cell = tab.page.locator("td", has=tab.page.get_by_role("link", name="75.0")).inner_text()
    assert cell.split() == ["75.0", "70.1", "to", "79.9", "published:", "62.0"]  # GQA of LLaVA-1.5-7B
    tab.page.get_by_label("published numbers").uncheck()
    tab.until("!document.querySelector('.published')")
    tab.page.get_by_role("link", name="Table 1").click()
    tab.until("document.querySelector('h1').textContent.startsWith('Table 1')")
    assert tab.page.locator("table:not(.printed) .published").count() == 0  # the choice goes with the reader


def test_tables_of_several_suites_have_headings_that_tell_them_apart(tab):
    tab.open("#/tables/5")
    assert tab.page.locator("main h2").count() == 0
    tab.page.evaluate(
        """() => { const [part] = pdrop.index.tables[4].parts;
            pdrop.index.tables[4].parts.unshift({...part, suite: "paper"});
            location.hash = "#/tables/5?intervals=1"; }"""
    )
    tab.until("document.querySelector('main h2')")
    assert tab.texts("main h2") == [f"Measured: size mini576, suite {suite}" for suite in ("paper", "mini")]


def test_published_hours_say_what_they_are_hours_of(tab):
    tab.open("#/tables/1")
    cells = [cell for cell in tab.texts("td .published") if "hours" in cell]
    assert cells == [f"{hours} GPU hours" for hours in ("366", "218", "483", "269", "104", "79.0")]


def test_a_missing_cell_shows_the_command_that_fills_it(tab):
    tab.open("#/tables/5")
    missing = tab.page.get_by_role("button", name="missing").first
    missing.focus()
    tab.page.keyboard.press("Enter")
    assert "make eval STRATEGY=vanilla" in tab.text("dialog")
    tab.page.keyboard.press("Escape")
    tab.until("!document.querySelector('dialog')")
    assert tab.focused == "missing"


def test_a_number_leads_to_its_answers_and_a_row_to_its_record(tab):
    tab.open("#/tables/5")
    tab.page.get_by_role("link", name="75.0").click()
    tab.settle()
    assert tab.text("h1") == "Samples: GQA"
    tab.page.go_back()
    tab.page.wait_for_selector("table.data")
    tab.page.get_by_role("link", name="vanilla", exact=True).first.click()
    tab.settle()
    assert "pdrop-eval model=mini576 strategy=vanilla" in tab.text("pre")


def test_a_chart_zooms_and_its_numbers_stand_beneath_it(tab):
    tab.open("#/curves/all?y=gqa")
    tab.page.wait_for_selector(".chart[data-ready] .plotly")
    assert sorted(column(tab, "GQA")) == ["60.0", "60.0", "60.0", "75.0"]
    ranges = "document.querySelector('.chart').layout.xaxis.range.slice()"
    before = tab.page.evaluate(ranges)
    box = tab.page.locator(".chart .nsewdrag").bounding_box()
    tab.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.2 * box["height"])
    tab.page.mouse.down()
    tab.page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    tab.page.mouse.up()
    tab.until(f"{ranges}[1] < {before[1]} - 1e-9")
    after = tab.page.evaluate(ranges)
    assert after[1] - after[0] == pytest.approx(0.3 * (before[1] - before[0]), rel=0.05)


def test_a_figure_draws_only_own_files_and_no_edit_link(tab):
    tab.open("#/curves")
    tab.page.wait_for_selector(".chart[data-ready] .plotly")
    assert tab.page.locator(".modebar-btn[data-title*='dit']").count() == 0
    assert tab.page.locator("main table.data").count() >= 1


def test_numbers_are_rounded_as_in_the_other_tables(tab):
    values = [66.25, 66.35, 66.75, -6.25, 0.15, 0.05, -0.04, 1016.6666, 2.5, 100.0, 1e-9]
    tab.open()
    for digits in (0, 1, 2):
        shown = tab.page.evaluate("([v, d]) => v.map((x) => pdrop.words.fixed(x, d))", [values, digits])
        expected = [f"{value:.{digits}f}" for value in values]
        plain = [text.lstrip("-") if float(text) == 0 else text for text in expected]
        assert [text.replace("\N{MINUS SIGN}", "-") for text in shown] == plain


@pytest.mark.slow
def test_a_long_table_is_read_when_it_is_looked_at_and_is_the_same(
    chromium_started, recorded, tmp_path, monkeypatch
):
    from browsing import Results
    from browsing import tab as open_tab

    from pdrop_eval.report.site.build import Sources, make_page
    from pdrop_eval.report.site.data import tables

    seen = {}
    for most in (200, 0):
        monkeypatch.setattr(tables, "MOST_ROWS", most)
        site = tmp_path / f"site{most}"
        make_page(Sources(recorded / "runs", recorded / "data", tmp_path / "none", pictures=0), site)
        assert (site / "data" / "tables" / "table5.js").is_file() is (most == 0)
        with open_tab(chromium_started, Results(site, {})) as tab:
            tab.open("#/tables/5")
            tab.page.wait_for_selector("table.data tbody tr")
            seen[most] = tab.texts("main tbody tr")
            tab.page.locator("[data-key=sort-gqa]").click()
            tab.page.wait_for_selector("th[aria-sort=descending]")
            tab.open("#/tables/4")
            tab.page.wait_for_selector("table.data tbody tr")
            assert tab.page.locator(".loading").count() == 0
    assert seen[200] == seen[0]
    assert len(seen[0]) > 3
