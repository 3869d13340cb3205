"""The rules of strategies in the decoder by hand: their counts, their choices, and what they refuse."""

import pytest
import torch
from contract import IMAGE, build, case_of, model_of
from transformers import LlamaConfig, LlavaConfig

from pdrop_eval import FastV
from pdrop_eval.efficiency.schedules import schedule_of
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import dart, fitprune_recipes, v2drop
from pdrop_eval.strategies.dart import DART
from pdrop_eval.strategies.depth import scaled_note
from pdrop_eval.strategies.feather import Feather
from pdrop_eval.strategies.fitprune import FitPrune
from pdrop_eval.strategies.mustdrop import MustDrop
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.sparsevlm import SparseVLM
from pdrop_eval.strategies.v2drop import V2Drop
from pdrop_eval.strategies.vtw import VTW
from pdrop_eval.utils.errors import UserError

LLAVA = LlavaConfig(text_config=LlamaConfig())  # the 7B: 32 layers, 576 image tokens


def mean(strategy, depth=32, image_tokens=576):
    return sum(strategy.schedule(depth, image_tokens)) / depth


# --- VTW


def test_vtw_withdraws_after_15_of_32_layers_in_proportion():
    assert VTW().schedule(32, 576) == (576,) * 15 + (0,) * 17
    assert mean(VTW()) == 270
    assert VTW().schedule(8, 144) == (144,) * 3 + (0,) * 5  # 3.75 rounded down
    assert VTW(k=8).schedule(8, 144) == (144,) * 8
    assert VTW().notes(8, 144) == scaled_note((15,), 8)
    assert VTW(k=3).notes(8, 144) == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: VTW(k=0),
            r"k=0 is not allowed. Drop layers \(0,\) are outside the model: use values from 1",
        ),
        (lambda: VTW(k=2.5), r"k=2.5 is not allowed. Drop layer 2.5 is not a whole number"),
        (lambda: VTW(k=True), r"k=True is not allowed"),
        (lambda: VTW(k=33).drops(32), r"k=33 is not allowed. .* use values from 1 to 32, the model's number"),
        (lambda: VTW(preset=64, k=3), r"preset=64 says k=4, and k=3 is given beside it"),
        (lambda: VTW(positions="close"), r"positions='close' is unknown: use one of 'keep', 'renumber'"),
    ],
)
def test_settings_of_vtw_that_cannot_be_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_a_budget_of_vtw_is_a_layer():
    """18 a layer: 64 are 3 layers, 54; less than one layer is out of reach."""
    found = VTW.for_budget(LLAVA, tokens=64, positions="renumber")
    assert (found.k, found.positions, found.reached.tokens, found.reached.counts) == (3, "renumber", 54, (0,))
    assert VTW.for_budget(LLAVA, share=1).k == 32
    assert VTW.for_budget(LLAVA, tokens=18).k == 1
    with pytest.raises(UserError, match=r"tokens=17 can't be reached.*from 18 \(none left after the last"):
        VTW.for_budget(LLAVA, tokens=17)
    with pytest.raises(UserError, match="k=3 is what the budget decides"):
        VTW.for_budget(LLAVA, tokens=64, k=3)


# --- V2Drop


def test_v2drop_leaves_one_token_where_none_is_asked_for():
    assert V2Drop().retained(32, 576) == (288, 144, 1)
    assert V2Drop(layers=(2, 4, 6), keep_ratios=(0.5, 0.3, 0)).retained(8, 64) == (32, 9, 1)
    assert V2Drop().retained(32, 0) == (0, 0, 0)
    assert [drop.layer for drop in V2Drop().drops(8)] == [1, 4, 5]


def test_what_a_layer_changes_is_an_l2_norm():
    before = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]])
    after = torch.tensor([[[4.0, 6.0], [0.0, -1.0]]])
    assert v2drop.change(before, after).tolist() == [[5.0, 1.0]]


def test_a_budget_of_v2drop_drops_all_but_one_in_the_end():
    """3 * 576 + 14 * 269 + 5 * 126 + 10 = 6134 of 6144; s = .468 would leave 6118, .469 of 576 are 270."""
    found = V2Drop.for_budget(LLAVA, tokens=192)
    assert (found.layers, found.reached.counts) == ((3, 17, 22), (269, 126, 1))
    assert V2Drop.for_budget(LLAVA, tokens=576).reached.counts == (576, 576, 576)
    found = V2Drop.for_budget(LLAVA, tokens=20)
    assert found.layers == (1, 17, 22)
    assert "Drops before layers 3, 17, 22 can't reach that" in found.reached.words
    with pytest.raises(UserError, match=r"tokens=18 can't be reached.* from 18\.97 \(one token left"):
        V2Drop.for_budget(LLAVA, tokens=18)


