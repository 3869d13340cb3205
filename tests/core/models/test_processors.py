"""A checkpoint's processor: what it doesn't say is filled in, what disagrees with the model is refused."""

import json
import sys

import pytest
import torch
from checkpoint_copies import MINI_TOKENS, Copy, image

from pdrop_eval.models.loading.checkpoint import check_checkpoint
from pdrop_eval.models.loading.processors import process_image
from pdrop_eval.models.prompts import expand_images, prompt_ids, token_ids
from pdrop_eval.utils.errors import UserError

VALUES = ("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy")


@pytest.fixture
def mini(tmp_path):
    return Copy(tmp_path, "mini")


@pytest.fixture
def mini_next(tmp_path):
    return Copy(tmp_path, "mini_next_p5")


@pytest.mark.parametrize("lacking", [["patch_size"], ["num_additional_image_tokens"], list(VALUES)])
def test_what_a_processor_does_not_say_is_the_models(mini, lacking):
    mini.edit("processor_config.json", drop=lacking)
    processor = mini.load()
    assert [getattr(processor, name) for name in VALUES] == [8, 1, "default"]
    assert process_image(mini.family, processor, image())[1] == MINI_TOKENS


def test_the_default_that_a_later_version_wrote_for_a_processor_that_counts_nothing_is_not_taken(mini):
    mini.edit(
        "processor_config.json",
        patch_size=None, vision_feature_select_strategy=None, num_additional_image_tokens=0,
    )  # fmt: skip
    assert process_image(mini.family, mini.load(), image())[1] == MINI_TOKENS


@pytest.mark.parametrize("named", [None, "CLIPProcessor"])
def test_the_file_layout_before_processor_config_json(mini, named):
    mini.old_layout()
    mini.edit("preprocessor_config.json", **({"processor_class": named} if named else {}))
    processor = mini.load()
    assert process_image(mini.family, processor, image())[1] == MINI_TOKENS
    assert processor.chat_template


def test_the_old_layout_of_a_family_of_tiles_takes_its_grids_from_the_config(mini_next):
    mini_next.old_layout()
    mini_next.edit("preprocessor_config.json", drop=["image_grid_pinpoints"])
    processor = mini_next.load()
    assert processor.image_processor.image_grid_pinpoints[0] == [96, 192]
    # 120x60 fills two tiles side by side: 144 of the overview, 12 rows of 24 and a newline
    assert process_image(mini_next.family, processor, image(120, 60))[1] == 144 + 12 * 25


@pytest.mark.parametrize(("wrong", "said"), [
    ({"patch_size": 16}, "counts 36 tokens .* makes 144. Correct patch_size=16 .* it is 8"),
    ({"num_additional_image_tokens": 0}, "counts 143 .* num_additional_image_tokens=0 .* it is 1"),
    ({"vision_feature_select_strategy": "full"}, "counts 145 .*_strategy='full' .* it is 'default'"),
    ({"image_token": "USER:"}, "writes 'USER:', id 5, .* image token 4"),
])  # fmt: skip
def test_a_processor_that_disagrees_with_its_model_is_refused_before_weights(mini, wrong, said):
    mini.edit("processor_config.json", **wrong)
    with pytest.raises(UserError, match=said):
        mini.load()


def test_pixels_of_another_size_than_the_towers_are_refused(mini):
    mini.old_layout()
    mini.edit("preprocessor_config.json", size={"height": 112, "width": 112})
    with pytest.raises(UserError, match=r"counts 196 tokens|can't take what it makes .*112"):
        mini.load()


def test_grids_of_another_model_are_refused(mini_next):
    mini_next.old_layout()
    mini_next.edit("preprocessor_config.json", image_grid_pinpoints=[[96, 96]])
    with pytest.raises(UserError, match=r"Correct image_grid_pinpoints=\[\[96, 96\]\]"):
        mini_next.load()


def test_a_processor_that_makes_too_little_of_an_image_is_refused(mini_next):
    mini_next.old_layout()
    mini_next.edit("preprocessor_config.json", image_processor_type="CLIPImageProcessor")
    with pytest.raises(UserError, match="can't take an image of 640x400 pixels"):
        mini_next.load()


