"""Thousands of rows in a real browser: a few are drawn, and all can be sorted, found, shown and printed."""

import pytest

MANY = """() => {
    const table = pdrop.index.tables.find((one) => one.number === 5);
    const [part] = table.parts.filter((one) => one.source === "measured");
    const row = part.groups.flatMap((group) => group.rows).find((one) => one.run);
    const rows = (name, many) => Array.from({length: many}, (_, i) => (
        {...row, labels: [name, `s${i}`], cells: {...row.cells, gqa: {...row.cells.gqa, score: i / 10}}}));
    const group = (many) => ({name: "M", beyond: false, rows: rows("M", many), delta: null});
    const made = (size, many) => ({...part, size, groups: [group(many)]});
    table.parts = [made("big", 240), made("mid", 12), made("low", 14)];
    location.hash = "#/tables/5?published=0";
}"""
ROWS = "document.querySelectorAll('main tbody tr:not(.group)').length"


@pytest.fixture
def many(tab):
    tab.open("#/tables/1")
    tab.page.evaluate(MANY)
    tab.until("document.querySelector('h1').textContent.startsWith('Table 5')")
    return tab


def told(tab):
    return tab.text(".controls .count span")


def shown(tab):
    return tab.page.evaluate(ROWS)


def test_the_first_rows_are_drawn_and_the_others_said(many):
    assert (told(many), shown(many)) == ("200 of 266 rows are shown.", 200)
    folded = [text.split(" \N{EN DASH} ") for text in many.texts("main details > summary")]
    assert folded == [
        ["Measured: size mid, suite mini", "12 rows"], ["Measured: size low, suite mini", "14 rows"],
    ]  # fmt: skip


def test_sorting_and_searching_are_of_all_rows(many):
    many.page.locator("[data-key=sort-gqa]").first.click()
    many.page.wait_for_selector("th[aria-sort=descending]")
    assert "23.9" in many.text("main tbody tr").split()  # of 0.0 to 23.9
    many.page.get_by_label("Search rows").fill("S23 big")
    many.until("document.querySelector('.controls .count').textContent.includes('search')")
    assert told(many) == "11 of 266 rows fit the search."  # s23, s230 to s239
    assert shown(many) == 11
    assert many.page.evaluate("document.activeElement.dataset.key") == "search-q"
    many.page.get_by_label("Search rows").fill("nothing has this")
    many.until("!document.querySelector('main tbody')")
    assert told(many) == "None of 266 rows fits the search."


def test_keys_show_the_rest_which_stays_when_the_view_is_drawn_anew(many):
    many.page.get_by_role("button", name="Show all 240 rows of this table").press("Enter")
    assert (told(many), shown(many)) == ("240 of 266 rows are shown.", 240)
    assert many.focused == many.page.evaluate(
        "document.querySelectorAll('main tbody tr:not(.group)')[200].querySelector('a').innerText"
    )
    many.page.locator("summary", has_text="size mid").press("Enter")
    many.until(f"{ROWS} === 252")
    assert told(many) == "252 of 266 rows are shown."
    many.page.get_by_label("95% intervals").check()
    many.until("document.querySelector('td .interval')")
    assert shown(many) == 252
    many.page.get_by_role("button", name="Show all 266 rows").press("Enter")
    many.until(f"{ROWS} === 266")
    assert (told(many), many.focused) == ("All 266 rows are shown.", "Show fewer")
    assert "rows=all" in many.route


def test_print_has_all_rows(many):
    printed = many.page.pdf()
    assert printed.count(b"/Type /Page\n") >= 6  # of which each has about 40 rows
    assert (told(many), shown(many)) == ("All 266 rows are shown.", 266)
    assert many.page.locator("main details:not([open])").count() == 0
