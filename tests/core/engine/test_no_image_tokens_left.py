"""A drop to 0: from a layer on no image token is left, in batches with rows that never had one."""

import pytest
import test_contract
import test_counted
import test_training_forward
import torch
from contract import IMAGE, LAYERS, build, case_of, model_of
from test_training_forward import model  # noqa: F401 - the fixture
from test_whole_model import LLAVA, layer

from pdrop_eval import FastV, PyramidDrop, UserError
from pdrop_eval.efficiency.flop_counter import counted_flops
from pdrop_eval.efficiency.model_flops import model_flops
from pdrop_eval.run.train.estimate.cost import training_flops

STRATEGIES = {
    "ratio 0": PyramidDrop(ratio=0),
    "the last of two ratios": PyramidDrop(
        layers=(2, 5), ratios=(0.5, 0), rank_with="last_layer", score="logits"
    ),
    "after the last layer": PyramidDrop(layers=(1, 8), ratios=(0.3, 0), positions="keep"),
    "progressive": PyramidDrop(ratio=0.0, stages=2, rounding="progressive"),
    "r 1": FastV(k=2, r=1),
    "attention rank 0": FastV(k=3, attention_rank=0, positions="renumber"),
}
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)


@every_strategy
@pytest.mark.parametrize(
    "check",
    [
        test_contract.test_retained_tokens_follow_the_schedule,
        test_contract.test_a_batch_equals_its_rows_alone,
        test_contract.test_cached_decoding_equals_one_forward,
        test_contract.test_contexts_follow_each_other,
    ],
    ids=lambda check: check.__name__.removeprefix("test_"),
)
@pytest.mark.parametrize("family", ["llava_next", "bare_llama"])
def test_the_contract_holds(family, check, strategy):
    check(strategy, family)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_both_attentions_agree(attention):
    case = case_of("llava_gqa", attention)
    with case.under(PyramidDrop(ratio=0)) as drop:
        tokens = case.generate()
    assert drop.image_tokens_per_layer == [[25, 50, 0, 25]] * 2 + [[0] * 4] * 6
    with case_of("llava_gqa").under(PyramidDrop(ratio=0)):
        assert torch.equal(tokens, case_of("llava_gqa").generate())


@every_strategy
def test_training_rows_equal_those_alone(model, strategy):  # noqa: F811 - the fixture
    test_training_forward.test_a_batch_equals_its_rows_alone(model, strategy)
    test_training_forward.test_the_output_is_padded_on_the_right_with_ignored_labels(model, strategy)


@pytest.mark.parametrize(
    ("strategy", "schedule"),
    [
        (PyramidDrop(ratio=0), (9, 9, 0, 0, 0, 0, 0, 0)),
        (PyramidDrop(ratio=0, rounding="progressive"), (9, 9, 0, 0, 0, 0, 0, 0)),
        (PyramidDrop(layers=(2, 5), ratios=(0.5, 0)), (9, 9, 4, 4, 4, 0, 0, 0)),
        (PyramidDrop(layers=(2, 5), ratios=(0.5, 0), rounding="progressive"), (9, 9, 4, 4, 4, 0, 0, 0)),
        (PyramidDrop(layers=(1, 3, 8), ratios=(0, 0, 0)), (9, 0, 0, 0, 0, 0, 0, 0)),
        (FastV(k=3, r=1), (9, 9, 9, 0, 0, 0, 0, 0)),
        (FastV(k=3, r=1.0, rounding="floor"), (9, 9, 9, 0, 0, 0, 0, 0)),
        (FastV(k=8, attention_rank=0), (9,) * 8),
    ],
)
def test_schedules_by_hand(strategy, schedule):
    assert strategy.schedule(8, 9) == schedule
    assert strategy.schedule(8, 0) == (0,) * 8


def test_flops_by_hand():
    """8 image and 5 text tokens, 4 layers: one layer of 13, three of 5; only the first drop has what to rank.

    The two decode steps see 14, then 15 columns in layer 0, and 6, then 7 in the others.
    """
    found = model_flops(LLAVA, PyramidDrop(ratio=0), 8, 5, new_tokens=2)
    assert found.decoder == layer(13) + 3 * layer(5)
    assert found.ranking == 13 * (32 + 8) + 64
    steps = [layer(1, keys=14), *[layer(1, keys=6)] * 3, layer(1, keys=15), *[layer(1, keys=7)] * 3]
    assert found.decode == sum(steps) + 2 * 400
    assert model_flops(LLAVA, PyramidDrop(), 0, 5).ranking == 0
    assert model_flops(LLAVA, FastV(k=1, r=1), 8, 5).decoder == found.decoder


def test_training_flops_by_hand():
    """The keys of the one ranking, 13 of 8x4; the head's three products on the 5 tokens that are left."""
    settings = {"train": ["decoder"], "checkpointing": False, "tiles": 0}
    found = training_flops(LLAVA, PyramidDrop(ratio=0), 8, 5, **settings)
    decoder = 3 * (layer(13) + 3 * layer(5))
    assert found.all_tokens == decoder + 13 * 8 * 4 + 3 * 5 * 8 * 50
    assert found.image_tokens == 3 * layer(8)


@pytest.mark.slow
@every_strategy
@pytest.mark.parametrize("family", ["llava_gqa", "llava_next"])
def test_torch_counts_what_the_formulas_say(family, strategy):
    test_counted.test_theory_is_what_torch_counts(family, "sdpa", strategy)
    test_counted.test_decode_steps_cost_what_the_shortened_caches_say(family, strategy)


def test_text_alone_is_not_ranked():
    case = build(model_of("llava_gqa"), [[7], [5]])
    assert counted_flops(case.model, PyramidDrop(), case.inputs).ranking == 0
    with case.under(PyramidDrop()) as drop:
        case.forward()
    for per_row in (*drop.retained, *drop.scores):
        assert [row.tolist() for row in per_row] == [[], []]


def test_a_budget_still_leaves_a_token_in_every_layer():
    """576 in one layer and 1 in 7 is the least of FastV, 72.875 a layer; r=1 would cost 72."""
    with pytest.raises(UserError, match=r"tokens=72 .* from 72\.88 "):
        FastV.for_budget(model_of("bare_llama").config, tokens=72, image_tokens=576, k=1)


def test_a_row_without_text_is_refused():
    case = build(model_of("bare_llama"), [[2, IMAGE, 3], [IMAGE]])
    match = r"Row 1 has image tokens only.*layer 2 .*a text token"
    with pytest.raises(UserError, match=match), case.under(PyramidDrop(ratio=0)):
        case.forward()
    with case.under(PyramidDrop(ratio=0.4)) as drop:  # 10, 4, 1
        case.forward()
    assert drop.kv_lengths[LAYERS - 1] == [6, 1]
