"""Presets of strategies before the decoder: the counts that papers compare, by hand, and what is refused."""

import pytest
from text_tower import text_tower

from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import cdpruner
from pdrop_eval.strategies.cdpruner import CDPruner
from pdrop_eval.strategies.divprune import DivPrune
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.hired import HiRED
from pdrop_eval.strategies.pool import Pool
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.registry import installed
from pdrop_eval.strategies.visionzip import VisionZip
from pdrop_eval.strategies.vispruner import VisPruner
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import CONF

LLAVA, NEXT = TokenShape(576), TokenShape(2880, 5)  # one tile; an overview and four, nothing cut off
WITH_PRESETS = {
    "cdpruner": CDPruner,
    "divprune": DivPrune,
    "fastervlm": FasterVLM,
    "hired": HiRED,
    "pool": Pool,
    "random": Random,
    "visionzip": VisionZip,
    "vispruner": VisPruner,
}
# What a preset leaves of an image: its name says it.
COUNTS = {"192": (LLAVA, 192), "128": (LLAVA, 128), "64": (LLAVA, 64)}
COUNTS |= {"next_640": (NEXT, 640), "next_320": (NEXT, 320), "next_160": (NEXT, 160)}


def made(name, preset):
    more = {"text_tower": "tiny"} if name == "cdpruner" else {}
    return WITH_PRESETS[name](preset=preset, **more)


@pytest.fixture(autouse=True)
def _tiny_text_tower(monkeypatch):
    monkeypatch.setitem(cdpruner.TOWERS, "tiny", text_tower(16))


@pytest.mark.parametrize("preset", COUNTS)
@pytest.mark.parametrize("name", WITH_PRESETS)
def test_a_preset_leaves_as_many_tokens_as_its_name_says(name, preset):
    shape, count = COUNTS[preset]
    strategy = made(name, preset)
    strategy.check_shape(shape)
    assert strategy.retained_count(shape) == count


def test_every_strategy_with_presets_has_all_of_them_and_its_file_of_settings():
    for name, cls in WITH_PRESETS.items():
        assert list(cls.presets) == list(COUNTS)
        assert name in installed()
        assert "\npreset: null" in (CONF / "strategy" / f"{name}.yaml").read_text()


def test_a_number_on_the_command_line_names_a_preset():
    assert FasterVLM(preset=128).visual_token_num == 128
    assert VisionZip(preset=192).counts == (162, 30)
    assert FasterVLM().visual_token_num == 64


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "100"}, "preset='100' is not allowed: FasterVLM has 192, 128, 64, next_640"),
        (
            {"preset": "64", "visual_token_num": 32},
            "preset=64 says visual_token_num=64, and",
        ),
        ({"visual_token_num": 0}, "visual_token_num=0 is not allowed"),
        ({"visual_token_num": 2.5}, "visual_token_num=2.5 is not allowed"),
        ({"layout": "stacked"}, "layout='stacked' is unknown"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        FasterVLM(**settings)


@pytest.mark.parametrize(
    ("preset", "shape", "words"),
    [
        ("64", NEXT, "take one of the presets next_"),
        ("next_160", LLAVA, "take a preset without next_"),
        ("64", TokenShape(256), "an image here has 1 of 256: give the settings themselves, or a budget"),
    ],
)
@pytest.mark.parametrize("name", WITH_PRESETS)
def test_a_preset_for_other_tiles_is_refused(name, preset, shape, words):
    with pytest.raises(UserError, match=words):
        made(name, preset).check_shape(shape)


def test_more_than_a_tile_has_is_refused():
    with pytest.raises(UserError, match=r"visual_token_num=577 is not allowed: use .* from 1 to 576"):
        FasterVLM(visual_token_num=577).check_shape(LLAVA)
    FasterVLM(visual_token_num=576).check_shape(LLAVA)


def test_a_count_is_shared_out_to_the_tiles():
    assert FasterVLM.for_count(322, NEXT).visual_token_num == 64
    padded = TokenShape(600, 5, 144, 24, (144, 108, 108, 108, 108))
    packed = FasterVLM.for_count(174, padded, layout="packed")
    assert packed.visual_token_num == 30  # 174 - 24 newlines, of 5 tiles
    assert packed.retained_count(padded) == 174


@pytest.mark.parametrize("tokens", [64, 128, 192])
@pytest.mark.parametrize("name", WITH_PRESETS)
def test_a_budget_of_as_many_tokens_is_the_preset(name, tokens):
    model = {
        "model_type": "llava",
        "vision_config": {"model_type": "clip_vision_model", "image_size": 336, "patch_size": 14},
        "text_config": {"model_type": "llama", "num_hidden_layers": 4},
    }
    more = {"text_tower": "tiny"} if name == "cdpruner" else {}
    found = WITH_PRESETS[name].for_budget(model, tokens=tokens, **more)
    assert found.reached.schedule == (tokens,) * 4
    for setting, value in WITH_PRESETS[name].presets[str(tokens)].items():
        assert getattr(found, setting) == pytest.approx(value, abs=1e-8)
    with pytest.raises(UserError, match="is what the budget decides"):
        WITH_PRESETS[name].for_budget(model, tokens=tokens, preset="64", **more)
