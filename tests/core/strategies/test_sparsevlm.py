"""SparseVLM's counts, raters, clusters and refusals, on numbers worked out by hand."""

import math

import pytest
import torch
from contract import IMAGE, case_of, model_of
from transformers import LlamaConfig

from pdrop_eval import UserError
from pdrop_eval.engine.stages import ops
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies import raters
from pdrop_eval.strategies.recycling import candidate_count, cluster_count, clustered
from pdrop_eval.strategies.sparsevlm import SparseVLM

T, F = True, False

# As the official code leaves them: retained, and merged ones.
AFTER = {
    ("1.5", "192"): (309, 204, 113),
    ("1.5", "128"): (312, 117, 39),
    ("1.5", "96"): (249, 55, 27),
    ("1.5", "64"): (82, 32, 18),
    ("plus", "192"): (300, 200, 118),
    ("plus", "64"): (66, 34, 20),
}


@pytest.mark.parametrize(("version", "preset"), AFTER)
def test_presets_leave_what_the_official_code_leaves(version, preset):
    assert SparseVLM(version=version, preset=preset).retained(32, 576) == AFTER[version, preset]


@pytest.mark.parametrize(
    ("preset", "official", "processed"),
    [("192", "192 ", "206.5"), ("128", "128.6", "145.4"), ("96", "96.94", "114.1"), ("64", "64.81", "82.25")],
)
def test_the_record_says_both_means_of_a_preset(preset, official, processed):
    """Issue 33 of its repository: layers that prune are counted at their output."""
    note, *more = SparseVLM(preset=preset).notes(32, 576)
    assert f"counts with what it leaves ({official}" in note
    assert f"it is {processed} of 576" in note
    assert not more
    scaled = SparseVLM(preset=preset).notes(8, 576)[-1]
    assert "Layers 3, 7, 16 of the paper's 32 are 1, 2, 4 of 8 here" in scaled


def test_without_a_setting_the_shares_are_those_of_192_on_any_number_of_tokens():
    assert SparseVLM().retained(32, 576) == AFTER["1.5", "192"]
    # Of 48 tokens: 25, 16, 9 retained; of 23, then 10, then 8 pruned, 7, 4 and 3 are merged, to 1 each.
    assert SparseVLM().retained(8, 48) == (26, 17, 10)
    assert SparseVLM().retained(8, 0) == (0, 0, 0)
    assert SparseVLM(counts=(60, 60, 60)).retained(8, 48) == (48, 48, 48)  # one fewer, and one made of it
    assert SparseVLM(version="plus", counts=(60, 60, 60)).retained(8, 48) == (47, 46, 45)


def test_numbers_of_candidates_and_clusters():
    """300 of 576 leave 276: int(82.8) + 1 candidates, int(8.3) + 1 clusters."""
    assert (candidate_count(276, 0.3), cluster_count(276, 0.3, 10)) == (83, 9)
    assert (candidate_count(1, 0.3), cluster_count(1, 0.3, 10)) == (1, 1)
    assert (candidate_count(0, 0.3), cluster_count(0, 0.3, 10)) == (0, 0)
    assert (candidate_count(5, 1.0), cluster_count(5, 1.0, 1)) == (5, 5)


def test_clusters_by_hand():
    """Points 0, 1, 10, 11.5 on a line (d=1), two clusters.

    Densities exp(-(0 + nearest²)/2): exp(-1/2) for 0 and 1, exp(-1.125) for 10 and 11.5. The first two are as
    dense as any, so their separation is 11.5; 10's is 9, 11.5's 10.5. The two centres are 0 and 1.
    """
    made = clustered(torch.tensor([[0.0], [1.0], [10.0], [11.5]]), 2)
    assert sorted(made.centres.tolist()) == [0, 1]
    near = made.centres.tolist().index(1)
    assert made.assignment.tolist() == [1 - near, near, near, near]
    assert made.tokens[near].item() == pytest.approx(22.5 / (3 + 1e-6))
    assert made.tokens[1 - near].item() == pytest.approx(0)