# --- DART


def test_each_pivot_of_dart_takes_its_share():
    """128 // 8 = 16, and 4 image pivots; by the ratio, 576 * .222 = 127.9 // 8 = 15."""
    assert DART(max_num_trunction=128).retained(32, 576) == (132,)
    assert DART().retained(32, 576) == (124,)
    assert DART(reduction_ratio=0).retained(32, 576) == (576,)
    assert DART(max_num_trunction=9999).retained(32, 576) == (4 + 71 * 8,)  # min(9999, 572) // 8
    assert DART(max_num_trunction=128).retained(32, 3) == (3,)
    assert DART(reduction_ratio=0.5, pivot_image_token=3, pivot_text_token=2).retained(7, 50) == (28,)


def test_pivots_take_in_turn_what_is_least_like_them():
    """Token 0 is the pivot; the first turn is of text (column 4), which is least like 2; 0 then takes 3."""
    states = torch.tensor([[[1.0, 0.0], [0.9, 0.1], [-1.0, 0.2], [-0.9, -0.4], [1.0, 0.1], [0.0, 1.0]]])
    image = torch.tensor([[True, True, True, True, False, False]])
    start = torch.tensor([[True, False, False, False, False, False]])
    order, number = torch.tensor([[4, 0]]), torch.tensor([[1, 1]])
    first = dart.taken(states, image, start, order[:, :1], number[:, :1])
    cosines = torch.nn.functional.cosine_similarity(states[0, 1:4], states[0, 4:5])
    assert first[0].nonzero().flatten().tolist() == [0, 1 + int(cosines.argmin())]
    assert dart.taken(states, image, start, order, number).tolist() == [
        [True, False, True, True, False, False]
    ]


def test_a_short_question_leaves_darts_count_as_it_is():
    """One text token behind the image, three before it: those stand in; and none at all behind it."""
    strategy = DART(k=2, reduction_ratio=0.5, pivot_text_token=4)
    for row in ([3, IMAGE, 1], [2, IMAGE]):
        case = build(model_of("llava_gqa"), [row])
        with case.under(strategy) as report:
            case.forward()
        assert report.image_tokens_per_layer[2] == list(strategy.retained(8, 25)) == [12]  # 4 + 8 * 1
    assert DART.for_budget(LLAVA, tokens=64).reached.counts == (28,)


# --- FEATHER


def test_feathers_first_drop_keeps_every_third_row_and_column():
    case = build(model_of("llava_gqa"), [[4, IMAGE, 5]])
    with case.under(Feather(layers=(2, 5), r=1.0, stride=2)) as report:
        case.forward()
    assert report.retained[0][0].tolist() == [0, 2, 4, 10, 12, 14, 20, 22, 24]  # of 5 x 5
    assert report.retained[1][0].tolist() == []
    with case.under(Feather(layers=(2, 5), r=0.6)) as report:
        case.forward()
    first, second = report.retained
    assert {0, 3, 15, 18} <= set(first[0].tolist())
    assert 10 <= len(first[0]) <= 14  # int(25 * .4) of the best, 4 of the grid
    assert len(second[0]) == int(len(first[0]) * 0.4**2)
    assert Feather(layers=(2, 5), r=0.6).retained(8, 25) == (14, 2)


def test_feather_spaces_each_image_of_a_row_apart():
    case = build(model_of("llava_gqa"), [[2, IMAGE, 3, IMAGE, 4]])
    with case.under(Feather(layers=(2, 5), r=1.0, stride=4)) as report:
        case.forward()
    corners = [0, 4, 20, 24]
    assert report.retained[0][0].tolist() == [*corners, *(25 + corner for corner in corners)]


