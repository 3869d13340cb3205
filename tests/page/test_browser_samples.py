"""Samples in a real browser: retained tokens as they are drawn, other runs beside them, hostile answers."""

import pytest
from browsing import HOSTILE, HOSTILE_FOLD, HOSTILE_PROMPT, KEPT, QUESTIONS, RIGHT, Results
from browsing import tab as open_tab
from paging import build
from synthetic import header, samples, write_data, write_run

from pdrop_eval.models.pictures.token_grid import Grid, cells
from pdrop_eval.records.token_mask import pack

OPACITY = round(0.8 * 255)  # of the veil, as it is at first


def veil(tab, part, row, column, grid):
    """How opaque the canvas of a part is in the middle of a token, 0 to 255."""
    return tab.page.evaluate(
        """([part, x, y]) => {
            const canvas = document.querySelector(`[data-part=${part}] canvas`);
            const [left, top] = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];
            return canvas.getContext("2d").getImageData(left, top, 1, 1).data[3];
        }""",
        [part, (column + 0.5) / grid.columns, (row + 0.5) / grid.rows],
    )


def sample(tab, name, place, tail=""):
    return tab.open(f"#/samples/{tab.results.keys[name]}/gqa/{place}{tail}")


def test_the_slider_moves_through_the_drops_and_the_picture_follows(tab):
    sample(tab, "mini576 pdrop", 0, "?layer=0")
    grid = Grid(0, "whole", (0, 0, 1, 1), 12, 12)
    slider = tab.page.get_by_label("Decoder layer")
    assert tab.text("#stage-says") == "from layer 0 on: 144 of 144 image tokens"
    assert {veil(tab, "whole", row, 5, grid) for row in range(12)} == {0}
    for layer, many in KEPT:
        slider.press("ArrowRight")
        assert tab.text("#stage-says") == f"from layer {layer} on: {many} of 144 image tokens"
        assert slider.get_attribute("aria-valuetext") == tab.text("#stage-says")
        for row in range(12):
            for column in (0, 4, 8, 11):
                expected = 0 if row * 12 + column < many else OPACITY
                assert veil(tab, "whole", row, column, grid) == expected
        assert f"layer={layer}" in tab.route
    assert "72 of 144" in tab.open(tab.route.replace("layer=6", "layer=3")).text("#stage-says")


