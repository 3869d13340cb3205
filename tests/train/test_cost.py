"""Theoretical training cost: by hand, against torch's own counter on a real backward, and its bound."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextForConditionalGeneration,
)

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.run.train.estimate.cost import Cost, architecture_of, speedup_bound, training_flops

IMAGE, TILE = 60, 25  # the image token's id; a tile of 20 pixels has 5x5 patches of 4


def config_of(cls=LlavaConfig, kv_heads=2, **changes):
    text = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=8,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=20,
        patch_size=4,
        projection_dim=16,
    )
    return cls(vision_config=vision, text_config=text, image_token_id=IMAGE, **changes)


def cost(strategy=None, image=20, text=10, train=("projector", "decoder"), **settings):
    settings = {"checkpointing": False, **settings}
    return training_flops(config_of(), strategy or Vanilla(), image, text, train=train, **settings)


@pytest.mark.parametrize(
    ("strategy", "forward"),
    [(Vanilla(), 3.82), (PyramidDrop(), 1.78), (PyramidDrop(ratio=0.4), 1.54), (FastV(), 2.01)],
)
def test_image_tokens_of_llava_are_three_times_the_papers_tflops(strategy, forward):
    """Backward is twice the forward; with gradient checkpointing there is a second forward."""
    llava = LlavaConfig(vision_config=CLIPVisionConfig(), text_config=LlamaConfig())
    for checkpointing, times in ((False, 3), (True, 4)):
        found = training_flops(llava, strategy, 576, 60, train=["decoder"], checkpointing=checkpointing)
        assert found.image_tokens / 1e12 == pytest.approx(times * forward, abs=times * 0.005)


def test_a_frozen_decoder_by_hand():
    """A layer of n=20, d=32, m=48, two of four heads for k and v: linear layers and attention, as below.

    Frozen, linear layers count twice and attention three times; learning, both three times.
    """
    linear, attention = 20 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48), 2 * 20 * 20 * 32
    assert cost(train=["projector"]).image_tokens == 8 * (2 * linear + 3 * attention)
    assert cost().image_tokens == 8 * 3 * (linear + attention)
    assert cost(checkpointing=True).image_tokens == 8 * 4 * (linear + attention)


def test_adapters_by_hand():
    """Rank 4 on q (32+32), k and v (32+16 each), o (32+32), three of the feed-forward (32+48 each)."""
    adapters = 8 * 3 * 20 * 4 * (64 + 48 + 48 + 64 + 3 * 80)
    assert cost(lora_rank=4).image_tokens - cost(train=["projector"]).image_tokens == adapters


def test_pyramiddrop_by_hand():
    """Each two of eight layers see 20, 10, 5, 2 image tokens; every drop ranks by keys of what is there."""
    layers = [20, 20, 10, 10, 5, 5, 2, 2]
    each = {
        n: training_flops(config_of(), Vanilla(), n, 0, train=["decoder"], checkpointing=False)
        for n in layers
    }
    assert cost(PyramidDrop()).image_tokens == sum(each[n].image_tokens for n in layers) // 8

    def decoder(n):
        return 3 * (n * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 48) + 2 * n * n * 32)

    expected = sum(decoder(n + 10) for n in layers)
    expected += (30 + 20 + 15) * 32 * 16  # rankings
    expected += 3 * 12 * 32 * 64  # the head
    vision = 3 * (4 * 26 * 16 * 16 + 2 * 26 * 26 * 16 + 2 * 26 * 16 * 24) + 25 * 48 * 16
    expected += vision + 25 * (2 * 16 * 32 + 3 * 32 * 32)
    assert cost(PyramidDrop()).all_tokens == expected


def test_a_text_only_sample_needs_no_vision_tower():
    assert cost(image=0).image_tokens == 0
    assert cost(image=0).all_tokens == cost(image=0, tiles=0).all_tokens < cost(image=0, tiles=1).all_tokens


def test_tiles_follow_from_the_image_tokens():
    """Four tiles of 25 with 10 newline tokens and the overview are 135 tokens."""
    assert cost(image=135).all_tokens == cost(image=135, tiles=5).all_tokens
    assert cost(image=3).all_tokens == cost(image=3, tiles=1).all_tokens


def test_costs_add_up():
    one = cost()
    assert one + one == one * 2 == Cost(2 * one.image_tokens, 2 * one.all_tokens, one.convention)
    assert "no layer runs forward twice" in one.convention
    assert "(gradient checkpointing)" in cost(checkpointing=True).convention


def counted(strategy, train, checkpointing, kv_heads, cls=LlavaForConditionalGeneration, **changes):
    """Multiply-adds of a real forward and backward of one sample of an image and 12 other tokens."""
    config = config_of(cls.config_class, kv_heads, **changes)
    torch.manual_seed(0)
    model = cls(config)
    model.set_attn_implementation("eager")
    places = {
        "vision": ["model.vision"],
        "projector": ["model.multi_modal"],
        "decoder": ["model.lang", "lm_"],
    }
    learning = tuple(place for part in train for place in places[part])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(learning))
    model.train()
    if checkpointing:
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.disable_input_require_grads()  # else a gradient passes a frozen vision tower, for nothing
    tiles = 1 if cls is LlavaForConditionalGeneration else 3
    image = TILE if tiles == 1 else TILE + 5 * 11  # an overview, and 5x10 patches with a newline a row
    ids = torch.tensor([[1, 5, *[IMAGE] * image, *range(6, 16)]])
    labels = torch.where(torch.arange(ids.shape[1]) >= ids.shape[1] - 4, ids, -100)
    pixels = torch.randn(*([1] if tiles == 1 else [1, tiles]), 3, 20, 20)
    extra = {} if tiles == 1 else {"image_sizes": torch.tensor([[20, 40]])}
    with (
        torch.utils.checkpoint.set_checkpoint_early_stop(False),
        strategy(model),
        FlopCounterMode(display=False) as counter,
    ):
        model(input_ids=ids, pixel_values=pixels, labels=labels, use_cache=False, **extra).loss.backward()
    wanted = training_flops(
        config, strategy, image, 12, train=train, checkpointing=checkpointing, tiles=tiles
    )
    return counter.get_total_flops() / 2, wanted.all_tokens


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [Vanilla(), PyramidDrop(), FastV()], ids=lambda s: s.name)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "train", [("projector",), ("projector", "decoder"), ("vision", "projector", "decoder")], ids="+".join
)
def test_torch_counts_the_same_in_a_real_backward(strategy, train, checkpointing):
    """Within what the formula leaves out: the one or two query rows of a ranking."""
    found, wanted = counted(strategy, train, checkpointing, kv_heads=4)
    assert found == pytest.approx(wanted, rel=0.01)


def test_torch_counts_the_same_with_grouped_keys_and_tiles():
    found, wanted = counted(
        PyramidDrop(),
        ("vision", "projector", "decoder"),
        False,
        kv_heads=2,
        cls=LlavaNextForConditionalGeneration,
        image_grid_pinpoints=[[20, 40]],
    )
    assert found == pytest.approx(wanted, rel=0.01)


def test_the_bound_of_the_speedup():
    config = config_of()
    assert speedup_bound(config, Vanilla(), 20, 10, ["decoder"], False) == 1
    found = speedup_bound(config, PyramidDrop(), 20, 10, ["projector", "decoder"], True)
    assert found == cost(checkpointing=True).all_tokens / cost(PyramidDrop(), checkpointing=True).all_tokens
    assert 1 < found < 2


def test_a_config_may_leave_values_to_transformers():
    plain = {"model_type": "llava", "text_config": {"model_type": "llama", "vocab_size": 32064}}
    sizes = architecture_of(plain)
    assert (sizes.layers, sizes.d, sizes.m, sizes.vocabulary) == (32, 4096, 11008, 32064)
    assert (sizes.vision_layers, sizes.vision_used, sizes.tile_tokens) == (24, 23, 576)
    assert architecture_of(sizes) is sizes


@pytest.mark.parametrize("config", [{"model_type": "bert"}, {}, LlamaConfig()])
def test_another_kind_of_model(config):
    with pytest.raises(UserError, match=r"LLaVA-1\.5"):
        architecture_of(config)


def test_an_unknown_part():
    with pytest.raises(UserError, match="'vision', 'projector', 'decoder'"):
        cost(train=["head"])