@pytest.mark.parametrize(
    ("tokens", "tile", "most"),
    [
        (576, 576, 8 * 8),
        (576, None, 8 * 8),
        (1152, 576, 2 * 64),  # 33 rows and columns would have 121
        (1152, None, 2 * 64),
        (225, 25, 9 * 4),  # of one image of 15 x 15, 25
        (225, None, 25),
        (50, None, 2 * 4),
        (0, 576, 0),
    ],
)
def test_the_most_that_feather_leaves_has_the_grid_of_each_image(tokens, tile, most):
    assert (
        schedule_of(Feather(layers=(2, 5), r=1.0), 8, tokens, tile) == (tokens,) * 2 + (most,) * 3 + (0,) * 3
    )


def test_a_row_of_images_never_retains_more_than_feathers_most():
    case = build(model_of("llava_gqa"), [[2, IMAGE, 3, IMAGE, 4]])
    strategy = Feather(layers=(2, 5), r=0.98)
    with case.under(strategy) as report:
        case.forward()
    # int(50 * .02) = 1 of the best, which may be one of the 4 of each 5 x 5 grid
    assert schedule_of(strategy, 8, 50, 25)[2] == 9
    assert len(report.retained[0][0]) in (8, 9)


def test_a_grid_that_is_not_square_is_refused_before_anything_runs():
    with pytest.raises(UserError, match=r"FEATHER takes .* square grid, and an image has .* tiles here"):
        Feather()(model_of("llava_next"))
    with pytest.raises(UserError, match="an image has 72 tokens here, which are none: use a model with"):
        Feather().check_image(TokenShape(72))
    Feather().check_image(TokenShape(576))
    case = build(model_of("bare_llama"), [[4, IMAGE, IMAGE, 5]])  # 50 that stand together
    with pytest.raises(UserError, match="an image has 50 tokens here"):
        case.under(Feather())


def test_feather_takes_a_budget_of_the_most_it_can_retain():
    """int(576 * .199) = 114 and 64 of the grid, then int(178 * .199^2) = 7: (4608 + 1424 + 112) / 32."""
    found = Feather.for_budget(LLAVA, tokens=192)
    assert (found.layers, found.reached.counts, found.reached.tokens) == ((8, 16), (178, 7), 192)
    found = Feather.for_budget(LLAVA, tokens=64)
    assert found.layers == (2, 8)
    assert "Drops before layers 8, 16 can't reach that" in found.reached.words
    with pytest.raises(UserError, match="tokens=20 can't be reached by Feather"):
        Feather.for_budget(LLAVA, tokens=20)


# --- FitPrune


def test_the_official_recipes_come_to_the_published_averages():
    found = {ratio: mean(FitPrune(reduction_ratio=ratio)) for ratio in fitprune_recipes.OFFICIAL}
    averages = {40: 362.5, 50: 301.8, 60: 245.0, 70: 187.9, 80: 130.6, 90: 72.8}
    assert found == pytest.approx(averages, abs=0.05)
    assert FitPrune().recipe_of(32, 576) == fitprune_recipes.OFFICIAL[60]
    assert FitPrune().notes(32, 576) == []


def test_the_usual_recipe_is_scaled_to_the_model():
    """What is left of 576 after 4, 8, ... 32 layers: 404, 272, 238, 220, 154, 129, 128 and 127 of 576."""
    left = [404, 272, 238, 220, 154, 129, 128, 127]
    expected = [round(144 * n / 576) for n in left]
    removed = FitPrune().recipe_of(8, 144)
    assert [144 - sum(removed[: i + 1]) for i in range(8)] == expected
    (note,) = FitPrune().notes(8, 144)
    assert note.startswith(
        "The official recipe 60, of 32 layers and 576 image tokens, is scaled to 8 and 144"
    )


def test_between_two_recipes_lies_every_mean():
    for share in (1.0, 0.63, 0.4, 0.2, 0.1):
        curve = fitprune_recipes.between(share)
        assert sum(curve[:32]) / 32 == pytest.approx(share)
    for tokens in (400, 192, 20):
        found = FitPrune.for_budget(LLAVA, tokens=tokens)
        assert tokens - 2 < found.reached.tokens <= tokens
        assert found.reached.counts[-1] >= 1
    assert sum(FitPrune.for_budget(LLAVA, tokens=576).removed) == 0


def test_no_more_goes_than_there_is():
    assert FitPrune(removed=(3, 0, 4, 1)).retained(4, 5) == (2, 0, 0)
    assert FitPrune(removed=(3, 0, 4, 1)).retained(4, 0) == (0, 0, 0)


