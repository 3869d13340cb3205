"""What is drawn is where it belongs: a known pattern is in the PNG, clear where retained, else veiled."""

import io
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from pdrop_eval.models.pictures.token_grid import Grid
from pdrop_eval.records.token_mask import pack
from pdrop_eval.report.figures.style import DPI, TEXT_WIDTH, drawing
from pdrop_eval.report.show import lettering, raster
from pdrop_eval.report.show.asking import Outcome
from pdrop_eval.report.show.drawing import draw, figure_of
from pdrop_eval.report.show.views import attention_figure, retained_figure
from pdrop_eval.run.lmms.measurement import Measurement

PAGE, MARK = (0, 200, 200), (255, 0, 0)
WHOLE = [Grid(0, "whole", (0, 0, 360, 120), 12, 12)]
# Of the tiles, patches of 15x16: the first and the last row reach 4 pixels beyond the page, into the padding.
NEXT = [
    Grid(0, "overview", (0, 0, 360, 120), 12, 12),
    Grid(0, "tiles", (0, -4, 360, 124), 8, 24, newline=True),
]
NEWLINES = [144 + row * 25 + 24 for row in range(8)]


def page(mark=None, size=(360, 120), colours=(PAGE, MARK)):
    """A page in one colour, with a rectangle (left, top, right, bottom) in another."""
    image = Image.new("RGB", size, colours[0])
    if mark:
        ImageDraw.Draw(image).rectangle((mark[0], mark[1], mark[2] - 1, mark[3] - 1), fill=colours[1])
    return image


def question(*images, prompt="Where?", target="there"):
    info = SimpleNamespace(benchmark="docvqa", task="docvqa_val", installed=False)
    return SimpleNamespace(
        images=lambda: list(images), prompt=prompt, target=target, doc_id=17, task=SimpleNamespace(info=info)
    )


def outcome(grids, *stages, answer="here"):
    """stages: the retained tokens of each drop."""
    total = sum(grid.tokens for grid in grids)
    retained = [[2 * i, pack([t in kept for t in range(total)])] for i, kept in enumerate(stages, 1)]
    measured = Measurement(
        "", "", 0, total, (), 0, image_grids=[grid.to_list() for grid in grids], retained=retained
    )
    return Outcome(answer, 1.0, measured)


def spec_of(image, grids, *stages):
    return retained_figure(question(image), {"pdrop": outcome(grids, *stages)}, {"pdrop": "PDrop"}, "mini", 8)


