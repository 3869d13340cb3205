"""Budgets: what is found never costs more than was asked for, and comes as close as whole tokens allow."""

from dataclasses import asdict, dataclass
from itertools import pairwise

import pytest
from contract import model_of
from transformers import LlamaConfig, LlavaConfig, LlavaNextConfig

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.efficiency.budget import solve
from pdrop_eval.efficiency.flops import theoretical_flops
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.uniform import Uniform
from pdrop_eval.strategies.visionzip import VisionZip

LLAVA = LlavaConfig(text_config=LlamaConfig())  # the 7B: 32 layers, 576 image tokens
NEXT = LlavaNextConfig(text_config=LlamaConfig(), image_grid_pinpoints=[[336, 672], [672, 672]])  # 2,880
SMALL = LlamaConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=8, num_attention_heads=2)


def mean(strategy, depth=32, image_tokens=576):
    return sum(strategy.schedule(depth, image_tokens)) / depth


def test_64_tokens_with_pyramiddrop_are_what_its_author_suggests():
    """Its issue 22: lambda = .19 after layers 2, 8, 16: (2·576 + 6·109 + 8·20 + 16·3) / 32 = 62.9.

    With .192: (2·576 + 6·110 + 8·21 + 16·4) / 32 = 63.875; 111 tokens in the second stage would be 64.06.
    """
    found = PyramidDrop.for_budget(LLAVA, tokens=64)
    assert found.layers == (2, 8, 16)
    assert found.ratios == pytest.approx((0.192, 0.192**2, 0.192**3))
    assert found.reached.counts == (110, 21, 4)
    assert found.reached.tokens == mean(found) == 63.875
    assert "Drops before layers 8, 16, 24 can't reach that, so they come earlier." in found.reached.words


def test_64_tokens_before_the_decoder_are_64_in_every_layer():
    for found in (Uniform.for_budget(LLAVA, tokens=64), Random.for_budget(LLAVA, tokens=64.9, seed=3)):
        assert found.tokens == 64
        assert found.reached.schedule == (64,) * 32
        assert (found.reached.layers, found.reached.counts) == ((0,), (64,))
        assert "Before the decoder, 64 of 576 image tokens are left: 64 a layer" in found.reached.words
    assert found.seed == 3


def test_visionzip_splits_a_budget_as_its_paper_does_on_each_tile():
    """54 + 10 of 64; LLaVA-NeXT's 160 are 32 on each of 5 tiles: 27 + 5."""
    found = VisionZip.for_budget(LLAVA, tokens=64)
    assert (found.dominant, found.contextual) == (54, 10)
    found = VisionZip.for_budget(NEXT, tokens=160)
    assert (found.dominant, found.contextual, found.reached.tokens) == (27, 5, 160)
    assert VisionZip.for_budget(NEXT, share=0.05).reached.tokens <= 144
    assert solve(VisionZip(official=False), LLAVA, tokens=128).official is False


def test_chance_within_the_decoder_meets_a_budget_by_its_later_layers():
    """2 of 32 layers see all 576: (2·576 + 30·29) / 32 = 63.2; 30 tokens would be 64.1."""
    found = Random.for_budget(LLAVA, tokens=64, k=2)
    assert (found.tokens, found.reached.layers, found.reached.counts) == (29, (2,), (29,))


def test_a_budget_before_the_decoder_that_no_count_meets_is_refused():
    with pytest.raises(UserError, match=r"tokens=0.5 can't be reached by Uniform.*from 1 .*to 576"):
        Uniform.for_budget(LLAVA, tokens=0.5)
    with pytest.raises(UserError, match="dominant=5 is what the budget decides"):
        VisionZip.for_budget(LLAVA, tokens=64, dominant=5)


def test_64_tokens_with_fastv():
    """(2·576 + 30·29) / 32 = 63.2; 30 tokens would be 64.1. 29 of 576 are 5.03%."""
    found = FastV.for_budget(LLAVA, tokens=64)
    assert (found.k, found.r, found.reached.counts) == (2, 0.95, (29,))
    assert found.reached.tokens == mean(found) == 63.1875


def test_equal_stages_come_first():
    """8·576 + 8·(288 + 144 + 72) = 8640, 270 a layer, is lambda = .5; the share is 15/32."""
    for budget in ({"tokens": 270}, {"share": 0.46875}):
        found = PyramidDrop.for_budget(LLAVA, **budget)
        assert found == PyramidDrop(ratio=0.5, stages=4)
        assert (found.reached.tokens, found.reached.share) == (270, 0.46875)
        assert found.reached.layers == (8, 16, 24)


