"""Strategies in the decoder with presets: their layers at other depths, counts by hand, budgets, refusals."""

import pytest
import torch
from contract import IMAGE, build, case_of, model_of

from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.dart import DART
from pdrop_eval.strategies.depth import scaled, scaled_note
from pdrop_eval.strategies.feather import Feather
from pdrop_eval.strategies.fitprune import FitPrune
from pdrop_eval.strategies.registry import installed
from pdrop_eval.strategies.v2drop import V2Drop
from pdrop_eval.strategies.vtw import VTW
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF

WITH_PRESETS = {"dart": DART, "feather": Feather, "fitprune": FitPrune, "v2drop": V2Drop, "vtw": VTW}
# (mean over 32 layers, final count) of 576 image tokens, by hand: published where the paper has a preset.
PRESETS = {
    ("dart", "192"): ((2 * 576 + 30 * 196) / 32, 196),
    ("dart", "128"): ((2 * 576 + 30 * 132) / 32, 132),
    ("dart", "64"): ((2 * 576 + 30 * 68) / 32, 68),
    # at most: int(576 * .199) = 114 of the best and 64 spaced ones, then int(178 * .199^2) = 7
    ("feather", "192"): ((8 * 576 + 8 * 178 + 16 * 7) / 32, 7),
    ("feather", "128"): ((2 * 576 + 6 * (233 + 64) + 24 * 48) / 32, 48),
    ("feather", "64"): ((2 * 576 + 6 * (77 + 64) + 24 * 2) / 32, 2),
    ("fitprune", "192"): (187.9, 88),
    ("fitprune", "128"): (130.6, 62),
    ("fitprune", "64"): (72.8, 37),
    ("v2drop", "192"): (193.75, 1),
    ("v2drop", "128"): (131.0, 1),
    ("v2drop", "64"): (66.7, 1),
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
    assert mean(strategy) == pytest.approx(average, abs=0.051)
    assert strategy.retained(32, 576)[-1] == final
    strategy.check_image(TokenShape(576))
    (note,) = strategy.notes(32, 576)
    assert note.startswith(f"preset={preset} is ")
    most = "at most " if name == "feather" else ""
    assert f": {most}{mean(strategy):.4g} of 576 a layer here, and {final} in the end." in note
    assert ("final count" in note) == (name == "dart")


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
    # FitPrune's are of 32 layers, too, which it says first.
    words = "an image here has 1 of 25" if name != "fitprune" else "and this model has 8"
    with pytest.raises(UserError, match=words):
        strategy(model_of("llava_gqa"))
    case = case_of("bare_llama")
    with pytest.raises(UserError, match=words):
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
