"""What torch counts in a real forward is what the formulas say, part by part: every strategy and family."""

import pytest
import torch
from contract import (
    IMAGE,
    IMAGE_SIZE,
    PATCHES,
    SQUARE,
    STRATEGIES,
    alone,
    build,
    every_before_pair,
    every_combined_pair,
    every_decoder_pair,
    model_of,
)
from torch.utils.flop_counter import FlopCounterMode

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.efficiency.flop_counter import counted_flops, kernels
from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.efficiency.model_flops import model_flops
from pdrop_eval.strategies.feather import Feather

both_kernels = pytest.mark.parametrize("attention", ["sdpa", pytest.param("eager", marks=pytest.mark.slow)])
PARTS = ("vision", "projector", "decoder", "ranking", "head", "prefill", "ttft")


def case_of(family, attention="sdpa"):
    """One row, so that nothing is padding: 25 image tokens (LLaVA-NeXT: 80, of 3 tiles), 13 of text."""
    return build(model_of(family, attention), [[4, IMAGE, 9]])


def theory(case, strategy, **settings):
    pixels = case.inputs.get("pixel_values")
    tiles = 0 if pixels is None else pixels.numel() // (3 * IMAGE_SIZE**2)
    text = case.lengths[0] - case.image_tokens[0]  # 13, and SmolVLM's markers
    if "image_grid_thw" in case.inputs:
        tiles = 1  # a whole picture
    return model_flops(case.model.config, strategy, case.image_tokens[0], text, tiles=tiles, **settings)


def measured(case, strategy):
    """What each layer processes of an adaptive strategy's sample; None of others, which know it before."""
    if not strategy.adaptive:
        return None
    with case.under(strategy) as report:
        case.forward()
    return [rows[0] for rows in report.image_tokens_per_layer]


@pytest.mark.thin(12)
@every_decoder_pair
@both_kernels
def test_theory_is_what_torch_counts(family, attention, strategy):
    """To 1%: the formulas leave out what no product of matrices is, and the rotary embeddings' angles."""
    case = case_of(family, attention)
    found = counted_flops(case.model, strategy, case.inputs, **case.options)
    wanted = theory(case, strategy, schedule=measured(case, strategy))
    for part in PARTS:
        assert getattr(found, part) == pytest.approx(getattr(wanted, part), rel=0.01), part


@alone(STRATEGIES)
@pytest.mark.parametrize("family", ["llava", "llava_gqa", "llava_next"])
def test_each_layer_costs_what_the_schedule_says(family, strategy):
    if isinstance(strategy, Feather) and family not in SQUARE:
        pytest.skip("its grids aren't square")
    case = case_of(family)
    found = counted_flops(case.model, strategy, case.inputs)
    schedule = measured(case, strategy) or strategy.schedule(8, case.image_tokens[0])
    wanted = theoretical_flops(case.model.config, schedule, text_tokens=13).per_layer
    assert found.layers == pytest.approx(wanted, rel=0.01)


@alone(STRATEGIES)
@pytest.mark.parametrize("family", ["llava_gqa", "llava_next"])
def test_decode_steps_cost_what_the_shortened_caches_say(family, strategy):
    """generate makes the first token from the prefill, and the other 3 in a step each."""
    case = case_of(family)
    with case.under(strategy), FlopCounterMode(display=False, custom_mapping=kernels()) as counter:
        case.generate(new=4)
    wanted = theory(case, strategy, new_tokens=3, schedule=measured(case, strategy))
    assert counter.get_total_flops() / 2 == pytest.approx(wanted.total, rel=0.01)
    assert wanted.decode > 0


def test_a_batch_is_counted_with_its_padding():
    """Rows of 38 and 33 tokens, padded to 38; two images."""
    model = model_of("llava")
    rows = counted_flops(model, Vanilla(), build(model, [[4, IMAGE, 9], [4, IMAGE, 4]]).inputs)
    one = counted_flops(model, Vanilla(), build(model, [[4, IMAGE, 9]]).inputs)
    assert (rows.decoder, rows.vision, rows.head) == (2 * one.decoder, 2 * one.vision, 2 * one.head)


def test_nothing_stays_on_the_model():
    case = case_of("llava")
    case.forward()  # transformers puts hooks of its own on at the first one
    before = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.model.modules()]
    counted_flops(case.model, PyramidDrop(), case.inputs)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.model.modules()] == before
    with pytest.raises(UserError, match="already active"), FastV()(case.model):
        counted_flops(case.model, PyramidDrop(), case.inputs)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in case.model.modules()] == before


def test_a_kernel_that_torch_cannot_see_is_refused(monkeypatch):
    case = case_of("llava")
    monkeypatch.setattr(
        case.model.config.get_text_config(), "_attn_implementation_internal", "flash_attention_2"
    )
    with pytest.raises(UserError, match=r"'flash_attention_2'.*'eager', 'sdpa'"):
        counted_flops(case.model, FastV(), case.inputs)


def test_the_model_learns_nothing_and_keeps_its_output():
    case = case_of("llava")
    before = case.forward().logits
    found = counted_flops(case.model, FastV(), case.inputs)
    assert torch.equal(case.forward().logits, before)
    assert "FlopCounterMode" in found.convention
    assert "no causal half" in found.convention


@every_before_pair
@both_kernels
def test_what_choosing_before_the_decoder_costs_is_what_torch_counts(family, attention, strategy):
    case = case_of(family, attention)
    with case.under(strategy) as report:
        case.forward()
    measured = [rows[0] for rows in report.image_tokens_per_layer]
    wanted = theory(case, strategy, schedule=measured if strategy.adaptive else None)
    found = counted_flops(case.model, strategy, case.inputs, questions=case.questions)
    # HiRED's official choice of patches on padding leaves fewer than its schedule says.
    as_scheduled = (
        strategy.adaptive or measured[0] == (strategy.schedule(8, case.image_tokens[0], PATCHES)[0])
    )
    for part in PARTS if as_scheduled else ("vision", "projector", "ranking"):
        assert getattr(found, part) == pytest.approx(getattr(wanted, part), rel=0.01), part
    # One token of each tile is there without a single outlier.
    assert not strategy.adaptive or measured[0] > case.inputs["pixel_values"].numel() // (3 * IMAGE_SIZE**2)


@every_combined_pair
def test_choosing_in_both_halves_costs_what_torch_counts(family, strategy):
    case = case_of(family)
    found = counted_flops(case.model, strategy, case.inputs)
    wanted = theory(case, strategy, schedule=measured(case, strategy))
    for part in PARTS:
        assert getattr(found, part) == pytest.approx(getattr(wanted, part), rel=0.01), part
    alone = theory(case, strategy.first)
    assert wanted.ranking > alone.ranking  # the second half's comes on top
    assert wanted.decoder < alone.decoder