# --- FastV without RoPE, and random


def test_fastv_without_rope_drops_at_several_layers():
    """int(49 * .25) = 12; 1 - .9 in floats is a little less than .1, so of 10 none is left."""
    assert FastV(k=3, r=0.75, rope=False, rounding="truncate").retained(8, 49) == (12,)
    assert FastV(k=(8, 16), r=0.5, rope=False).retained(32, 576) == (288, 144)
    assert FastV(k=[8, 16], r=0.5).k == (8, 16)
    assert FastV(k=2, r=0.9, rounding="truncate").retained(8, 10) == (0,)
    assert FastV(k=2, r=0.9, rounding="floor").retained(8, 10) == (1,)


def test_fastv_without_rope_does_not_see_where_tokens_stand():
    """Of tokens with equal states, the first layer's attention without positions is equal."""
    case = case_of("bare_llama").alone(0)
    embeds = case.inputs["inputs_embeds"].clone()
    image = case.options["image_mask"]
    embeds[image] = embeds[image][:1]
    case = case.with_inputs(inputs_embeds=embeds)
    scores = {}
    for rope in (True, False):
        with case.under(FastV(k=1, r=0.5, rope=rope)) as report:
            case.forward()
        scores[rope] = report.scores[0][0]
    assert scores[False].tolist() == pytest.approx([1 / 25] * 25)
    assert scores[True].std() > 1e-4


def test_fastv_without_rope_refuses_labels_and_with_it_takes_them():
    case = build(model_of("llava_gqa"), [[4, IMAGE, 9]])
    labels = case.inputs["input_ids"].clone()
    labels[:, :-3] = -100
    with case.under(FastV(rope=False)), pytest.raises(UserError, match="fastv can't be trained with"):
        case.forward(labels=labels)
    with case.under(FastV()):
        assert case.forward(labels=labels).loss > 0


@pytest.mark.parametrize(("preset", "count"), [("192", 166), ("128", 98), ("64", 29)])
def test_a_preset_of_fastv_is_a_mean_over_the_layers(preset, count):
    """One token more would be above it."""
    for rope in (True, False):
        strategy = FastV(preset=preset, rope=rope)
        assert (strategy.k, strategy.retained(32, 576)) == (2, (count,))
        assert int(preset) - 1 < mean(strategy) <= int(preset) < mean(strategy) + 30 / 32
        (note,) = strategy.notes(32, 576)
        assert note.startswith(f"preset={preset} is image tokens a layer in the mean over the layers: ")
    with pytest.raises(UserError, match=f"preset={preset} says k=2, and k=3 is given beside it"):
        FastV(preset=preset, k=3)
    with pytest.raises(UserError, match="an image here has 1 of 144"):
        FastV(preset=preset).check_image(TokenShape(144))
    assert FastV().notes(32, 576) == []


def test_a_preset_of_random_within_the_decoder_is_the_final_count():
    strategy = Random(preset=128, k=2)
    assert strategy.retained(32, 576) == (128,)
    average = (2 * 576 + 30 * 128) // 32
    (note,) = strategy.notes(32, 576)
    assert note == (
        f"preset=128 is the final count as its paper counts: {average} of 576 a layer here, and 128 in the "
        "end."
    )
    with pytest.raises(UserError, match="an image here has 1 of 25"):
        strategy(model_of("llava_gqa"))


def test_random_within_the_decoder_keeps_or_closes_positions():
    case = build(model_of("llava_gqa"), [[4, IMAGE, 9]])
    logits = {}
    for positions in ("keep", "renumber"):
        with case.under(Random(tokens=5, k=2, positions=positions)) as report:
            logits[positions] = case.forward().logits[0, -1]
        assert report.image_tokens_per_layer == [[25]] * 2 + [[5]] * 6
    assert not torch.allclose(logits["keep"], logits["renumber"])


