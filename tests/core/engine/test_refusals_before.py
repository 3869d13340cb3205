"""What strategies before the decoder refuse, before anything is computed; and what they don't have to."""

import copy

import pytest
import torch
from contract import FAMILIES, GRIDS, IMAGE, IMAGE_ID, build, case_of, model_of, text_settings
from transformers import LlamaConfig, SiglipVisionConfig, StaticCache

from pdrop_eval import FastV, UserError
from pdrop_eval.models import families
from pdrop_eval.models.kv_cache import cache_argument
from pdrop_eval.models.towers.encoded import Needs
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.hired import HiRED
from pdrop_eval.strategies.prumerge import PruMerge
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.uniform import Uniform
from pdrop_eval.strategies.visionzip import VisionZip


def siglip():
    """A LLaVA whose tower has no class token."""
    family = families.get("llava")
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=20,
        patch_size=4,
    )  # fmt: skip
    config = family.make_config(LlamaConfig(**text_settings()), vision, IMAGE_ID, GRIDS)
    config.vision_feature_select_strategy = "full"
    return family.load_class()(config).eval()


def test_a_tower_without_a_class_token_is_refused_by_those_that_choose_by_it():
    model = siglip()
    with pytest.raises(
        UserError, match=r"visionzip chooses by the class token .* siglip_vision_model has none"
    ):
        VisionZip(dominant=5, contextual=3)(model)
    case = build(model, [[4, IMAGE, 3]])
    with Uniform(tokens=7)(model) as report:
        case.forward()
    assert report.image_tokens_per_layer == [[7]] * 8


def test_a_text_model_is_refused():
    with pytest.raises(UserError, match="LlamaForCausalLM takes none: open it on the vision-language model"):
        Uniform(tokens=7)(model_of("bare_llama"))


def test_several_feature_layers_are_refused_where_one_has_to_be_looked_at():
    model = copy.copy(model_of("llava_gqa"))
    model.config = copy.deepcopy(model.config)
    model.config.vision_feature_layer = [-2, -1]
    with pytest.raises(UserError, match=r"vision_feature_layer=\[-2, -1\] is not one layer"):
        VisionZip(dominant=5, contextual=3)(model)


@pytest.mark.parametrize(
    ("strategy", "words"),
    [
        (Uniform(tokens=26), "tokens=26 is not allowed: use a whole number from 1 to 25"),
        (VisionZip(dominant=20, contextual=7), "a tile has 25 patches and a class token, so 26 together"),
    ],
)
def test_more_than_an_image_has_is_refused(strategy, words):
    with pytest.raises(UserError, match=words):
        strategy(model_of("llava_gqa"))


@pytest.mark.parametrize("control", [Uniform, Random])
def test_a_small_image_among_larger_ones_keeps_all_of_its_tokens(control):
    case = build(model_of("llava_next"), [[4, IMAGE, 3, IMAGE, 4], [2, IMAGE, 5]])
    # 20x40: 25 + 5 * 11 = 80 tokens; 40x25: 25 + 10 * 7 = 95; 40x40: 25 + 10 * 11 = 135.
    with control(tokens=90)(case.model) as report:
        case.forward()
    assert report.image_tokens == [80 + 95, 135]
    assert report.image_tokens_per_layer == [[80 + 90, 90]] * 8
    most = families.get("llava_next").nominal_image_tokens(case.model.config)
    control(tokens=most)(case.model)
    with pytest.raises(UserError, match=f"tokens={most + 1} is not allowed: .* from 1 to {most}"):
        control(tokens=most + 1)(case.model)


@pytest.mark.parametrize("tokens", [0, -1, 2.5, True, "7"])
def test_what_is_no_number_of_tokens_is_refused(tokens):
    with pytest.raises(UserError, match=f"tokens={tokens!r} is not allowed: use a whole number from 1 up"):
        Uniform(tokens=tokens)