def test_the_veil_covers_the_picture_that_is_seen(tab):
    sample(tab, "mini576 pdrop", 0, "?layer=4&veil=100")
    tab.until("document.querySelector('.frame img').naturalWidth > 0")
    import io

    from PIL import Image

    shot = Image.open(io.BytesIO(tab.page.locator(".frame").screenshot())).convert("RGB")
    kept, dropped = shot.getpixel((shot.width // 2, 8)), shot.getpixel((shot.width // 2, shot.height - 12))
    assert max(dropped) < 40
    assert max(kept) > 150  # the synthetic pictures are bright


def test_each_token_of_overview_and_tiles_is_in_its_place(tab):
    sample(tab, "mini576_next_p5 pdrop", 1, "?layer=4")
    question, answer = tab.page.evaluate(
        """() => { const run = pdrop.runs.get(location.hash.split("/")[2]);
            const names = [`questions/${run.scores.gqa.set}/0`, `answers/${run.key}/gqa/0`];
            return Promise.all(names.map(pdrop.load))
                .then(([questions, answers]) => [questions[1], answers[1]]); }"""
    )
    from pdrop_eval.records.token_mask import unpack

    grids = [Grid.from_list(values) for values in question["grids"][answer[5]]]
    bits = unpack(dict(answer[3])[4], sum(grid.tokens for grid in grids))
    assert [grid.part for grid in grids] == ["overview", "tiles"]
    places = zip(cells(grids), bits, strict=True)
    counts = {part: [0, 0] for part in ("overview", "tiles")}
    seen, first = 0, 0
    for token, ((number, box), stays) in enumerate(places):
        grid = grids[number]
        first = 0 if number == 0 else grids[0].tokens
        counts[grid.part][box is None] += stays
        row, column = divmod(token - first, grid.columns + grid.newline)
        if box is not None and token % 7 == 0:
            assert veil(tab, grid.part, row, column, grid) == (0 if stays else OPACITY)
            seen += 1
    assert seen > 50
    captions = tab.texts("figcaption")
    assert captions[0].startswith(f"overview: {counts['overview'][0]} of 144 tokens")
    tiles = grids[1]
    assert captions[1] == (
        f"tiles: {counts['tiles'][0]} of {tiles.rows * tiles.columns} tokens in {tiles.rows} rows of "
        f"{tiles.columns}, and {counts['tiles'][1]} of {tiles.rows} newline tokens"
    )


def test_other_runs_are_shown_beside_it_and_taken_away_again(tab):
    sample(tab, "mini576 pdrop", 0)
    field = tab.page.get_by_role("combobox", name="Show another run")
    field.focus()
    field.press_sequentially("next pdrop")
    field.press("ArrowDown")
    field.press("Enter")
    tab.until("document.querySelectorAll('.panel').length === 2")
    tab.settle()
    assert tab.page.locator("canvas").count() == 3  # one picture, and overview and tiles
    assert tab.results.keys["mini576_next_p5 pdrop"] in tab.route
    tab.page.get_by_role("button", name="Take").click()
    tab.until("document.querySelectorAll('.panel').length === 1")


def test_nothing_is_dropped_by_vanilla_and_what_is_not_recorded_is_said(tab):
    assert "nothing is dropped" in sample(tab, "mini576 vanilla", 0).text(".stage")
    tab.open(f"#/samples/{tab.results.keys['mini576 vanilla']}/infovqa/7")
    assert "Nothing is dropped" in tab.text("main")
    assert "picture" in tab.text(".nothing").lower()
    tab.open(f"#/samples/{tab.results.keys['mini576 vanilla']}/gqa")
    assert "Nothing is dropped." in tab.text(".under")
    key = tab.results.keys["mini576 pdrop"]
    tab.page.evaluate(
        """(key) => pdrop.load(`answers/${key}/gqa/0`).then((answers) => {
            answers[0][3] = null;
            location.hash = `#/samples/${key}/gqa/0`; })""",
        key,
    )
    assert "no overlay recorded" in tab.settle().text("main")


def test_a_question_has_the_name_that_the_command_line_takes(tab):
    sample(tab, "mini576 fastv", 4)
    assert tab.text("h1") == "GQA 4"
    tab.until("document.querySelector('.paging a')")
    assert "5 of 20" in tab.text(".paging")
    called = ".venv/bin/pdrop-eval-show sample=gqa:4"
    assert tab.text(".drawing pre") == f"{called} strategy=fastv model=mini576 suite=mini"
    sample(tab, "mini576 fastv", 4, f"?with={tab.results.keys['mini576 pdrop']}")
    assert tab.texts(".drawing pre") == [f"{called} strategy=fastv,pdrop model=mini576 suite=mini"]
    sample(tab, "mini576 fastv", 4)
    assert "(up to 3)" in tab.text(".beside")
    tab.page.evaluate(
        """(key) => { pdrop.have(`questions/${pdrop.runs.get(key).scores.gqa.set}/0`)[5].id = 77;
            location.hash = `#/samples/${key}/gqa/5`; }""",
        tab.results.keys["mini576 fastv"],
    )
    tab.until("document.querySelector('h1').textContent === 'GQA 77'")
    assert tab.page.title().startswith("GQA 77 ")
    assert "sample=gqa:77" in tab.text(".drawing pre")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_missing_picture_is_said_above_the_veil(chromium_started, page_results, theme):
    with open_tab(chromium_started, page_results, color_scheme=theme) as tab:
        sample(tab, "mini576 pdrop", 0)
        tab.page.evaluate(
            """(key) => { const { set } = pdrop.runs.get(key).scores.gqa;
                pdrop.have(`questions/${set}/0`)[1].pictures = [null];
                location.hash = `#/samples/${key}/gqa/1?veil=100`; }""",
            tab.results.keys["mini576 pdrop"],
        )
        tab.until("document.querySelector('.frame .message')")
        assert "not there" in tab.text(".frame .message")
        assert (
            tab.page.evaluate(
                """() => { const box = document.querySelector(".frame .message").getBoundingClientRect();
                const canvas = document.querySelector(".frame canvas");
                canvas.style.pointerEvents = "auto";
                const top = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
                return top.className; }"""
            )
            == "message"
        )


def test_answers_that_look_like_markup_are_text(tab):
    sample(tab, "mini576 pdrop", HOSTILE_FOLD)
    assert HOSTILE in tab.text("main")
    assert HOSTILE_PROMPT in tab.text("main")
    tab.open(f"#/samples/{tab.results.keys['mini576 pdrop']}/gqa")
    assert HOSTILE in tab.text("main")
    tab.open(f"#/samples/{tab.results.keys['mini576 pdrop']}/gqa?q={HOSTILE[:8].replace('<', '%3C')}")
    assert tab.page.locator("li.card").count() == 1
    assert tab.page.evaluate("window.hacked") is None
    assert tab.page.locator("img[src='x']").count() == 0


def test_the_policy_stops_code_that_gets_in_all_the_same(tab):
    tab.open()
    tab.page.evaluate(
        """() => { const code = document.createElement('script');
            code.textContent = 'window.hacked = 3';
            document.head.append(code); }"""
    )
    assert tab.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in words for words in tab.wrong)
    tab.wrong.clear()


def test_j_and_k_move_through_the_list_and_through_samples(tab):
    tab.open(f"#/samples/{tab.results.keys['mini576 pdrop']}/gqa?show=wrong")
    places = [place for place in range(QUESTIONS) if place not in RIGHT["pdrop"]]
    assert f"{len(places)} answers" in tab.text(".count")
    for key, place in (("j", 0), ("j", 1), ("k", 0)):
        tab.page.keyboard.press(key)
        assert tab.page.evaluate("document.activeElement.dataset.row") == str(places[place])
    tab.page.keyboard.press("Enter")
    tab.until(f"document.querySelector('h1').textContent === 'GQA {places[0]}'")
    tab.until("document.querySelector('.paging a')")
    tab.page.keyboard.press("ArrowRight")
    tab.until(f"document.querySelector('h1').textContent === 'GQA {places[1]}'")
    tab.page.get_by_label("keys:").uncheck()
    tab.page.locator("h1").focus()
    tab.page.keyboard.press("j")
    assert tab.text("h1") == f"GQA {places[1]}"


def test_merged_tokens_are_counted_and_said_to_lie_nowhere(chromium_started, tmp_path, monkeypatch):
    """Before the decoder there is one stage: 12 of 144 tokens, and 3 that VisionZip has made."""
    for name in ("PDROP_EVAL_CACHE", "HF_HUB_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    numbers = [*range(QUESTIONS)]
    answers = samples("mini576", "vanilla", "gqa", numbers)
    for answer in answers:
        answer["retained"] = [[0, pack([token < 12 for token in range(144)])]]
        answer["image_tokens_per_layer"] = [15] * 8
    asked = {"gqa": (answers, write_data(tmp_path / "data", "gqa", numbers))}
    made = write_run(tmp_path / "runs", "mini576", "visionzip", asked, head=header("mini576", "visionzip"))
    build(tmp_path)
    with open_tab(chromium_started, Results(tmp_path / "site", {"it": f"mini576.{made.name}"})) as tab:
        sample(tab, "it", 0)
        said, merged = tab.texts("p.state:not(.controls p)")
        assert said == "before the decoder: 12 of 144 image tokens and 3 merged ones"
        assert merged.startswith("Merged tokens lie nowhere on the picture: the class token, and contextual")
        assert tab.text(".controls p.state") == said  # and not that nothing is dropped
        assert tab.texts("figcaption") == ["12 of 144 tokens in 12 rows of 12"]
        grid = Grid(0, "whole", (0, 0, 1, 1), 12, 12)
        assert [veil(tab, "whole", row, 5, grid) for row in range(3)] == [0, OPACITY, OPACITY]