def panels(spec):
    """Of each panel: its pixels in the PNG, and the box of the picture that they show."""
    with drawing():
        figure = figure_of(spec)
        figure.savefig(stream := io.BytesIO(), format="png", dpi=DPI)
        png = np.asarray(Image.open(stream).convert("RGB"))
    found = []
    for axes in figure.axes:
        place = axes.get_position()
        left, right = (round(x * png.shape[1]) for x in (place.x0, place.x1))
        top, bottom = (round((1 - y) * png.shape[0]) for y in (place.y1, place.y0))
        (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
        found.append((png[top:bottom, left:right], (x0, y0, x1, y1)))
    return found


def where(panel, colour):
    """The smallest box, in pixels of the picture, that holds all of about a colour; None without any."""
    pixels, (x0, y0, x1, y1) = panel
    rows, columns = np.nonzero((abs(pixels.astype(int) - colour) < 12).all(-1))
    if not len(rows):
        return None
    across, down = (x1 - x0) / pixels.shape[1], (y1 - y0) / pixels.shape[0]
    return (
        x0 + columns.min() * across, y0 + rows.min() * down,
        x0 + (columns.max() + 1) * across, y0 + (rows.max() + 1) * down,
    )  # fmt: skip


def near(box, pixels=3.0):
    return pytest.approx(box, abs=pixels)  # a border lies on the edges


@pytest.mark.thin(1)
@pytest.mark.parametrize(
    ("grids", "mark", "retained", "panel"),
    [
        (WHOLE, (210, 40, 240, 50), [55], 0),  # patches of 30x10: row 4, column 7
        (NEXT, (210, 40, 240, 50), [55], 0),
        (NEXT, (60, 28, 75, 44), [144 + 2 * 25 + 4], 1),
        (NEXT, (60, 28, 75, 44), [144 + 2 * 25 + 4, *NEWLINES], 1),
        (
            NEXT,
            (345, 108, 360, 120),
            [144 + 7 * 25 + 23],
            1,
        ),  # the last patch, half of whose height is padding
    ],
)
def test_the_patch_of_a_retained_token_is_clear_and_all_else_is_veiled(grids, mark, retained, panel):
    drawn = panels(spec_of(page(mark), grids, retained))
    assert len(drawn) == 2 * len(grids)
    for shown in drawn[: len(grids)]:  # the input: nothing is veiled
        assert where(shown, MARK) == near(mark, 1.5)
        assert where(shown, PAGE) == near((0, 0, 360, 120), 1.5)
    for number, shown in enumerate(drawn[len(grids) :]):
        assert where(shown, PAGE) is None
        assert where(shown, MARK) == (near(mark) if number == panel else None)


def test_a_pattern_under_another_token_is_veiled():
    drawn = panels(spec_of(page((210, 40, 240, 50)), WHOLE, [56]))
    assert where(drawn[1], MARK) is None
    assert where(drawn[1], PAGE) == near((240, 40, 270, 50))


def test_newline_tokens_clear_nothing_and_are_counted():
    spec = spec_of(page(), NEXT, NEWLINES[:3])
    assert all(where(panel, PAGE) is None for panel in panels(spec)[2:])
    assert spec.rows[0].groups[0].lines == ("344 of 344 tokens", "of them 8 newlines")
    assert spec.rows[0].groups[1].lines == ("3 of 344 tokens", "of them 3 newlines")
    assert any("stand for no place" in note for note in spec.notes)


def test_merged_tokens_are_counted_and_lie_nowhere():
    measured = replace(
        outcome(WHOLE).measured,
        retained=[[0, pack([t < 12 for t in range(144)])]],
        image_tokens_per_layer=(15,) * 8,
    )
    spec = retained_figure(
        question(page()), {"visionzip": Outcome("", 1.0, measured)}, {"visionzip": "VisionZip"}, "mini", 8
    )
    group = spec.rows[0].groups[1]
    assert (group.title, group.lines) == ("before the decoder", ("12 of 144 tokens", "and 3 merged ones"))
    assert "Grey: dropped, or merged." in spec.notes[0]
    assert spec.notes[1] == (
        "VisionZip: merged tokens lie nowhere on the picture; the class token, and contextual ones into "
        "which all other patches are merged."
    )
    assert "merged" not in " ".join(spec_of(page(), WHOLE, range(12)).notes)


def test_what_a_centre_crop_leaves_out_is_never_clear_and_said_to_be_striped():
    cut = [Grid(0, "whole", (120, 0, 240, 120), 12, 12)]
    spec = spec_of(page(), cut, range(0, 144, 2))
    left, _, right, _ = where(panels(spec)[1], PAGE)
    assert left > 118
    assert right < 242
    assert any("Striped" in note for note in spec.notes)
    assert not any("Striped" in note for note in spec_of(page(), WHOLE, [0]).notes)


def test_what_a_centre_crop_leaves_out_has_no_colour_of_attention_and_is_said_to_have_none():
    cut = Grid(0, "whole", (120, 0, 240, 120), 12, 12)
    picture = page(colours=((140, 140, 140), MARK))
    spec = attention_figure(question(picture), outcome([cut]), {0: np.full(144, 0.005)}, "last", "mini")
    (panel,) = spec.rows[0].groups[1].panels
    shown = panel.paint(360, 120)
    assert np.ptp(shown[:, :119], axis=-1).max() == 0  # the picture, paler, without stripes
    assert np.ptp(shown[:, :119].reshape(-1, 3), axis=0).max() == 0
    assert np.ptp(shown[60, 180].astype(int)) > 10
    assert any(note.startswith("Without a colour: no image token") for note in spec.notes)
    assert not any("Striped" in note for note in spec.notes)


@pytest.mark.parametrize(("rows", "columns"), [(0, 24), (24, 0)])
def test_tiles_of_which_no_patch_is_left_are_drawn_without_a_clear_one(rows, columns):
    grids = [NEXT[0], Grid(0, "tiles", (0, 60, 360, 60), rows, columns, newline=True)]
    spec = spec_of(page(), grids, [0])
    assert [panel.name for panel in spec.rows[0].groups[1].panels] == ["overview", "tiles"]
    assert where(panels(spec)[3], PAGE) is None


def test_a_padded_picture_lies_in_the_middle_of_its_square():
    padded = [Grid(0, "whole", (0, -120, 360, 240), 12, 12)]
    (shown, _), *_ = panels(spec_of(page(), padded, [0]))
    assert shown.shape[0] == pytest.approx(shown.shape[1], abs=1)
    assert where(panels(spec_of(page(), padded, [0]))[0], PAGE) == near((0, 0, 360, 120))


def test_each_of_several_pictures_has_its_own_panel():
    grids = [Grid(0, "whole", (0, 0, 360, 120), 12, 12), Grid(1, "whole", (0, 0, 360, 120), 12, 12)]
    asked = question(page(), page((0, 0, 30, 10)))
    spec = retained_figure(asked, {"pdrop": outcome(grids, [144])}, {"pdrop": "PDrop"}, "mini", 8)
    assert [panel.name for panel in spec.rows[0].groups[0].panels] == ["picture 1", "picture 2"]
    assert [where(panel, MARK) is None for panel in panels(spec)] == [True, False, True, False]


@pytest.mark.parametrize("size", [(250, 100), (100, 260), (400, 90)])
def test_the_miniatures_own_processor_and_transformers_unpadding_agree_with_what_is_clear(size):
    """Each feature is the mean of what its patch sees: with those of the mark retained, the mark is clear."""
    from pdrop_eval.models.loading.load import load
    from pdrop_eval.run.lmms.token_layout import placed
    from pdrop_eval.utils.paths import MINI_CHECKPOINTS

    loaded = load(str(MINI_CHECKPOINTS / "mini_next_p5"), None, "cpu", "float32", "sdpa", False, "p5")
    model, processor = loaded.model, loaded.processor
    left, top = round(size[0] * 0.6), round(size[1] * 0.55)
    mark = (left, top, left + size[0] // 4, top + size[1] // 4)
    image = page(mark, size, ((0, 0, 0), (255, 255, 255)))

    class Means(nn.Module):
        def forward(self, pixels, **_):
            means = nn.functional.avg_pool2d(pixels.mean(1, keepdim=True), 8).flatten(2).transpose(1, 2)
            hidden = torch.cat([means[:, :1], means], 1).expand(-1, -1, 128)
            return SimpleNamespace(hidden_states=[hidden] * 4, last_hidden_state=hidden)

    model.model.vision_tower, model.model.multi_modal_projector = Means(), nn.Identity()
    with torch.no_grad():
        model.model.image_newline.fill_(-9)
        found = processor(text=processor.image_token, images=[image], return_tensors="pt")
        pixels = {name: found[name] for name in ("pixel_values", "image_sizes")}
        seen = torch.cat(list(model.get_image_features(**pixels, return_dict=True).pooler_output))[:, 0]
    grids = placed(
        loaded.family.token_layout(model.config, processor.image_processor, False, None), [size], len(seen)
    )
    middle = (seen[seen > -9].min() + seen.max()) / 2
    measured = Measurement("", "", 0, len(seen), (), 0, image_grids=grids)
    measured.retained.append([2, pack((seen > middle).tolist())])
    spec = retained_figure(
        question(image), {"pdrop": Outcome("", None, measured)}, {"pdrop": "PDrop"}, "mini_next_p5", 8
    )
    for panel, grid in zip(panels(spec)[2:], grids, strict=True):
        _, _, x0, y0, x1, y1, rows, columns, _ = grid
        patch = max((x1 - x0) / columns, (y1 - y0) / rows)
        assert where(panel, (255, 255, 255)) == near(mark, 0.6 * patch + 2)


def test_shares_of_attention_are_brightest_where_they_are_largest():
    shares = np.full(344, 1e-4)
    shares[144 + 2 * 25 + 4], shares[NEWLINES] = 0.5, 0.05
    spec = attention_figure(
        question(page(colours=((255,) * 3, MARK))), outcome(NEXT), {3: shares}, "last", "mini"
    )
    picture, group = spec.rows[0].groups
    assert picture.lines == ("344 image tokens", "8 of them newlines")
    assert group.title == "layer 3"
    assert group.lines == ("93.4% on image tokens", "including 40.0% on newlines")  # 0.5 + 0.4 + 335 x 0.0001
    overview, tiles, *_ = panels(spec)[2:]
    yellow = tiles[0].astype(int)[:, :, 0] - tiles[0][:, :, 2]
    assert where((yellow[..., None], tiles[1]), (yellow.max(),)) == near((60, 28, 75, 44))
    assert np.ptp(overview[0][4:-4, 4:-4], axis=(0, 1)).max() == 0  # behind the frame, one colour
    assert "softmax over the whole sequence" in spec.scale.words


def test_equal_shares_have_a_scale():
    assert draw(attention_figure(question(page()), outcome(WHOLE), {0: np.full(144, 0.005)}, "text", "mini"))


def test_borders_are_around_what_is_retained_each_in_one_piece():
    grid = Grid(0, "whole", (0, 0, 40, 30), 3, 4)
    flags = [False] * 12
    flags[5] = flags[6] = True  # row 1, columns 1 and 2
    lines = {tuple(sorted(line)) for line in raster.outline(grid, flags)}
    assert lines == {((10, 10), (30, 10)), ((10, 20), (30, 20)), ((10, 10), (10, 20)), ((30, 10), (30, 20))}


def test_newline_columns_have_no_border():
    grid = Grid(0, "tiles", (0, 0, 20, 10), 1, 2, newline=True)
    assert raster.outline(grid, [False, False, True]) == []


def test_drawings_are_as_wide_as_a_papers_text_small_and_the_same_each_time():
    spec = spec_of(page((210, 40, 240, 50)), NEXT, range(172), range(86), range(43))
    files = draw(spec)
    assert files == draw(spec)
    assert Image.open(io.BytesIO(files["png"])).width == round(TEXT_WIDTH * DPI)
    assert all(len(content) < 250_000 for content in files.values())
    assert files["pdf"].startswith(b"%PDF")
    assert files["svg"].count(b"<image") == 8
    sizes = [float(size) for size in re.findall(rb"font-size: ?([\d.]+)", files["svg"])]
    assert not sizes or min(sizes) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("groups", range(1, 14))
def test_any_number_of_stages_fits_the_width(groups):
    spec = spec_of(page(), NEXT, *[range(10)] * (groups - 1))
    with drawing():
        figure = figure_of(spec)
        figure.draw_without_rendering()
    assert len(figure.axes) == 2 * groups
    for axes in figure.axes:
        place = axes.get_position()
        assert 0 <= place.x0 < place.x1 <= 1
        assert 0 <= place.y0 < place.y1 <= 1
    boxes = [axes.get_position() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for text in figure.texts:
        extent = text.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= figure.bbox.width
        assert extent.y0 >= 0


@pytest.mark.thin(1)
@pytest.mark.parametrize("size", [(2, 900), (900, 2), (1, 1), (3000, 2000)])
def test_pictures_of_any_shape_are_drawn(size):
    width, height = size
    grids = [
        Grid(0, "overview", (0, 0, width, height), 4, 4),
        Grid(0, "tiles", (0, 0, width, height), 4, 8, True),
    ]
    assert draw(spec_of(page(size=size), grids, [3, 20]))["png"]


HOSTILE = "这是什么颜色？ \x1b[31m\u202eevil $x_1$ <b>&amp; 😀 \ud800\n\n" + "W" * 400 + " and more" * 300


def test_hostile_and_foreign_text_is_drawn_without_a_warning():
    asked = question(page(), prompt=HOSTILE, target=HOSTILE)
    found = {"pdrop": outcome(WHOLE, [1], answer=HOSTILE)}
    spec = retained_figure(asked, found, {"pdrop": "PDrop " + lettering.printable(HOSTILE)}, HOSTILE, 8)
    files = draw(spec)
    assert Image.open(io.BytesIO(files["png"])).height < 2000
    text = dict(spec.texts)["Question"]
    assert r"\x1b[31m\u202eevil $x_1$ <b>&amp;" in text
    assert r"\ud800 ⏎  ⏎" in text
    assert any(lettering.MISSING in note for note in spec.notes)


def test_a_letter_without_a_font_is_a_box(monkeypatch):
    monkeypatch.setattr(lettering, "_letters", lambda: frozenset(map(ord, "what")))
    assert lettering.printable("what颜w") == "what□w"


@pytest.mark.parametrize(
    "text", ["a few words of a text that is long enough to be cut " * 9, "颜" * 300, "W" * 300]
)
def test_lines_keep_to_their_width_and_the_last_one_ends_with_an_ellipsis(text):
    text = lettering.printable(text)
    lines = lettering.wrapped(text, 2.0, 8, 3, first=0.7)
    assert len(lines) == 3
    assert all(lettering.length(line, 8) <= 2.0 for line in lines)
    assert lettering.length(lines[0], 8) <= 1.3
    assert lines[2].endswith("…")
    assert text.replace(" ", "").startswith("".join(lines)[:-1].replace(" ", ""))


def test_a_short_text_stays_as_it_is():
    assert lettering.wrapped("a short text", 3.0, 8, 4) == ["a short text"]
    assert lettering.wrapped("", 3.0, 8, 4) == []