def test_a_processor_with_other_tokens_inside_an_image_is_refused(mini, monkeypatch):
    from transformers import LlavaProcessor

    original = LlavaProcessor.__call__

    def with_a_break(self, **given):
        found = original(self, **given)
        ids = found["input_ids"][0].tolist()
        ids.insert(ids.index(self.image_token_id) + 12, 2)
        return {**found, "input_ids": torch.tensor([ids])}

    monkeypatch.setattr(LlavaProcessor, "__call__", with_a_break)
    with pytest.raises(UserError, match=r"puts other tokens between those of an image .* than LLaVA-1.5 has"):
        mini.load()


@pytest.mark.parametrize(("vision", "config", "said"), [
    ({"model_type": "pixtral"}, {}, "vision tower of type 'pixtral'.*clip_vision_model, siglip_vision_model"),
    ({"model_type": "siglip_vision_model"}, {}, "no class token.*Set it to 'full'"),
])  # fmt: skip
def test_a_tower_whose_layout_is_unknown_is_refused_from_the_config(mini, vision, config, said):
    (mini.folder / "model.safetensors").touch()
    before = json.loads((mini.folder / "config.json").read_text())
    mini.edit("config.json", vision_config={**before["vision_config"], **vision}, **config)
    with pytest.raises(UserError, match=said):
        check_checkpoint(str(mini.folder), None)


def test_a_tower_without_a_class_token_gets_a_processor_without_one(mini):
    before = json.loads((mini.folder / "config.json").read_text())
    tower = {**before["vision_config"], "model_type": "siglip_vision_model"}
    mini.edit("config.json", vision_config=tower, vision_feature_select_strategy="full")
    mini.edit("processor_config.json", drop=VALUES)
    processor = mini.load()
    assert [getattr(processor, name) for name in VALUES] == [8, 0, "full"]
    assert process_image(mini.family, processor, image())[1] == MINI_TOKENS


def test_attention_that_this_machine_has_not_is_no_matter_of_the_probe(mini):
    mini.edit("config.json", attn_implementation="flash_attention_2")
    assert mini.load().patch_size == 8


def test_a_model_that_cannot_be_built_is_an_error_of_its_checkpoint(mini):
    before = json.loads((mini.folder / "config.json").read_text())
    mini.edit("config.json", vision_config={**before["vision_config"], "hidden_act": "no_such"})
    with pytest.raises(UserError, match=r"can't be loaded: .*no_such"):
        mini.load()


def test_the_probe_leaves_the_random_numbers_as_they_are(mini):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    mini.load()
    assert torch.equal(torch.rand(1), expected)


def test_the_probe_is_not_shared_out_by_zero_3(mini, monkeypatch):
    # as if a training had switched it on; DeepSpeed itself isn't needed, since nothing may be shared out
    monkeypatch.setattr("transformers.modeling_utils.is_deepspeed_zero3_enabled", lambda: True)
    monkeypatch.setitem(sys.modules, "deepspeed", None)  # importing it fails
    assert mini.load().patch_size == 8


@pytest.mark.parametrize("size", [(640, 400), (300, 470)])
def test_an_image_whose_tokens_are_known_has_the_same_pixels(mini, size):
    processor = mini.load()
    counted = process_image(mini.family, processor, image(*size))
    known = process_image(mini.family, processor, image(*size), counted.tokens)
    assert known.tokens == counted.tokens == MINI_TOKENS
    assert torch.equal(known.pixels["pixel_values"], counted.pixels["pixel_values"])


def test_the_ids_of_a_prompt_are_those_of_its_whole_text(mini):
    processor = mini.load()
    prompt = f"Two:{processor.image_token}\nand {processor.image_token}. What?"
    whole = token_ids(processor.tokenizer, expand_images(mini.family, processor, prompt, [3, 144]))
    assert prompt_ids(mini.family, processor, prompt, [3, 144]) == whole
    assert whole.count(processor.image_token_id) == 147