# --- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: V2Drop(layers=(3, 2, 5)), r"layers=\(3, 2, 5\) is not allowed. .* must increase"),
        (lambda: V2Drop(layers=()), r"layers=\(\) is not allowed"),
        (lambda: V2Drop(layers=[], keep_ratios=[]), r"layers=\(\) is not allowed"),
        (lambda: V2Drop(layers=(3, 5)), "2 layers need as many keep_ratios, but there are 3"),
        (lambda: V2Drop(keep_ratios=(0.5, 2, 0)), r"keep_ratios=2 is not allowed: use a number in \[0, 1\]"),
        (lambda: V2Drop(keep_ratios=0.5), "keep_ratios=0.5 is not allowed: give a share for each drop"),
        (lambda: V2Drop(layers=(1, 2, 9)).drops(8), r"layers=\(1, 2, 9\) is not allowed. .* from 1 to 8"),
        (lambda: V2Drop(layers=(1, 2, 8)).drops(8), "layers=8 is after the last of 8 layers.* from 1 to 7"),
        (lambda: V2Drop().drops(2), "layers 3, 17, 22 of 32 don't fit a model of 2 layers"),
        (lambda: V2Drop(layers=()), r"layers=\(\) is not allowed: name one or more layers, as \[2,4\]"),
        (lambda: V2Drop(layers=3), "1 layers need as many keep_ratios, but there are 3"),
        (lambda: Feather(layers=8), r"layers=\[8\] is not allowed: FEATHER drops twice"),
        (lambda: MustDrop(layers=[]), r"layers=\(\) is not allowed: name one or more layers"),
        (lambda: SparseVLM(layers=(1, 2)), r"give 2 numbers, one for each drop of layers=\[1, 2\]"),
        (lambda: SparseVLM(ratios=(2, 1, 0)), r"^ratios=2 is not allowed"),
        (lambda: VTW(k=(1, 2)), r"k=\(1, 2\) is not allowed: name one layer, from 1 to the depth"),
        (lambda: VTW(k=[]), r"k=\(\) is not allowed: name one layer"),
        (lambda: DART(k=[2]), r"k=\(2,\) is not allowed: name one layer"),
        (lambda: DART(k=9).drops(8), "k=9 is not allowed. .* from 1 to 8"),
        (lambda: DART(k=8).drops(8), "k=8 is after the last of 8 layers, and dart compares states"),
        (lambda: DART(pivot_image_token=0), "pivot_image_token=0 is not allowed"),
        (lambda: DART(max_num_trunction=1.5), "max_num_trunction=1.5 is not allowed"),
        (lambda: DART(reduction_ratio=1.1), "reduction_ratio=1.1 is not allowed"),
        (lambda: DART(preset=64, max_num_trunction=9), "preset=64 says max_num_trunction=64"),
        (lambda: Feather(layers=(8,)), r"layers=\[8\] is not allowed: FEATHER drops twice"),
        (lambda: Feather(layers=(8, 33)).drops(32), r"layers=\(8, 33\) is not allowed"),
        (lambda: Feather(stride=0), "stride=0 is not allowed"),
        (lambda: Feather(r=-1), "r=-1 is not allowed"),
        (
            lambda: FitPrune(reduction_ratio=55),
            "reduction_ratio=55 is not allowed: there are official",
        ),
        (
            lambda: FitPrune(reduction_ratio=60).drops(8),
            "is an official recipe of 32 layers, and this model has 8",
        ),
        (
            lambda: FitPrune(preset=64).drops(40),
            "preset=64 is an official recipe of 32 layers, and this model h",
        ),
        (
            lambda: FitPrune(reduction_ratio=60).check_image(TokenShape(144)),
            "reduction_ratio=60 is an official recipe for 576 image tokens, and an image has 144 here",
        ),
        (lambda: FitPrune(removed=(1, 2, 3)).drops(8), "removed has 3 numbers, and this model 8 layers"),
        (lambda: FitPrune(removed=(1, -2)), r"removed=\(1, -2\) is not allowed: give whole numbers"),
        (lambda: FitPrune(removed=(1, 2), reduction_ratio=60), r"removed=\(1, 2\) is another one: leave one"),
        (lambda: FastV(k=(3, 3)), r"k=\(3, 3\) is not allowed. .* must increase"),
        (lambda: FastV(k=()), r"k=\(\) is not allowed"),
        (lambda: FastV(k=(3, 40)).drops(32), r"k=\(3, 40\) is not allowed. .* from 1 to 32"),
        (lambda: FastV(rope="no"), "rope=no is not allowed: use true or false"),
        (lambda: Random(positions="close"), "positions='close' is unknown"),
        (lambda: Random(k=9).drops(8), "k=9 is not allowed. .* use values from 1 to 8"),
    ],
)
def test_settings_that_cannot_be_are_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()
