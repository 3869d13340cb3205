"""Removing tokens equals hiding them: an independent oracle agrees on prefill and 4 decoded tokens."""

import math

import oracle
import pytest
import torch
from contract import FAMILIES, IMAGE, IMAGE_ID, case_of
from oracle import OracleDrop

from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.models import families

NEW = 4


def fixed(*drops):
    return lambda n: [OracleDrop(layer, rank, int(n * share), kind) for layer, rank, share, kind in drops]


def progressive(n):
    first = n - math.ceil(0.3 * n)
    return [OracleDrop(2, 2, first), OracleDrop(4, 4, first - math.ceil(0.3 * first))]


# The strategy, what the oracle is told to do for n image tokens (by hand), and whether positions close up.
PAIRS = {
    "fastv": (FastV(), fixed((2, 1, 0.5, "softmax")), False),
    "fastv_renumbered": (
        FastV(k=3, r=0.75, rounding="floor", positions="renumber"),
        fixed((3, 2, 0.25, "softmax")),
        True,
    ),
    "pdrop": (PyramidDrop(), fixed(*((i, i, 0.5 ** (i // 2), "softmax") for i in (2, 4, 6))), True),
    "pdrop_keep": (
        PyramidDrop(positions="keep", stages=2),
        fixed((4, 4, 0.5, "softmax")),
        False,
    ),
    "pdrop_last_layer": (
        PyramidDrop(rank_with="last_layer"),
        fixed(*((i, i - 1, 0.5 ** (i // 2), "softmax") for i in (2, 4, 6))),
        True,
    ),
    "pdrop_logits": (
        PyramidDrop(score="logits"),
        fixed(*((i, i, 0.5 ** (i // 2), "logits") for i in (2, 4, 6))),
        True,
    ),
    "pdrop_paper": (
        PyramidDrop(ratio=0.5, stages=4, rank_with="last_layer", score="logits", rounding="progressive"),
        lambda n: [
            OracleDrop(i, i - 1, n // 2 ** (i // 2), "logits") for i in (2, 4, 6)
        ],  # halves rounded down
        True,
    ),
    "pdrop_progressive": (
        PyramidDrop(layers=(2, 4), ratios=(0.7, 0.49), rounding="progressive"),
        progressive,
        True,
    ),
    "pdrop_to_none": (
        PyramidDrop(layers=(2, 5), ratios=(0.5, 0)),
        fixed((2, 2, 0.5, "softmax"), (5, 5, 0, "softmax")),
        True,
    ),
    "fastv_to_none": (FastV(r=1), fixed((2, 1, 0, "softmax")), False),
    "pdrop_neighbours": (
        PyramidDrop(layers=(1, 2, 8), ratios=(0.8, 0.4, 0.2), rank_with="last_layer"),
        fixed((1, 0, 0.8, "softmax"), (2, 1, 0.4, "softmax"), (8, 7, 0.2, "softmax")),
        True,
    ),
}


def decoder_inputs(case):
    """What the decoder is fed, images merged in: caught from a forward without any strategy."""
    caught, names = {}, ("inputs_embeds", "position_ids", "deepstack_visual_embeds", "visual_pos_masks")
    decoder = case.model.get_decoder()

    def catch(module, args, kwargs):
        caught.update({name: kwargs.get(name) for name in names})

    handle = decoder.register_forward_pre_hook(catch, with_kwargs=True)
    case.forward()
    handle.remove()
    return caught


def of_row(caught, row, length):
    """One row's embeddings, positions of three dimensions and added features, as the oracle takes them."""
    embeds, places = caught["inputs_embeds"][row][-length:], caught["position_ids"]
    if places is None or places.dim() < 3:
        return embeds, None, ()
    places = places[-3:, row, -length:]
    places = torch.cat((places, places.max() + torch.arange(1, NEW).expand(3, -1)), dim=1)
    added, mask = caught["deepstack_visual_embeds"] or (), caught["visual_pos_masks"]
    if len(added):
        counts = mask.sum(1).tolist()
        added = [one.split(counts)[row] for one in added]
    return embeds, places, added


def assert_agrees(case, name, *rows):
    """Compares these rows of the case's batch with the oracle on each row alone."""
    strategy, plan, renumber = PAIRS[name]
    renumber = renumber and families.of_model(case.model).can_renumber
    with case.under(strategy) as drop:
        answer = case.answer(new=NEW)
    caught = decoder_inputs(case)
    for row in rows:
        assert_row_agrees(case, row, caught, drop, answer, plan, renumber)


def assert_row_agrees(case, row, caught, drop, answer, plan, renumber):
    embeds, places, added = of_row(caught, row, case.lengths[row])
    image = case.options.get("image_mask", case.inputs.get("input_ids") == IMAGE_ID)[row][
        -case.lengths[row] :
    ]
    tokens, told = (one[row] for one in answer)
    full = torch.cat((embeds, case.model.get_input_embeddings()(tokens[:-1])))
    image = torch.nn.functional.pad(image, (0, NEW - 1))
    with torch.no_grad():
        logits, chosen = oracle.run(
            case.model, full, image, plan(int(image.sum())), renumber, case.lengths[row], places, added
        )
    assert [ids[row].tolist() for ids in drop.retained] == chosen
    logits = logits[-NEW:]
    assert torch.allclose(told, logits, rtol=0, atol=1e-4)
    assert logits.argmax(-1).tolist() == tokens.tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees(family):
    case = case_of(family)
    assert_agrees(case, "pdrop", 0, 1, 3)
    assert_agrees(case, "fastv", 1)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("family", ["bare_llama", "llava_gqa"])
def test_every_option_agrees(name, family):
    assert_agrees(case_of(family), name, 1)


def test_eager_attention_agrees():
    assert_agrees(case_of("llava_gqa", attention="eager"), "pdrop", 1)


def test_an_image_at_the_very_start_agrees():
    assert_agrees(case_of("bare_mistral", rows=[[IMAGE, 6], [2, IMAGE, 3]]), "pdrop", 0)


@pytest.mark.skipif("qwen3_vl" not in FAMILIES, reason="this transformers is too old for it")
@pytest.mark.parametrize("layers", [(1, 2, 3), (2, 4, 8), (3, 5)])
def test_features_that_are_added_between_layers_are_right_for_drops_at_every_layer(layers):
    """Qwen3-VL adds to the image tokens after its layers 0, 1 and 2; a drop may come between."""
    ratios = (0.7, 0.4, 0.2)[: len(layers)]
    plan = [(layer, layer, ratio, "softmax") for layer, ratio in zip(layers, ratios, strict=True)]
    plan = [(at, min(rank, 7), share, kind) for at, rank, share, kind in plan]
    PAIRS["planted"] = (PyramidDrop(layers=layers, ratios=ratios), fixed(*plan), True)
    try:
        assert_agrees(case_of("qwen3_vl"), "planted", 0, 1)
    finally:
        del PAIRS["planted"]
