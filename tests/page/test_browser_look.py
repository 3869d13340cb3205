"""How the page looks in a real browser: themes, contrast, focus, print, and addresses opened anew."""

import pytest
from browsing import PHONE
from browsing import tab as open_tab

ROUTES = ("#/tables/5?published=1&intervals=1", "#/curves/all", "#/efficiency", "#/compare", "#/records")
# Every visible piece of text with too little contrast to what is behind it: [text, ratio].
FAINT = """() => {
    const parse = (text) => {
        const m = /rgba?\\(([^)]*)\\)/.exec(text);
        return m ? m[1].split(/[, /]+/).map(Number) : [0, 0, 0, 0];
    };
    const linear = (c) => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] === 1) return colour;
        }
        return [255, 255, 255];
    };
    const found = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility({checkVisibilityCSS: true})) continue;
        if (element.closest(".hidden, svg, script, style, noscript")) continue;
        seen += 1;
        const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio >= 4.5 || element.closest(".arrow")) continue;
        found.push([walker.currentNode.data.trim().slice(0, 40), Math.round(100 * ratio) / 100]);
    }
    return [seen, found];
}"""


# Every pair of visible texts of which one goes on where the other ends, as seen or as copied.
TOUCHING = r"""() => {
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const nodes = [], found = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.length || !element.checkVisibility({checkVisibilityCSS: true})) continue;
        if (!element.closest(".hidden, svg, script, style, noscript, select")) nodes.push(walker.currentNode);
    }
    const range = document.createRange();
    const box = (node, start) => {
        range.setStart(node, start);
        range.setEnd(node, start + 1);
        return range.getBoundingClientRect();
    };
    for (let place = 0; place + 1 < nodes.length; place += 1) {
        const [one, two] = [nodes[place], nodes[place + 1]];
        if (/[\s(\[/"“$<]$/.test(one.data) || /^[\s.,;:)\]/"”?!%*]/.test(two.data)) continue;
        const [end, start] = [box(one, one.length - 1), box(two, 0)];
        const beside = Math.abs(end.top - start.top) < 4 && Math.abs(start.left - end.right) < 2;
        range.setStart(one, one.length - 1);
        range.setEnd(two, 1);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        const copied = getSelection().toString();
        getSelection().removeAllRanges();
        if (beside || !/\s/.test(copied)) found.push([one.data.slice(-20), two.data.slice(0, 20)]);
    }
    return [nodes.length, found];
}"""


def all_routes(results):
    key = results.keys["mini576 pdrop"]
    return [*ROUTES, f"#/records/{key}", f"#/samples/{key}/gqa", f"#/samples/{key}/gqa/0", "#/compare/gqa"]


@pytest.mark.parametrize("width", [1280, 390])
def test_no_words_touch_in_any_view(chromium_started, page_results, width):
    with open_tab(chromium_started, page_results, viewport={"width": width, "height": 800}) as tab:
        tables = [f"#/tables/{number}?intervals=1" for number in "1234"]
        for route in [*all_routes(page_results), *tables, "#/curves", "#/samples"]:
            tab.open(route)
            seen, touching = tab.page.evaluate(TOUCHING)
            assert seen > 12
            assert touching == [], route
        # the test itself: two texts without a space are found
        tab.page.evaluate("document.querySelector('h1').insertAdjacentHTML('beforeend', '<b>x</b><i>y</i>')")
        assert ["x", "y"] in tab.page.evaluate(TOUCHING)[1]


def test_lines_that_would_be_empty_in_a_whole_row_are_left_out(tab):
    tab.open("#/tables/1?published=1&intervals=1")
    rows = tab.page.locator("table.data tbody tr:not(.group, .delta)")
    measured = [bool(rows.nth(one).locator("th a").count()) for one in range(rows.count())]
    assert {*measured} == {True, False}
    for one, known in enumerate(measured):
        cells = rows.nth(one).locator("> *").count()
        assert rows.nth(one).locator(".interval").count() == (cells if known else 0), one
    tab.open("#/tables/field?published=1")  # nothing is printed of it
    assert "published numbers" not in tab.text("main")
    assert tab.page.locator("table.data .published").count() == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_text_that_is_seen_has_enough_contrast(chromium_started, page_results, theme):
    with open_tab(chromium_started, page_results, color_scheme=theme) as tab:
        for route in all_routes(page_results):
            tab.open(route)
            seen, faint = tab.page.evaluate(FAINT)
            assert seen > 12
            assert faint == [], route


