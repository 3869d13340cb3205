"""The grids of tiles of LLaVA-NeXT, and the nominal tokens that follow from them."""

import pytest

from pdrop_eval.models.loading.checkpoint import check_anyres
from pdrop_eval.models.pictures.tiling import GRIDS, patches, pinpoints
from pdrop_eval.utils.errors import UserError

NEXT = {"model_type": "llava_next", "vision_config": {"image_size": 336}}


def test_p5_is_the_published_list_of_llava_next():
    # config.json of llava-hf/llava-v1.6-vicuna-7b-hf
    published = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
    assert pinpoints("p5", 336) == published
    assert patches(published, 336) == 5


def test_p9_has_every_grid_of_two_to_eight_tiles_once_and_those_of_p5_first():
    grids = GRIDS["p9"]
    # 7 of one row, then 2x1 to 2x4, 3x1, 3x2, 4x1, 4x2, and 5x1 to 8x1
    assert len(grids) == len(set(grids)) == 7 + 4 + 2 + 2 + 4
    assert {rows * columns for rows, columns in grids} == set(range(2, 9))
    assert grids[:5] == GRIDS["p5"]
    assert patches(pinpoints("p9", 336), 336) == 9


def test_a_list_of_resolutions_is_taken_as_it_is():
    assert pinpoints([[336, 336], [1008, 672]], 336) == [[336, 336], [1008, 672]]
    assert patches([[336, 336], [1008, 672]], 336) == 1 + 6


def test_null_leaves_the_checkpoint_alone():
    assert pinpoints(None, 336) is None
    check_anyres(None, {"model_type": "llava"})


@pytest.mark.parametrize(
    "wrong", ["p4", "", [], [336, 672], [[336]], [[336, 600]], [[0, 336]], [[336.0, 336]], 5, [["a", "b"]]]
)
def test_what_is_no_list_of_whole_tiles_is_refused_with_what_is_allowed(wrong):
    with pytest.raises(UserError, match=r"p5 .* p9 .* 336 pixels .*\[\[336,672\],\[672,336\]\]"):
        check_anyres(wrong, NEXT)