def test_images_that_are_embedded_or_encoded_already_are_refused():
    case = case_of("llava_gqa")
    embeds = case.model.get_input_embeddings()(case.inputs["input_ids"]).detach()
    encoded = case.model.get_image_features(case.inputs["pixel_values"], return_dict=True)
    with Uniform(tokens=7)(case.model):
        with pytest.raises(UserError, match="pass input_ids and pixel_values, not inputs_embeds"):
            case.model(inputs_embeds=embeds, pixel_values=case.inputs["pixel_values"])
        for call in (case.model, case.model.generate):
            with pytest.raises(UserError, match="pass pixel_values, not images that are encoded already"):
                call(input_ids=case.inputs["input_ids"], mm_encoder_outputs={"image": encoded})


def test_prompts_and_images_that_do_not_belong_together_are_refused():
    case = case_of("llava_gqa")
    pixels = case.inputs["pixel_values"]
    with Uniform(tokens=7)(case.model):
        with pytest.raises(UserError, match="There are 5 images, but the prompts have image tokens for 4"):
            case.with_inputs(pixel_values=torch.cat((pixels, pixels[:1]))).forward()
        with pytest.raises(UserError, match="The image tokens of row 3 are not those of whole images"):
            case.with_inputs(pixel_values=pixels[:3]).forward()


def test_labels_are_refused_where_one_question_decides():
    case = case_of("llava_gqa")
    strategy = Uniform(tokens=7)
    strategy.trains = False
    with (
        strategy(case.model),
        pytest.raises(UserError, match="uniform can't be trained with, nor be given labels"),
    ):
        case.forward(labels=case.inputs["input_ids"])


def test_a_question_for_each_row_is_asked_for():
    case = case_of("llava_gqa")
    strategy = Uniform(tokens=7)
    strategy.needs = Needs(question=True)
    with (
        strategy(case.model, questions=["one"]),
        pytest.raises(UserError, match="one text for each of the 4"),
    ):
        case.generate()
    with strategy(case.model, questions=["a", "b", "c", "d"]):
        assert case.generate(new=6).shape == (4, 6)


def test_generation_without_a_cache_is_refused_and_a_static_cache_is_not():
    case = case_of("llava_gqa")
    longest = case.inputs["input_ids"].shape[1] + 6

    def static():
        cache = StaticCache(config=case.model.config.get_text_config(), max_cache_len=longest)
        return cache_argument(case.model, cache)

    with Uniform(tokens=7)(case.model):
        with pytest.raises(UserError, match="use_cache=False"):
            case.generate(use_cache=False)
        assert torch.equal(case.generate(**static()), case.generate())
    with FastV()(case.model), pytest.raises(UserError, match="StaticCache can't hold layers"):
        case.generate(**static())


def test_a_prompt_without_images_is_as_it_was():
    case = case_of("llava_gqa").alone(2)
    plain = case.generate()
    with Uniform(tokens=7)(case.model) as report:
        assert torch.equal(case.generate(), plain)
    assert report.sources is None
    assert report.image_tokens_per_layer == [[0]] * 8


@pytest.mark.parametrize(
    ("name", "strategy", "words"),
    [
        (
            "qwen2_5_vl",
            HiRED(token_budget_rate=0.3),
            r"hired has no port to Qwen2\.5-VL.*visionzip, vispruner",
        ),
        ("qwen3_vl", FasterVLM(visual_token_num=6), r"fastervlm has no port to Qwen3-VL.*These are: uniform"),
        ("internvl", PruMerge(), r"prumerge has no port to InternVL3.*fastervlm"),
        ("llava_onevision", VisionZip(dominant=5, contextual=3), r"visionzip has no port to LLaVA-OneVision"),
        ("smolvlm", Uniform(tokens=7), r"SmolVLM isn't reduced by here: an image is several runs of tokens"),
    ],
)
def test_methods_without_a_port_are_refused_with_the_reason(name, strategy, words):
    if name not in FAMILIES:
        pytest.skip("the installed transformers doesn't have this family")
    with pytest.raises(UserError, match=words):
        strategy(model_of(name))
