"""Strategies in the decoder with presets: their layers at other depths, counts by hand, budgets, refusals."""

import pytest
import torch
from contract import IMAGE, build, case_of, model_of
from transformers import LlamaConfig, LlavaConfig, LlavaNextConfig

from pdrop_eval.models.encoded import TokenShape
from pdrop_eval.strategies.depth import scaled, scaled_note
from pdrop_eval.strategies.registry import installed
from pdrop_eval.strategies.vtw import VTW
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF

LLAVA = LlavaConfig(text_config=LlamaConfig())  # the 7B: 32 layers, 576 image tokens
NEXT = LlavaNextConfig(text_config=LlamaConfig(), image_grid_pinpoints=[[336, 672], [672, 672]])  # 2,880
WITH_PRESETS = {"vtw": VTW}
# (mean over 32 layers, final count) of 576 image tokens, by hand.
PRESETS = {
    ("vtw", "192"): (11 * 18, 0),
    ("vtw", "128"): (7 * 18, 0),
    ("vtw", "64"): (4 * 18, 0),
}


def mean(strategy, depth=32, image_tokens=576):
    return sum(strategy.schedule(depth, image_tokens)) / depth


@pytest.mark.parametrize(
    ("layers", "depth", "found"),
    [
        ((3, 17, 22), 32, (3, 17, 22)),
        ((3, 17, 22), 8, (1, 4, 5)),  # .75, 4.25, 5.5
        ((8, 16), 40, (10, 20)),
        ((2, 3, 7), 8, (1, 2, 3)),  # .5, .75 and 1.75: each after the one before
        ((15,), 1, (1,)),
    ],
)
def test_layers_of_32_are_scaled_to_other_depths(layers, depth, found):
    assert scaled(layers, depth) == found


def test_scaled_layers_are_said():
    assert scaled_note((3, 17, 22), 32) == []
    assert scaled_note((15,), 8) == [
        "Layer 15 of the paper's 32 is 3 of 8 here (l·8/32, rounded down, at least 1, rising)."
    ]
    with pytest.raises(UserError, match="layers 3, 17, 22 of 32 don't fit a model of 2 layers"):
        scaled((3, 17, 22), 2)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_comes_to_what_the_published_settings_come_to(name, preset):
    strategy = WITH_PRESETS[name](preset=int(preset))
    average, final = PRESETS[name, preset]
    assert mean(strategy) == pytest.approx(average, abs=0.05)
    assert strategy.retained(32, 576)[-1] == final
    strategy.check_image(TokenShape(576))
    (note,) = strategy.notes(32, 576)
    assert note.startswith(f"preset={preset} is ")
    assert f": {mean(strategy):.4g} of 576 a layer here, and {final} in the end." in note


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_every_strategy_with_presets_has_all_three_and_its_file_of_settings(name):
    assert list(WITH_PRESETS[name].presets) == ["192", "128", "64"]
    assert name in installed()
    assert "\npreset: null" in (CONF / "strategy" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_a_preset_for_other_images_is_refused(name):
    strategy = WITH_PRESETS[name](preset="64")
    with pytest.raises(UserError, match="an image here has 1 of 144: give the settings themselves, or a bud"):
        strategy.check_image(TokenShape(144))
    with pytest.raises(UserError, match=r"preset=64 of .* one tile of 576"):
        strategy.check_image(TokenShape(2880, 5))
    with pytest.raises(UserError, match="an image here has 1 of 25"):
        strategy(model_of("llava_gqa"))
    case = case_of("bare_llama")
    with pytest.raises(UserError, match="an image here has 1 of 25"):
        case.under(strategy)
    with pytest.raises(UserError, match=r"preset='100' is not allowed: .* has 192, 128, 64"):
        WITH_PRESETS[name](preset="100")


@pytest.mark.parametrize("name", WITH_PRESETS)
def test_labels_are_refused(name):
    case = build(model_of("llava_gqa"), [[4, IMAGE, 9]])
    with (
        case.under(WITH_PRESETS[name]()),
        pytest.raises(UserError, match=f"{name} can't be trained with"),
    ):
        case.forward(labels=torch.zeros_like(case.inputs["input_ids"]))
    assert installed()[name].trains is False


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
