"""DART, V2Drop, FEATHER, FitPrune, VTW and FastV without RoPE against rules that remove nothing."""

import math

import oracle
import pytest
import test_oracle
import torch
from contract import case_of
from oracle import OracleDrop

from pdrop_eval import FastV
from pdrop_eval.strategies.dart import DART
from pdrop_eval.strategies.feather import Feather
from pdrop_eval.strategies.fitprune import FitPrune
from pdrop_eval.strategies.v2drop import V2Drop
from pdrop_eval.strategies.vtw import VTW

SIDE = 5  # of the grid of an image


def changed_most(layer, share):
    """V2Drop: by what the layer before has changed."""

    def choose(seen):
        score = (seen.states[layer] - seen.states[layer - 1]).pow(2).sum(-1).sqrt()[seen.candidates]
        return seen.candidates[score.topk(max(1, int(len(score) * share))).indices]

    return OracleDrop(layer, None, choose=choose)


def unturned(seen, layer):
    """[candidates]: what the prompt's last row pays to each image token alone, without RoPE."""
    attention = seen.decoder.layers[layer].self_attn
    normed = seen.decoder.layers[layer].input_layernorm(seen.states[layer])
    q = attention.q_proj(normed[seen.prompt - 1]).view(-1, attention.head_dim)
    k = attention.k_proj(normed[seen.candidates]).view(len(seen.candidates), -1, attention.head_dim)
    k = k.repeat_interleave(len(q) // k.shape[1], 1)
    return (torch.einsum("he,nhe->hn", q, k) / math.sqrt(attention.head_dim)).softmax(-1).mean(0)


def best_unturned(layer, share, stride=None):
    """FEATHER and FastV: the best of them, and those of the grid."""

    def choose(seen):
        score = unturned(seen, layer - 1)
        best = set(seen.candidates[score.topk(int(len(score) * share)).indices].tolist())
        if stride is not None:
            places = [(i % SIDE**2 // SIDE, i % SIDE) for i in range(len(score))]  # nothing has gone yet
            best |= {
                column
                for column, (down, across) in zip(seen.candidates.tolist(), places, strict=True)
                if down % stride == 0 and across % stride == 0
            }
        return torch.tensor(sorted(best), dtype=torch.long)

    return OracleDrop(layer, None, choose=choose)


def least_goes(layer, number):
    """FitPrune: after a layer, by the cross and self mass of the largest head."""

    def choose(seen):
        scores = oracle.logits_of(seen.decoder.layers[layer], seen.states[layer], seen.alive, seen.renumber)
        n = len(seen.alive)
        visible = torch.ones(n, n, dtype=torch.bool).tril() & seen.alive
        largest = scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0).amax(0)
        last = int(seen.image.nonzero().max())
        cross = largest[last + 1 : seen.prompt].sum(0)[seen.candidates]
        own = largest[seen.candidates].sum(0)[seen.candidates] / len(seen.candidates)
        return seen.candidates[(cross * own).topk(max(0, len(own) - number)).indices]

    return OracleDrop(layer + 1, None, choose=choose)


def unlike_pivots(layer, image_pivots, text_pivots, each):
    """DART: greedily, in the order of a set of the pivots' columns."""

    def choose(seen):
        before = seen.decoder.layers[layer - 1]
        keys = before.self_attn.k_proj(before.input_layernorm(seen.states[layer - 1]))
        keys = keys.view(len(keys), -1, before.self_attn.head_dim).transpose(0, 1)
        turned = oracle.turn(keys, oracle.positions(seen.alive, seen.renumber))
        norm = turned.abs().sum((0, 2))
        text = torch.arange(int(seen.image.nonzero().max()) + 1, seen.prompt)
        images = seen.candidates[norm[seen.candidates].argsort(descending=True)[:image_pivots]].tolist()
        texts = text[norm[text].argsort(descending=True)[:text_pivots]].tolist()
        states, kept = seen.decoder.norm(seen.states[layer]), list(images)
        for pivot in set(images + texts):
            rest = torch.tensor([c for c in seen.candidates.tolist() if c not in kept])
            likeness = torch.nn.functional.cosine_similarity(states[rest], states[pivot][None])
            kept += rest[likeness.argsort()[:each]].tolist()
        return torch.tensor(kept)

    return OracleDrop(layer, None, choose=choose)


def none(layer):
    return OracleDrop(layer, None, choose=lambda seen: seen.candidates[:0])


# As in test_oracle.py: the strategy, what the oracle is told for n image tokens, whether positions close up.
RULES = {
    "v2drop": (
        V2Drop(layers=(1, 4, 6), keep_ratios=(0.6, 0.5, 0)),
        lambda n: [changed_most(1, 0.6), changed_most(4, 0.5), changed_most(6, 0)],
        False,
    ),
    "feather": (
        Feather(layers=(2, 5), r=0.6),
        lambda n: [best_unturned(2, 1 - 0.6, 3), best_unturned(5, (1 - 0.6) ** 2)],
        False,
    ),
    "fastv": (
        FastV(k=(2, 5), r=0.4, rope=False, rounding="truncate"),
        lambda n: [best_unturned(2, 1 - 0.4), best_unturned(5, 1 - 0.4)],
        False,
    ),
    "fitprune": (
        FitPrune(removed=(3, 0, 5, 40, 0, 0, 4, 0)),
        lambda n: [least_goes(0, 3), least_goes(2, 5), least_goes(3, 40), least_goes(6, 4)],
        False,
    ),
    "fitprune_renumbered": (
        FitPrune(removed=(0, 9, 0, 0, 11, 0, 0, 0), positions="renumber"),
        lambda n: [least_goes(1, 9), least_goes(4, 11)],
        True,
    ),
    "dart": (
        DART(k=2, reduction_ratio=0.5, pivot_image_token=3, pivot_text_token=2),
        lambda n: [unlike_pivots(2, 3, 2, n // 2 // 5)],
        False,
    ),
    "vtw": (VTW(k=5), lambda n: [none(5)], False),
    "vtw_renumbered": (VTW(k=3, positions="renumber"), lambda n: [none(3)], True),
}


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_agrees(monkeypatch, name, row):
    monkeypatch.setitem(test_oracle.PAIRS, name, RULES[name])
    test_oracle.assert_agrees(case_of("llava_gqa"), name, row)


@pytest.mark.parametrize("name", ["v2drop", "dart", "vtw"])
def test_rules_agree_where_positions_have_three_dimensions(monkeypatch, name):
    monkeypatch.setitem(test_oracle.PAIRS, name, RULES[name])
    test_oracle.assert_agrees(case_of("qwen2_vl"), name, 1)
