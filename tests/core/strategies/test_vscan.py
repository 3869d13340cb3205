"""VScan: FasterVLM's choice before the decoder, and a count of tokens from one layer on."""

import pytest
import torch
from contract import case_of, model_of

from pdrop_eval.efficiency.budget import solve
from pdrop_eval.efficiency.schedules import notes_of
from pdrop_eval.strategies.combine import Combine
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.strategies.vscan import VScan
from pdrop_eval.utils.errors import UserError


@pytest.mark.parametrize(("preset", "first", "second"), [("192", 288, 96), ("128", 192, 64), ("64", 96, 32)])
def test_a_presets_number_is_the_mean_over_32_layers(preset, first, second):
    """16 layers of T tokens and 16 of a third of them: 2 T / 3 in the mean."""
    strategy = make_strategy("vscan", {"preset": preset})
    assert strategy.schedule(32, 576, 576) == (first,) * 16 + (second,) * 16
    assert (first + second) / 2 == int(preset)
    assert notes_of(strategy, 32, 576, 576) == [
        f"preset={preset} is image tokens a layer in the mean over the layers: {preset} of 576 here."
    ]
    assert "is 4 of 8 here" in " ".join(notes_of(strategy, 8, 576, 576))


def test_it_equals_its_halves():
    """Half of 8 tokens, of one image a row, is PyramidDrop's share too."""
    case = case_of("llava_gqa", rows=[[4, "image", 5], [3, "image", 9]])
    with case.under(VScan(visual_token_num=8, image_token_num=4)) as report:
        own, ids = case.forward().logits, report.retained
    halves = Combine(FasterVLM(visual_token_num=8), PyramidDrop(layers=(4,), ratios=(0.5,)))
    with case.under(halves) as report:
        assert torch.equal(own, case.forward().logits)
    assert [[row.tolist() for row in stage] for stage in ids] == [
        [row.tolist() for row in stage] for stage in report.retained
    ]
    assert report.image_tokens_per_layer == [[8, 8]] * 4 + [[4, 4]] * 4


def test_a_budget_keeps_the_proportion():
    """4 layers of T tokens and 4 of a third of them, rounded down: 15 and 5 are 10 in the mean."""
    config = model_of("llava_gqa").config
    found = solve(VScan(), config, tokens=10)
    assert (found.visual_token_num, found.image_token_num) == (15, 5)
    assert found.reached.schedule == (15,) * 4 + (5,) * 4
    with pytest.raises(UserError, match=r"tokens=20 can't be reached by VScan.*to 16\.5 \(the drops"):
        solve(VScan(), config, tokens=20)  # (25 + 8) / 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"visual_token_num": 0}, "visual_token_num=0 is not allowed"),
        ({"image_token_num": "x"}, "image_token_num='x' is not allowed"),
        ({"layer": 0}, "layer=0 is not allowed"),
        ({"preset": "65"}, "preset='65' is not allowed"),
        ({"preset": "64", "visual_token_num": 9}, "preset=64 says visual_token_num=96"),
    ],
)
def test_wrong_settings_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        make_strategy("vscan", fields)


def test_what_does_not_fit_a_model_is_refused_in_its_own_words():
    model = model_of("llava_gqa")
    for wrong, words in [
        (
            VScan(visual_token_num=6, image_token_num=7),
            "visual_token_num=6 leaves 6 .*_num=7 asks",
        ),
        (VScan(visual_token_num=26, image_token_num=7), "visual_token_num=26 is not allowed"),
        (VScan(visual_token_num=9, image_token_num=4, layer=9), "layer=9 is not allowed"),
        (VScan(preset="64"), "preset=64 of VScan is made for one tile of 576"),
    ]:
        with pytest.raises(UserError, match=words):
            wrong(model)