@pytest.mark.parametrize("strategy", [PyramidDrop, FastV])
@pytest.mark.parametrize(
    ("config", "image_tokens", "tflops"), [(LLAVA, 576, 2), (LLAVA, 576, 0.5), (NEXT, 2880, 8)]
)
def test_tflops_are_those_of_the_record(strategy, config, image_tokens, tflops):
    """A token costs .00020 to .00024 TFLOPs a layer (4d^2 + 3dm + 2(2n+1)d); FastV's counts in 30 layers."""
    found = strategy.for_budget(config, tflops=tflops)
    exact = theoretical_flops(config, found.schedule(32, image_tokens)).tflops
    assert found.reached.tflops == exact
    assert tflops - 30 * 0.00024 < exact <= tflops


def test_nothing_dropped_is_within_reach():
    assert PyramidDrop.for_budget(LLAVA, share=1).schedule(32, 576) == (576,) * 32
    assert FastV.for_budget(LLAVA, tokens=576).r == 0
    assert FastV.for_budget(LLAVA, tflops=3.817).reached.tflops < 3.8172


def edges(image_tokens, rounding):
    """The ratios at which a count changes: int(N·lambda^i) at counts' roots, floor(lambda·alive) at p/q."""
    whole = range(1, image_tokens + 1)
    if rounding == "floor":
        return {(count / image_tokens) ** (1 / i) for i in (1, 2, 3) for count in whole}
    return {p / q for q in whole for p in range(1, q + 1)}


@pytest.mark.slow
@pytest.mark.parametrize("rounding", ["floor", "progressive"])
@pytest.mark.parametrize("image_tokens", [1, 7, 36])
def test_pyramiddrop_against_all_schedules_there_are(image_tokens, rounding):
    """Between two edges nothing changes, so the edges and the middles between them give every schedule."""
    rising = sorted({1e-4, *edges(image_tokens, rounding)})
    ratios = {
        *rising,
        *(min(1.0, edge + 1e-9) for edge in rising),
        *((a + b) / 2 for a, b in pairwise(rising)),
    }
    layouts = [[PyramidDrop(ratio=ratio, rounding=rounding) for ratio in ratios]]
    for at in ((1, 2, 4), (1, 2, 3)):
        layouts.append([PyramidDrop(layers=at, ratios=(r, r**2, r**3), rounding=rounding) for r in ratios])
    costs = [
        {sum(s.schedule(8, image_tokens)) for s in layout if s.retained(8, image_tokens)[-1] >= 1}
        for layout in layouts
    ]
    lowest = min(min(layout) for layout in costs)
    for total in range(lowest, 8 * image_tokens + 1):
        budget = {"tokens": total / 8, "image_tokens": image_tokens, "rounding": rounding}
        found = PyramidDrop.for_budget(SMALL, **budget)
        reachable = next(layout for layout in costs if min(layout) <= total)
        assert sum(found.schedule(8, image_tokens)) == max(cost for cost in reachable if cost <= total)


@pytest.mark.thin(2)
@pytest.mark.parametrize("rounding", ["round", "floor"])
@pytest.mark.parametrize("image_tokens", [1, 7, 36])
def test_fastv_against_all_counts(image_tokens, rounding):
    for total in range(image_tokens + 7, 8 * image_tokens + 1):
        budget = {"tokens": total / 8, "image_tokens": image_tokens, "rounding": rounding}
        found = FastV.for_budget(SMALL, **budget)
        k = 2 if 2 * image_tokens + 6 <= total else 1
        costs = [k * image_tokens + (8 - k) * count for count in range(1, image_tokens + 1)]
        assert (found.k, sum(found.schedule(8, image_tokens))) == (k, max(c for c in costs if c <= total))


def test_settings_that_are_given_are_kept():
    found = PyramidDrop.for_budget(LLAVA, tokens=100, layers=(3, 9), rank_with="last_layer", positions="keep")
    assert (found.layers, found.rank_with, found.positions) == ((3, 9), "last_layer", "keep")
    assert found.ratios[1] == pytest.approx(found.ratios[0] ** 2)
    assert 99 < mean(found) <= 100
    assert len(PyramidDrop.for_budget(LLAVA, tokens=64, stages=3).layers) == 2
    assert FastV.for_budget(LLAVA, tokens=64, k=3).k == 3
    with pytest.raises(UserError, match=r"k=3.* from 54\.9"):
        FastV.for_budget(LLAVA, tokens=40, k=3)


