"""SparseVLM+ and MustDrop, which ask several words, against rules that remove nothing."""

import math

import oracle
import pytest
import test_oracle
import torch
from contract import case_of
from oracle import OracleDrop

from pdrop_eval.strategies.mustdrop import MustDrop
from pdrop_eval.strategies.sparsevlm import SparseVLM


def weights_of(seen, layer):
    """[h, n, n] attention of a layer over what is alive."""
    scores = oracle.logits_of(seen.decoder.layers[layer], seen.states[layer], seen.alive, seen.renumber)
    n = len(seen.alive)
    visible = torch.ones(n, n, dtype=torch.bool).tril() & seen.alive
    return scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0)


def words(seen):
    """The columns behind the last image token, up to the prompt's end."""
    return torch.arange(int(seen.image.nonzero().max()) + 1, seen.prompt)


def rated(layer, count, heads):
    """SparseVLM+: raters by likeness to the inputs; weights over RoPE's own, on the best heads."""

    def choose(seen):
        text, inputs = words(seen), seen.states[0]
        likeness = torch.stack([(inputs[text] @ picture).softmax(-1) for picture in inputs[seen.image]]).mean(
            0
        )
        raters = text[likeness > 1 / len(text)]
        assert 0 < len(raters) < len(text)
        size = seen.decoder.layers[0].self_attn.head_dim
        ones = oracle.turn(torch.ones(1, len(inputs), size), oracle.positions(seen.alive, seen.renumber))[0]
        own = (ones[raters] @ ones[seen.candidates].T) / math.sqrt(size)
        weights = weights_of(seen, layer - 1)[:, raters][:, :, seen.candidates] / own
        best = weights.sum((1, 2)).argsort(descending=True)[:heads]
        score = weights[best].mean((0, 1))
        return seen.candidates[score.topk(min(count, len(score) - 1)).indices]

    return OracleDrop(layer, None, choose=choose)


def passes(layer, share, bound):
    """MustDrop: what has a share of all attention of the words, or more than a bound of one of them."""

    def choose(seen):
        weights = weights_of(seen, layer - 1).mean(0)[words(seen)][:, seen.candidates]
        total = weights.sum(0)
        kept = (total >= share * total.sum()) | (weights.amax(0) >= bound)
        return seen.candidates[kept]

    return OracleDrop(layer, None, choose=choose)


PLUS = {"version": "plus", "counts": (14, 9, 40), "layers": (2, 4, 6)}
MUST = {"global_thr": 0.03, "individual_thr": 0.2, "layers": (2, 5)}
# As in test_oracle.py: the strategy, what the oracle is told for n image tokens, whether positions close up.
RULES = {
    "plus": (
        SparseVLM(**PLUS, heads=3),
        lambda n: [rated(2, 14, 3), rated(4, 9, 3), rated(6, 40, 3)],
        False,
    ),
    "plus_renumbered": (
        SparseVLM(**PLUS, heads=1, positions="renumber"),
        lambda n: [rated(2, 14, 1), rated(4, 9, 1), rated(6, 40, 1)],
        True,
    ),
    "mustdrop": (MustDrop(**MUST), lambda n: [passes(2, 0.03, 0.2), passes(5, 0.03, 0.2)], True),
    "mustdrop_keep": (
        MustDrop(**MUST, positions="keep"),
        lambda n: [passes(2, 0.03, 0.2), passes(5, 0.03, 0.2)],
        False,
    ),
}


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_agrees(monkeypatch, name, row):
    monkeypatch.setitem(test_oracle.PAIRS, name, RULES[name])
    test_oracle.assert_agrees(case_of("llava_gqa"), name, row)


@pytest.mark.parametrize("name", ["plus", "mustdrop_keep"])
def test_rules_agree_where_positions_have_three_dimensions(monkeypatch, name):
    monkeypatch.setitem(test_oracle.PAIRS, name, RULES[name])
    test_oracle.assert_agrees(case_of("qwen2_vl"), name, 1)