def test_noise_decides_between_equal_densities():
    """As above, with 1 the denser by noise: 0's separation is 1 then, and 11.5's 10.5·exp(-1.125) is more."""
    noise = torch.tensor([0.0, 1e-3, 0.0, 0.0])
    made = clustered(torch.tensor([[0.0], [1.0], [10.0], [11.5]]), 2, noise)
    assert made.centres.tolist() == [1, 3]
    assert made.assignment.tolist() == [0, 0, 1, 1]
    assert made.tokens.flatten().tolist() == pytest.approx([0.5, 10.75], abs=1e-4)


def test_raters_by_hand():
    """Two image tokens (1, 0), (0, 1); words w=(2, 0), (0, 0), (0, 1) behind them, and one before.

    Softmax over the words: (e², 1, 1) / (e² + 2) = .787, .107, .107, and (1, 1, e) / (2 + e) = .212, .212,
    .576. Mean .4995, .159, .341: above 1/3 are the first and the last.
    """
    words = [[9.0, 9.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    image = torch.tensor([[F, T, T, F, F, F]])
    behind = torch.tensor([[F, F, F, T, T, T]])
    found = raters.choose(torch.tensor([words]), image, ~image, behind)
    assert found.tolist() == [[F, F, F, T, F, T]]
    assert (math.e**2 / (math.e**2 + 2) + 1 / (2 + math.e)) / 2 == pytest.approx(0.4995, abs=1e-4)


def test_a_single_word_rates_and_without_one_the_last_token_does():
    states = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    image = torch.tensor([[F, T, T, T, F]])
    one = raters.choose(states, image, ~image, torch.tensor([[F, F, F, F, T]]))
    assert one.tolist() == [[F, F, F, F, T]]
    image = torch.tensor([[F, F, T, T, T]])
    none = raters.choose(states, image, ~image, torch.zeros(1, 5, dtype=torch.bool))
    assert none.tolist() == [[F, F, F, F, T]]
    case = case_of("llava_gqa", rows=([4, IMAGE], [3, IMAGE, 1]))
    with case.under(SparseVLM()) as report:
        case.forward()
        tokens = case.generate()
    assert [len(ids) for ids in report.retained[-1]] == [5, 5]
    with case.alone(0).under(SparseVLM()):
        assert torch.equal(case.alone(0).generate()[0], tokens[0])


def test_a_full_rank_drops_nothing():
    """As many raters as image tokens, whose attention has full rank: 2 of each."""
    weights = torch.tensor([[[0.5, 0.2, 0.3, 0.0], [0.1, 0.6, 0.2, 0.1]]])

    class Context:
        image = torch.tensor([[T, T, F, F]])
        text = ~image
        alive = (2,)

        def attention_rows(self, rows, heads):
            assert heads == "mean"
            return weights, torch.ones(1, 2, dtype=torch.bool)

    scores, ranks = raters.ranked_attention(Context(), Context.text)
    assert ranks == [2]
    assert scores[0].tolist() == pytest.approx([0.3, 0.4, 0.25, 0.05])
    strategy = SparseVLM(version="1.0")
    original, raters.text_raters = raters.text_raters, lambda context: Context.text
    try:
        selection = strategy.select(Context())
    finally:
        raters.text_raters = original
    assert selection.merge is None
    assert selection.keep.tolist() == [[T, T, F, F]]
    assert ops.top_mask(scores, Context.image, torch.tensor([2])).tolist() == [[T, T, F, F]]


def test_noise_is_the_samples_own():
    case = case_of("llava_gqa", rows=([4, IMAGE, 5], [3, IMAGE, 9]))
    outputs = []
    for seeds in ([1, 2], [1, 2], [3, 4]):
        with SparseVLM(noise=0.5, counts=(9, 5, 3), recycle=1, cluster=4)(case.model, seeds=seeds):
            outputs.append(case.forward().logits[:, -1])
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("version", ["1.0", "1.5", "plus"])
def test_half_precision_gives_numbers(version):
    case = case_of("llava_gqa", dtype=torch.bfloat16)
    with case.under(SparseVLM(version=version)) as report:
        logits = case.forward().logits
    assert bool(logits.isfinite().all())
    assert report.image_tokens_per_layer[-1][2] == 0
    if version != "1.0":
        assert report.image_tokens_per_layer[-1] == [5, 10, 0, 5]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"version": "2.0"}, "version='2.0'"),
        ({"version": "1.0", "counts": (3, 2, 1)}, "counts=.*no setting of SparseVLM's version 1.0"),
        ({"version": "1.0", "preset": "96"}, "preset='96' is not allowed"),
        ({"scale": 2.0}, "scale=2.0 is no setting of SparseVLM's version 1.5"),
        ({"counts": (3, 2)}, r"counts=\(3, 2\) is not allowed: give 3 numbers"),
        ({"counts": (3, 2, -1)}, "counts=-1"),
        ({"ratios": (0.2, 0.4, 0.1)}, "ratios=.* grow"),
        ({"ratios": (0.4, 0.2, 0.1), "preset": "64"}, "ratios, counts and preset"),
        ({"preset": "64", "counts": (3, 2, 1)}, "preset=64 says counts="),
        ({"layers": (3, 2, 5)}, "must increase"),
        ({"layers": (0, 2, 5)}, "outside the model"),
        ({"recycle": 1.5}, "recycle=1.5"),
        ({"cluster": 0}, "cluster=0"),
        ({"heads": 0}, "heads=0"),
        ({"positions": "move"}, "positions='move'"),
    ],
)
def test_wrong_settings_are_refused(settings, words):
    with pytest.raises(UserError, match=words):
        SparseVLM(**settings)


