"""Where image tokens lie, held against what transformers' processors and LLaVA-NeXT's packing really do.

A picture whose colours are its coordinates goes through the processor; the mean colour of the pixels behind
each token then says where on the picture the token looks.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessor, LlavaNextImageProcessor
from transformers.models.llava_next.modeling_llava_next import LlavaNextModel

from pdrop_eval.models import families
from pdrop_eval.models.pictures.tiling import pinpoints
from pdrop_eval.models.pictures.token_grid import Geometry, Grid, best_resolution, cells
from pdrop_eval.models.prompts import shrunk, to_square
from pdrop_eval.run.lmms.token_layout import placed

TILE, PATCH = 96, 8
SIDE = TILE // PATCH
PLAIN = {"do_normalize": False, "do_rescale": False, "resample": 2}
SIZES = [(288, 288), (288, 576), (640, 480), (97, 96), (96, 290), (1000, 330), (331, 1000), (50, 41)]


def coordinates(width: int, height: int) -> Image.Image:
    """Red grows from 0 to 250 from left to right, green from top to bottom, blue is 200."""
    x = (np.arange(width) + 0.5) / width * 250
    y = (np.arange(height) + 0.5) / height * 250
    pixels = np.stack([*np.meshgrid(x, y), np.full((height, width), 200.0)], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8))


def seen(pixels: torch.Tensor) -> torch.Tensor:
    """[tiles, 3, TILE, TILE] -> [tiles, tokens, 3]: the mean colour behind each patch of each tile."""
    patches = pixels.float().unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    return patches.mean((-1, -2)).flatten(2).transpose(1, 2)


def model_of(resolutions=None) -> SimpleNamespace:
    vision = SimpleNamespace(image_size=TILE, patch_size=PATCH)
    return SimpleNamespace(config=SimpleNamespace(vision_config=vision, image_grid_pinpoints=resolutions))


def geometry_of(model, processor, choice, downsample):
    """The layout of LLaVA-NeXT where there are resolutions, else that of LLaVA-1.5."""
    family = families.multimodal("llava_next" if model.config.image_grid_pinpoints else "llava")
    return family.token_layout(model.config, processor.image_processor, choice == "pad", downsample)


def clip(**settings) -> SimpleNamespace:
    return SimpleNamespace(
        image_processor=CLIPImageProcessor(**{**PLAIN, "do_convert_rgb": True}, **settings)
    )


def check(colours: torch.Tensor, grids: list[Grid], size: tuple[int, int]) -> int:
    """Tokens whose box is all on the picture look at the middle of their box. Returns how many there are."""
    width, height = size
    held = 0
    places = cells(grids)
    assert len(places) == len(colours)
    for (_, box), colour in zip(places, colours.tolist(), strict=True):
        if box is None:
            assert np.isnan(colour).all()
            continue
        inside = box[0] >= 0 and box[1] >= 0 and box[2] <= width + 0.01 and box[3] <= height + 0.01
        if inside:
            found = colour[0] / 250 * width, colour[1] / 250 * height
            # half a cell would be the neighbour's border; the rest is rounding and the filter
            assert abs(found[0] - (box[0] + box[2]) / 2) < 0.25 * (box[2] - box[0]) + width / 250
            assert abs(found[1] - (box[1] + box[3]) / 2) < 0.25 * (box[3] - box[1]) + height / 250
            held += 1
        elif box[0] < -1 or box[1] < -1 or box[2] > width + 1 or box[3] > height + 1:
            assert colour[2] < 199.5  # a part of it is padding, whose blue is 0
    return held


@pytest.mark.parametrize("anyres", ["p5", "p9"])
@pytest.mark.parametrize("size", SIZES)
def test_the_tokens_of_llava_next_look_where_the_grids_say(size, anyres):
    resolutions = pinpoints(anyres, TILE)
    images = LlavaNextImageProcessor(
        size={"height": TILE, "width": TILE}, crop_size={"height": TILE, "width": TILE},
        do_center_crop=False, image_grid_pinpoints=resolutions, **PLAIN,
    )  # fmt: skip
    made = images(coordinates(*size), return_tensors="pt")
    features = seen(made["pixel_values"][0])
    packing = SimpleNamespace(config=model_of(resolutions).config)
    newline = torch.full((3,), torch.nan)
    packed, _ = LlavaNextModel.pack_image_features(
        packing, [features], made["image_sizes"], "default", newline
    )
    geometry = geometry_of(model_of(resolutions), SimpleNamespace(image_processor=images), "checkpoint", None)
    grids = geometry.grids([size])
    assert [grid.part for grid in grids] == ["overview", "tiles"]
    held = check(packed[0], grids, size)
    assert held >= SIDE * SIDE + 0.7 * (grids[1].rows - 2) * (grids[1].columns - 2)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["stretched", "cut", "padded"])
def test_the_tokens_of_llava_15_look_where_the_grid_says(size, how):
    square = {"height": TILE, "width": TILE}
    shape = {"size": square, "do_center_crop": False}
    if how != "stretched":
        shape = {"size": {"shortest_edge": TILE}, "do_center_crop": True, "crop_size": square}
    processor = clip(**shape)
    picture = coordinates(*size)
    choice = "pad" if how == "padded" else "checkpoint"
    given = to_square(picture, (0.0, 0.0, 0.0)) if how == "padded" else picture
    colours = seen(processor.image_processor(given, return_tensors="pt")["pixel_values"])[0]
    grids = geometry_of(model_of(), processor, choice, None).grids([size])
    assert [(grid.part, grid.rows, grid.columns, grid.newline) for grid in grids] == [
        ("whole", 12, 12, False)
    ]
    held = check(colours, grids, size)
    least = {"stretched": 144, "cut": 144, "padded": 12 * int(12 * min(size) / max(size) - 2)}[how]
    assert held >= least


@pytest.mark.parametrize("factor", [2, 3])
def test_boxes_are_of_the_picture_as_it_was_before_it_was_shrunk(factor):
    processor = clip(size={"height": TILE, "width": TILE}, do_center_crop=False)
    picture = shrunk(coordinates(301, 450), factor)
    colours = seen(processor.image_processor(picture, return_tensors="pt")["pixel_values"])[0]
    assert check(
        colours, geometry_of(model_of(), processor, "checkpoint", factor).grids([(301, 450)]), (301, 450)
    )


def test_the_tokens_of_several_pictures_follow_each_other():
    grids = Geometry(TILE, PATCH).grids([(96, 96), (192, 48)])
    places = cells(grids)
    assert len(places) == 288
    assert [grids[grid].image for grid, _ in (places[143], places[144])] == [0, 1]
    assert places[144][1] == (0, 0, 16, 4)
    assert places[287][1] == (176, 44, 192, 48)


def test_a_token_of_each_kind_by_hand():
    # 200 x 100 on one row of two tiles: no padding, so 12 rows of 24 tokens and a newline
    overview, tiles = Geometry(TILE, PATCH, ((96, 192), (192, 96))).grids([(200, 100)])
    assert (overview.tokens, tiles.rows, tiles.columns, tiles.tokens) == (144, 12, 24, 12 * 25)
    assert overview.cell(1) == pytest.approx((200 / 12, 0, 200 / 6, 100 / 12))
    assert tiles.cell(0) == pytest.approx((0, 0, 200 / 24, 100 / 12))
    assert tiles.cell(24) is None
    assert tiles.cell(25) == pytest.approx((0, 100 / 12, 200 / 24, 200 / 12))
    assert tiles.cell(299) is None
    with pytest.raises(IndexError):
        tiles.cell(300)
    assert Grid.from_list(tiles.to_list()) == tiles


def test_a_processor_with_other_tokens_has_no_grids():
    geometry = Geometry(TILE, PATCH)
    assert placed(geometry, [(96, 96)], 145) is None
    assert placed(geometry, [(96, 96)], 144) == [[0, "whole", 0.0, 0.0, 96.0, 96.0, 12, 12, False]]
    assert placed(geometry, [], 0) == []


def test_a_processor_that_cuts_another_square_has_no_grids():
    wider = clip(size={"shortest_edge": 110}, do_center_crop=True, crop_size={"height": TILE, "width": TILE})
    assert geometry_of(model_of(), wider, "checkpoint", None) is None
    assert placed(None, [(96, 96)], 144) is None


def test_the_resolution_is_transformers_own_choice():
    from transformers.image_processing_utils import select_best_resolution

    for anyres in ("p5", "p9"):
        resolutions = [tuple(pair) for pair in pinpoints(anyres, 336)]
        for width in range(40, 1500, 53):
            for height in range(40, 1500, 61):
                expected = select_best_resolution((height, width), resolutions)
                assert best_resolution((height, width), resolutions) == expected
