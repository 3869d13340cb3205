"""Theoretical FLOPs: every figure printed in Tables 1 to 5 of the PyramidDrop paper, from the schedule."""

import sys

import pytest
import torch
from contract import model_of
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, MistralConfig

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.efficiency.flops import kv_cache_bytes, theoretical_flops

VICUNA = LlamaConfig(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
LLAVA = LlavaConfig(vision_config=CLIPVisionConfig(), text_config=VICUNA)
MISTRAL = MistralConfig(
    hidden_size=4096,
    intermediate_size=14336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
)


@pytest.mark.parametrize(
    ("strategy", "image_tokens", "printed"),
    [
        (Vanilla(), 576, "3.82"),  # Tables 1, 4, 5
        (FastV(), 576, "2.01"),  # 5
        (PyramidDrop(), 576, "1.78"),  # 1, 4, 5
        (PyramidDrop(ratio=0.4), 576, "1.54"),  # 4
        (PyramidDrop(ratio=0.6), 576, "2.06"),  # 4
        (Vanilla(), 2880, "20.8"),  # 1 to 5
        (FastV(), 2880, "10.6"),  # 3, 5
        (PyramidDrop(), 2880, "9.46"),  # 1 to 4
        (PyramidDrop(), 2880, "9.5"),  # 5
        (PyramidDrop(ratio=0.4), 2880, "8.22"),  # 4
        (PyramidDrop(ratio=0.6), 2880, "11.0"),  # 4
        (Vanilla(), 5184, "40.6"),  # 1, 2
        (PyramidDrop(), 5184, "18.1"),  # 1, 2
    ],
)
def test_printed_tflops(strategy, image_tokens, printed):
    report = theoretical_flops(LLAVA, strategy.schedule(32, image_tokens))
    decimals = len(printed.partition(".")[2])
    assert f"{report.total / 1e12:.{decimals}f}" == printed


def test_one_layer_by_hand():
    """n=10, d=8, m=12: 4*10*64 = 2560, 2*100*8 = 1600, 3*10*96 = 2880, FastV's 2*10*96 = 1920."""
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    assert theoretical_flops(config, (10, 0)).per_layer == (7040, 0)
    assert theoretical_flops(config, (10,), unit="ops").total == 14080
    assert theoretical_flops(config, (10,), formula="fastv").total == 6080
    assert theoretical_flops(config, (10, 10)).total == 14080


def test_text_tokens_are_added_to_every_layer():
    config = LlamaConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2)
    with_text = theoretical_flops(config, (6, 1), text_tokens=4)
    assert with_text.per_layer == theoretical_flops(config, (10, 5)).per_layer


def test_grouped_keys_and_values_cost_their_own_width():
    """One token of Mistral: q and o 2*4096^2, k and v 2*4096*1024, attention 2*4096, 3*4096*14336."""
    report = theoretical_flops(MISTRAL, (1,))
    assert report.total == 2 * 4096**2 + 2 * 4096 * 1024 + 2 * 4096 + 3 * 4096 * 14336
    assert "8 of 32 heads" in report.convention


def test_conventions_are_stated():
    assert theoretical_flops(LLAVA, (1,)).convention == (
        "PyramidDrop Eq. 4 (4nd^2 + 2n^2d + 3ndm a layer), multiply-adds, image tokens only, "
        "prefill of the decoder layers"
    )
    other = theoretical_flops(LLAVA, (1,), formula="fastv", unit="ops", text_tokens=7).convention
    for words in ("FastV", "2ndm", "operations (2 a multiply-add)", "image tokens and 7 text tokens"):
        assert words in other


def test_the_ratio_of_eq_3():
    """Cost linear in tokens: 1 - (1 + .5 + .25 + .125) / 4 = 53.1% saved."""
    schedule = PyramidDrop().schedule(32, 576)
    assert 1 - sum(schedule) / (32 * 576) == pytest.approx(0.53125)


@pytest.mark.parametrize(
    ("config", "schedule", "dtype", "expected"),
    [
        (LLAVA, (10, 4), torch.bfloat16, 2 * 4096 * 2 * 14),
        (LLAVA, (10, 4), "float32", 2 * 4096 * 4 * 14),
        (MISTRAL, (10, 4), "float16", 2 * 1024 * 2 * 14),
    ],
)
def test_kv_cache_bytes(config, schedule, dtype, expected):
    assert kv_cache_bytes(config, schedule, dtype) == expected


def test_the_bytes_of_common_kinds_of_numbers_need_no_torch(monkeypatch):
    """A plan knows what a cache takes without importing it: 2 x 4096 x 3 numbers."""
    monkeypatch.setitem(sys.modules, "torch", None)
    found = [kv_cache_bytes(LLAVA, (2, 1), kind) for kind in ("float32", "bfloat16", "float16")]
    assert found == [98304, 49152, 49152]


def test_kv_cache_bytes_are_those_of_a_real_cache():
    model = model_of("bare_llama")
    embeds = torch.randn(1, 30, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 30, dtype=torch.bool)
    mask[:, 3:23] = True
    with torch.no_grad(), PyramidDrop()(model, image_mask=mask) as drop:
        cache = model(inputs_embeds=embeds, use_cache=True).past_key_values
    held = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
    assert kv_cache_bytes(model.config, [rows[0] for rows in drop.kv_lengths], "float32") == held


@pytest.mark.parametrize(
    ("settings", "match"),
    [({"formula": "paper"}, "'pdrop', 'fastv'"), ({"unit": "flops"}, "'macs', 'ops'")],
)
def test_unknown_conventions(settings, match):
    with pytest.raises(UserError, match=match):
        theoretical_flops(LLAVA, (1,), **settings)