def test_numbers_of_a_yaml_name_versions():
    assert SparseVLM(version=1.5).version == "1.5"
    assert SparseVLM(version=1.0).version == "1.0"


def test_presets_are_refused_on_other_images_and_layers_beyond_the_depth():
    for version in ("1.0", "1.5", "plus"):
        strategy = SparseVLM(version=version, preset="64")
        strategy.check_image(TokenShape(576))
        with pytest.raises(UserError, match="preset=64 of SparseVLM is made for one tile of 576 patches"):
            strategy.check_image(TokenShape(48))
        with pytest.raises(UserError, match="made for one tile"):
            strategy.check_image(TokenShape(2880, 5, 576))
        with pytest.raises(UserError, match="made for one tile"):
            strategy(model_of("llava_gqa"))
    with pytest.raises(UserError, match="layers="):
        SparseVLM(layers=(3, 7, 16)).drops(8)
    with pytest.raises(UserError, match="fit a model of 3 layers"):
        SparseVLM(version="1.0").drops(3)


def config(layers, **more):
    return LlamaConfig(
        num_hidden_layers=layers, hidden_size=64, intermediate_size=128, num_attention_heads=4, **more
    )


@pytest.mark.parametrize("version", ["1.5", "plus"])
@pytest.mark.parametrize("tokens", [64, 128, 192, 400])
def test_a_budget_is_met_from_below(version, tokens):
    found = SparseVLM.for_budget(config(32), tokens=tokens, image_tokens=576, version=version)
    mean = sum(found.schedule(32, 576)) / 32
    assert tokens - 2 < mean <= tokens
    assert found.layers is None
    assert "reached" in vars(found)


def test_a_budget_that_the_layers_cannot_reach_moves_them_or_is_refused():
    """The least is one token from layer 1 on: (48 + 7) / 8 of 8 layers, rounded to 7."""
    usual = SparseVLM.for_budget(config(8), tokens=16, image_tokens=48)
    assert usual.layers is None
    with pytest.raises(UserError, match=r"tokens=2.*can't be reached.*from 7 \(one token"):
        SparseVLM.for_budget(config(8), tokens=2, image_tokens=48)
    moved = SparseVLM.for_budget(config(32), tokens=20, image_tokens=576)
    assert moved.layers == (1, 2, 3)
    assert "come earlier" in moved.reached.words
    with pytest.raises(UserError, match="can't be fitted to a budget"):
        SparseVLM.for_budget(config(8), tokens=16, image_tokens=48, version="1.0")
    with pytest.raises(UserError, match="nothing can be said before a run"):
        SparseVLM(version="1.0").schedule(32, 576)
    with pytest.raises(UserError, match="what the budget decides"):
        SparseVLM.for_budget(config(8), tokens=16, image_tokens=48, counts=(3, 2, 1))