def test_solve_keeps_what_a_strategy_has_beside():
    assert solve(FastV(rounding="floor", r=0.1), LLAVA, tokens=64).rounding == "floor"
    assert solve(FastV(attention_rank=9), LLAVA, tokens=64).attention_rank is None
    assert solve(PyramidDrop(ratio=0.9, score="logits"), LLAVA, tokens=300).score == "logits"
    assert solve(PyramidDrop(layers=(3,), ratios=(0.9,)), LLAVA, tokens=300).layers == (3,)
    assert solve(PyramidDrop(stages=3), LLAVA, tokens=300) == PyramidDrop.for_budget(
        LLAVA, tokens=300, stages=3
    )


def test_a_model_is_as_good_as_its_config():
    model = model_of("llava")
    found = FastV.for_budget(model, tokens=10)
    assert found == FastV.for_budget(model.config, tokens=10)
    assert found.reached.image_tokens == 25
    assert FastV.for_budget(model.config, tokens=10, image_tokens=30).reached.image_tokens == 30


def test_what_is_reached_is_no_setting():
    found = FastV.for_budget(LLAVA, tokens=64)
    assert set(asdict(found)) == set(asdict(FastV()))
    assert found == FastV(r=0.95)
    assert FastV().reached is None
    assert found.reached.words == (
        "tokens=64: k=2 r=0.95. After layer 2 of 32, 29 of 576 image tokens are left: 63.19 a layer in the "
        "mean (11.0%), 0.415 TFLOPs of vanilla's 3.82 TFLOPs (10.9%)."
    )


@dataclass
class Own(Strategy):
    """A user's strategy, which knows nothing of budgets."""

    def drops(self, num_layers):
        return ()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        # 576 in one layer, one token in 31: 607 / 32 = 18.97; for PyramidDrop 69, 8 and 1, at lambda = .12
        (lambda: FastV.for_budget(LLAVA, tokens=18.9), ["tokens=18.9", "from 18.97 ", "to 576 "]),
        (lambda: PyramidDrop.for_budget(LLAVA, tokens=10), ["tokens=10", "from 21.32 ", "to 576 "]),
        (lambda: PyramidDrop.for_budget(LLAVA, tokens=577), ["tokens=577", "to 576 "]),
        (lambda: PyramidDrop.for_budget(LLAVA, tflops=3.82), ["tflops=3.82", "to 3.817 "]),
        (lambda: FastV.for_budget(LLAVA, share=1.01), ["share=1.01", "to 1 "]),
        (lambda: FastV.for_budget(LLAVA, tokens=64, share=0.1), ["tokens=64, share=0.1", "exactly one"]),
        (lambda: FastV.for_budget(LLAVA), ["none of them", "tokens, share, tflops"]),
        (lambda: FastV.for_budget(LLAVA, tokens=0), ["tokens=0", "above 0"]),
        (lambda: FastV.for_budget(LLAVA, tokens="64"), ["tokens='64'"]),
        (lambda: FastV.for_budget(LLAVA, share=float("nan")), ["share=nan"]),
        (lambda: FastV.for_budget(LLAVA, tokens=64, r=0.5), ["r=0.5", "budget decides"]),
        (lambda: PyramidDrop.for_budget(LLAVA, tokens=64, ratios=(0.5,)), ["ratios=(0.5,)"]),
        (
            lambda: PyramidDrop.for_budget(LLAVA, tokens=64, stages=2, layers=(4,)),
            ["stages=2", "two schedules"],
        ),
        (lambda: PyramidDrop.for_budget(LLAVA, tokens=64, stages=40), ["stages=40", "32"]),
        (lambda: PyramidDrop.for_budget(LLAVA, tokens=64, layers=(40,)), ["(40,)", "32"]),
        (lambda: FastV.for_budget(LLAVA, tokens=64, image_tokens=0), ["image_tokens=0"]),
        (lambda: FastV.for_budget(LlamaConfig(), tokens=64), ["'llama'", "image_tokens"]),
        (lambda: solve(Vanilla(), LLAVA, tokens=64), ["vanilla drops nothing", "strategy=pdrop"]),
        (lambda: solve(Own(), LLAVA, tokens=64), ["Own", "budget_layouts"]),
        (lambda: solve(object(), LLAVA, tokens=64), ["object", "budget_layouts"]),
    ],
)
def test_wrong_budgets(call, words):
    with pytest.raises(UserError) as error:
        call()
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("strategy", [PyramidDrop, FastV])
def test_the_ends_of_the_range_are_within_it(strategy):
    """Whoever copies a bound from the message gets an answer."""
    for kind, low, high in (("tokens", 21.32, 576), ("share", 0.03702, 1), ("tflops", 0.1408, 3.817)):
        for value in (low, high):
            assert strategy.for_budget(LLAVA, **{kind: value}).reached.words