def test_the_page_is_dark_where_the_system_is_and_the_choice_is_remembered(chromium_started, page_results):
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    with open_tab(chromium_started, page_results, color_scheme="dark") as tab:
        tab.open()
        dark = tab.page.evaluate(ground)
        tab.page.get_by_role("button", name="Switch to the light page").click()
        light = tab.page.evaluate(ground)
        assert dark != light
        tab.open("#/records")
        assert tab.page.evaluate(ground) == light
        tab.page.emulate_media(media="print")
        assert tab.page.evaluate("document.documentElement.dataset.theme") == "light"


def test_print_is_light_and_without_controls(chromium_started, page_results):
    with open_tab(chromium_started, page_results, color_scheme="dark") as tab:
        tab.open("#/tables/5")
        tab.page.emulate_media(media="print")
        tab.until("document.documentElement.dataset.theme === 'light'")
        assert not tab.page.locator("header.site").is_visible()
        assert tab.page.locator("table.data").first.is_visible()


def test_what_has_the_focus_is_outlined(tab):
    tab.open("#/tables/5?published=1")
    plain = 0
    for _ in range(25):
        tab.page.keyboard.press("Tab")
        plain += tab.page.evaluate(
            """() => { const style = getComputedStyle(document.activeElement);
                return style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2; }"""
        )
    assert plain == 0


def test_every_control_has_a_name_and_every_view_one_heading(tab):
    nameless = """() => [...document.querySelectorAll(':is(main, header) :is(input, select, button, a)')]
        .filter((e) => !(e.labels && e.labels.length) && !e.innerText.trim())
        .filter((e) => !e.getAttribute('aria-label') && e.getAttribute('aria-hidden') !== 'true')
        .map((e) => e.outerHTML.slice(0, 100))"""
    for route in all_routes(tab.results):
        tab.open(route)
        assert tab.page.evaluate(nameless) == []
        assert tab.page.locator("h1").count() == 1
        assert tab.page.locator("main").count() == tab.page.locator("header nav").count() == 1
        assert tab.page.evaluate(
            """() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
                return new Set(ids).size === ids.length; }"""
        )


def test_a_deep_link_shows_the_same_after_a_reload(tab):
    key, other = tab.results.keys["mini576 pdrop"], tab.results.keys["mini576 fastv"]
    for route in (
        f"#/samples/{key}/gqa/4?with={other}&layer=4&outline=1",
        f"#/samples/{key}/gqa?show=wrong&q=picture",
        "#/tables/5?sort=gqa&dir=asc&intervals=1",
        f"#/compare/gqa?a={key}&b={other}&show=gained",
    ):
        tab.open(route)
        before = tab.text("main")
        tab.page.reload()
        tab.settle()
        assert tab.text("main") == before
        assert tab.route == route


def test_a_phone_keeps_the_names_of_rows_in_sight(chromium_started, page_results):
    with open_tab(chromium_started, page_results, viewport=PHONE) as tab:
        tab.open("#/tables/5")
        box = tab.page.locator(".scroll").first
        box.evaluate("(e) => e.scrollTo(300, 0)")
        assert box.evaluate("(e) => e.scrollLeft") > 100
        name = tab.page.locator("tbody th[scope=row]").first.bounding_box()
        assert name["x"] >= 0
        assert name["width"] < PHONE["width"] / 1.6


@pytest.mark.parametrize(("motion", "moves"), [("reduce", False), ("no-preference", True)])
def test_nothing_moves_where_less_motion_is_asked_for(chromium_started, page_results, motion, moves):
    with open_tab(chromium_started, page_results, reduced_motion=motion) as tab:
        tab.open("#/tables/5")
        tab.page.evaluate("() => { document.querySelector('h1').style.transition = 'color 3s'; }")
        moving = """[...document.querySelectorAll('*')].some(
            (e) => parseFloat(getComputedStyle(e).transitionDuration) > 0)"""
        assert tab.page.evaluate(moving) is moves
