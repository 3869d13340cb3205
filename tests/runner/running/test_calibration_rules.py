"""The authors' rules for VTW's K and FitPrune's recipe on numbers made by hand; what a search tries."""

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM, LlavaConfig, LlavaNextConfig

from pdrop_eval import PyramidDrop
from pdrop_eval.efficiency.architecture import Decoder
from pdrop_eval.efficiency.budget import Layout
from pdrop_eval.engine.interface import Drop
from pdrop_eval.run.calibrate.fitprune import MassProbe
from pdrop_eval.run.calibrate.loss import Loss
from pdrop_eval.run.calibrate.questions import Asked
from pdrop_eval.run.calibrate.rules import fitprune, vtw
from pdrop_eval.run.calibrate.rules.fitprune import Masses
from pdrop_eval.run.calibrate.search import candidates
from pdrop_eval.run.calibrate.text import calibration_text
from pdrop_eval.strategies.base import Strategy
from pdrop_eval.strategies.make import make_strategy
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.paths import MINI_CHECKPOINT


def test_the_divergence_is_of_the_withdrawn_from_the_full():
    withdrawn, full = torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, 2)
    withdrawn[0, 0] = math.log(3.0)
    # p_w = 3/4, 1/4 and p = 1/2, 1/2: 3/4 ln(3/2) + 1/4 ln(1/2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert vtw.divergence(withdrawn, full).item() == pytest.approx(expected, abs=1e-12)
    assert vtw.divergence(full, withdrawn).item() != pytest.approx(expected, abs=1e-3)
    assert vtw.divergence(full, full).tolist() == [0.0]


@pytest.mark.parametrize(("eta", "k"), [(0.5, 5), (0.3, 6), (0.2, 8), (0.25, 6)])
def test_k_is_the_first_whose_mean_is_small_enough(eta, k):
    assert vtw.choose_k([0.5, 0.25, 0.4, 0.1], [5, 6, 7, 8], eta) == k


def test_where_no_k_qualifies_the_smallest_mean_is_named_with_the_fix():
    with pytest.raises(UserError) as error:
        vtw.choose_k([0.5, 0.0123, 0.4], [5, 6, 7], 0.003)
    assert "the smallest mean divergence is 0.0123, at K=6, and eta=0.003 is asked for" in str(error.value)
    assert "eta=0.013, or K itself, strategy=vtw strategy.k=6" in str(error.value)


@pytest.mark.parametrize(
    ("value", "above"),
    [(0.0123, "0.013"), (0.0120001, "0.013"), (3, "3"), (0.996, "1"), (2.34e-5, "0.000024")],
)
def test_the_threshold_that_is_advised_is_just_above(value, above):
    assert vtw.above(value) == above


def test_k_is_tried_from_5_to_the_depth_less_1():
    assert vtw.candidates(8) == [5, 6, 7]
    with pytest.raises(UserError, match=r"from 5 to the depth less 1, and this model has 5 layers\. Give K"):
        vtw.candidates(5)


@pytest.mark.parametrize(
    ("kind", "layers", "eta"),
    [
        (LlavaConfig, 32, 0.003),
        (LlavaConfig, 40, 0.0005),
        (LlavaNextConfig, 32, 0.0001),
        (LlavaNextConfig, 8, 0.003),
        (LlavaConfig, 8, 0.003),
    ],
)
def test_the_threshold_is_the_models_own(kind, layers, eta):
    assert vtw.usual_eta(kind(text_config=LlamaConfig(num_hidden_layers=layers))) == eta


# LLaVA-1.5-7B
VICUNA = Decoder(layers=32, d=4096, m=11008, q=4096, kv=4096, vocabulary=32000)
OFFICIAL = {
    40: "0 1 21 13 14 11 41 53 29 15 14 5 1 4 5 1 26 1 13 28 6 27 2 1 0 0 1 1 2 0 0 0",
    60: "14 33 89 36 36 20 55 21 18 4 7 5 2 5 7 4 26 5 11 24 4 18 2 1 0 0 1 0 1 0 0 0",
    90: "262 153 80 19 13 1 2 0 0 0 0 0 0 0 0 1 1 2 1 2 0 1 0 0 0 0 0 1 0 0 0 0",
}


@pytest.mark.parametrize(("ratio", "share"), [(40, 0.612), (60, 0.403), (90, 0.103)])
def test_the_cost_is_the_methods_own_count(ratio, share):
    removed = [int(number) for number in OFFICIAL[ratio].split()]
    assert fitprune.recipe_cost(VICUNA, 576, removed) == pytest.approx(share, abs=5e-4)


# d = q = kv = 1, m = 0: a layer of n tokens that leaves m costs 3n + 2n² + m
TINY = Decoder(layers=2, d=1, m=0, q=1, kv=1, vocabulary=2)


def test_a_layer_costs_attention_for_all_and_the_rest_for_those_that_stay():
    assert fitprune.layer_cost(TINY, 4, 4) == 3 * 4 + 2 * 16 + 4 == 48
    assert fitprune.layer_cost(TINY, 4, 1) == 12 + 32 + 1
    # 4 tokens, 2 go after the first layer: 12 + 32 + 2, then 6 + 8 + 2, of 2 · 48
    assert fitprune.recipe_cost(TINY, 4, [2, 0]) == (46 + 16) / 96


@pytest.mark.parametrize(
    ("alpha", "gone"),
    [(0.0, []), (0.09, []), (0.1, [2]), (0.29, [2]), (0.3, [2, 0]), (0.6, [2, 0, 3]), (1.0, [0, 1, 2, 3])],
)
def test_the_lowest_go_while_enough_mass_is_left(alpha, gone):
    masses = torch.tensor([0.2, 0.4, 0.1, 0.3], dtype=torch.float64)
    found = fitprune.lowest(masses, torch.ones(4, dtype=torch.bool), alpha)
    assert found.nonzero().flatten().tolist() == sorted(gone)


def test_mass_that_went_before_counts_as_lost():
    masses = torch.tensor([0.2, 0.4, 0.1, 0.3], dtype=torch.float64)
    alive = torch.tensor([True, True, False, True])
    # .9 of the mass is left; a loss of .3 leaves .7, so .2 may go, and the removed .1 isn't among them
    assert fitprune.lowest(masses, alive, 0.3).tolist() == [True, False, False, False]
    assert fitprune.lowest(masses, alive, 0.29).tolist() == [False] * 4


def masses(cross, own, layers=2):
    return Masses(*(torch.tensor([one] * layers, dtype=torch.float64) for one in (cross, own)))


def test_only_tokens_that_are_low_in_both_go():
    samples = [masses([0.1, 0.2, 0.3, 0.4], [0.4, 0.1, 0.2, 0.3])]
    means, cost = fitprune.removals(samples, 0.3, 0.9, TINY)
    # lowest in cross: 0 and 1; in self: 1 and 2; so 1 goes. Then .8 and .9 are left, of which .7 or more has
    # to stay: 0 (.1) may go of cross, and 2 (.2) of self: none.
    assert means == (1.0, 0.0)
    assert cost == fitprune.recipe_cost(TINY, 4, [1, 0])


def test_removing_ends_where_the_budget_is_met_by_the_mean_over_samples():
    sharp, flat = [0.7, 0.1, 0.1, 0.1], [0.25] * 4
    samples = [masses(sharp, sharp), masses(flat, flat)]
    # alpha .3: of the first all but one go, of the second one; 3 and 1 of 4 in the mean are 2
    means, cost = fitprune.removals(samples, 0.3, 0.01, TINY)
    assert means == (2.0, 0.0)
    spent = [fitprune.layer_cost(TINY, 4, left) + fitprune.layer_cost(TINY, left, left) for left in (1, 3)]
    assert cost == sum(spent) / 2 / 96
    # a budget that needs nothing removes nothing
    assert fitprune.removals(samples, 0.3, 0.0, TINY) == ((0.0, 0.0), 1.0)


def test_alpha_is_the_smallest_that_reaches_the_budget():
    values = [0.04, 0.06, 0.2, 0.7]
    samples = [masses(values, values)]
    # one token less after the first layer: (12 + 32 + 3) + 30 of 96, a fifth less, from alpha = .04 on
    found = fitprune.find_recipe(samples, 0.19, TINY)
    assert found.recipe == (1, 0)
    assert found.means == (1.0, 0.0)
    assert found.cost == (47 + 30) / 96
    assert 0.04 <= found.alpha <= 0.04 + fitprune.STEP
    # two: 46 + 16, 35% less; from alpha = .1 on
    assert fitprune.find_recipe(samples, 0.35, TINY).recipe == (2, 0)
    # in between, two are removed as well, for fewer don't reach it
    assert fitprune.find_recipe(samples, 0.25, TINY).recipe == (2, 0)


def test_the_recipe_is_the_mean_over_samples_rounded_down():
    values, other = [0.04, 0.06, 0.2, 0.7], [0.25] * 4
    # 1 and 0 tokens go after the first layer: (77 + 96) / 2 of 96 in the mean, 9.9% less
    found = fitprune.find_recipe([masses(values, values), masses(other, other)], 0.09, TINY)
    assert found.means == (0.5, 0.0)
    assert (found.recipe, found.cost) == ((0, 0), 1.0)


def test_a_ratio_beyond_what_the_first_layer_costs_is_refused():
    # all go after the first layer: 12 + 32 of 96
    with pytest.raises(
        UserError, match=r"ratio=60 can't be reached: with 2 layers and 4 image tokens, .*45.8%"
    ):
        fitprune.find_recipe([masses([0.25] * 4, [0.25] * 4)], 0.6, TINY)
    found = fitprune.find_recipe([masses([0.25] * 4, [0.25] * 4)], 0.54, TINY)
    assert found.recipe == (4, 0)


@pytest.fixture(scope="module")
def miniature():
    """Of 8 layers and 144 image tokens."""
    return AutoConfig.from_pretrained(MINI_CHECKPOINT)


def schedules(found, tokens):
    return [sum(one.strategy.schedule(8, 144)) / 8 <= tokens for one in found]


def test_what_a_search_tries_never_costs_more_than_the_budget_and_is_never_the_same(miniature):
    found, places = candidates(PyramidDrop(), miniature, {"tokens": 48}, 200, seed=1)
    # 7 places for one drop, 21 for two and 35 for three, of which two and three can be spread in three ways
    assert places == 7 + 3 * 21 + 3 * 35
    # The layers before the first drop see 144 tokens: two of 8 cost 36 of the 48, three 54. So it is after
    # layer 1 or 2: 2 places for one drop, 6 + 5 for two and 15 + 10 for three
    assert 90 < len(found) <= 2 + 3 * 11 + 3 * 25
    assert {one.strategy.drops(8)[0].layer for one in found} == {1, 2}
    assert found[0].usual
    assert found[0].strategy == PyramidDrop.for_budget(miniature, tokens=48)
    assert not any(one.usual for one in found[1:])
    assert all(schedules(found, 48))
    assert len({str(one.settings) for one in found}) == len(found)
    assert {len(one.strategy.drops(8)) for one in found} == {1, 2, 3}


def test_the_seed_decides_what_is_tried_of_too_many(miniature):
    one, other, again = (
        candidates(PyramidDrop(), miniature, {"tokens": 48}, 5, seed)[0] for seed in (1, 2, 1)
    )
    assert [found.settings for found in one] == [found.settings for found in again]
    assert [found.settings for found in one] != [found.settings for found in other]
    assert one[0].settings == other[0].settings
    assert len(one) == len(other) == 5


def test_settings_that_are_given_stay_in_a_search(miniature):
    found, _ = candidates(PyramidDrop(positions="keep", stages=3), miniature, {"share": 0.5}, 6, seed=1)
    assert {one.strategy.positions for one in found} == {"keep"}
    assert found[0].strategy.stages == 3
    assert max(len(one.strategy.drops(8)) for one in found) == 2


@pytest.mark.parametrize("name", ["fastv", "dart", "feather", "sparsevlm", "v2drop"])
def test_the_layers_of_every_method_in_the_decoder_are_searched(miniature, name):
    found, places = candidates(make_strategy(name), miniature, {"tokens": 60}, 6, seed=1)
    assert 2 <= len(found) <= min(6, places)
    assert all(schedules(found, 60))
    assert len({str(one.strategy.drops(8)) for one in found}) > 1


@dataclass
class Early(Strategy):
    """Half of the tokens go, at a layer that the strategy has its own word for."""

    cut: int = 2
    share: float = 0.5
    name: ClassVar[str] = "early"
    solved_fields: ClassVar[tuple[str, ...]] = ("share",)
    layout_fields: ClassVar[tuple[str, ...]] = ("cut",)
    layer_field: ClassVar[str] = "cut"

    def drops(self, num_layers):
        return (Drop(layer=self.cut),)

    def retained(self, num_layers, image_tokens):
        return (int(image_tokens * self.share),)

    @classmethod
    def budget_layouts(cls, num_layers, **fields):
        return [Layout(lambda share: cls(share=share, **fields))]


def test_the_strategy_says_itself_what_its_layers_are_called(miniature):
    """At most 60 of 144 tokens a layer: 144 c + n (8 - c) <= 480 is possible for c = 1, 2 and 3."""
    found, places = candidates(Early(), miniature, {"tokens": 60}, 6, seed=1)
    assert places == 7
    assert {one.settings["cut"] for one in found} == {1, 2, 3}
    assert all(schedules(found, 60))


@pytest.mark.parametrize("name", ["vtw", "fitprune", "visionzip", "random", "visionzip+pdrop"])
def test_a_strategy_without_layers_to_choose_has_what_the_budget_gives(miniature, name):
    found, places = candidates(make_strategy(name), miniature, {"tokens": 40}, 6, seed=1)
    assert (len(found), places) == (1, 1)
    assert found[0].usual


def test_a_strategy_that_takes_no_budget_is_refused_by_a_search(miniature):
    with pytest.raises(UserError, match="can't be fitted to a budget"):
        candidates(make_strategy("prumerge"), miniature, {"tokens": 40}, 6, seed=1)


def test_the_loss_of_a_single_question_has_no_error():
    asked, full = (Asked(torch.tensor(rows), [[4]] * len(rows)) for rows in ([[1.0, 0.0]], [[0.0, 1.0]]))
    one = Loss.of(asked, full)
    assert one.stderr is None
    assert one.gain_of(one) == (0.0, None)
    assert "0.4621 +- -  " in calibration_text(_recipe(one), "my.json")  # (e - 1) / (e + 1)
    two = Loss.of(Asked(asked.logits.repeat(2, 1), [[4]] * 2), Asked(full.logits.repeat(2, 1), [[4]] * 2))
    assert two.stderr == 0.0


def _recipe(loss):
    """As much of a recipe of VTW as its text needs, with one K tried."""
    return {
        "strategy": "vtw", "settings": {"k": 1}, "model": {"name": "mini", "layers": 8},
        "questions": {"split": "calibration", "suite": "mini", "n": 1, "tasks": {"gqa": 1}},
        "rule": {"name": "vtw", "settings": {"eta": 1.0, "first": 1}},
        "tried": [{"settings": {"k": 1}, **loss.to_dict()}], "made": {"preset": "vtw"},
    }  # fmt: skip


def test_masses_are_the_sums_of_the_largest_weight_of_any_head():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 4, "vocab_size": 16}
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=3, **sizes, attn_implementation="eager")).eval()
    embeds = torch.randn(2, 12, 16)
    image = torch.zeros(2, 12, dtype=torch.bool)
    image[0, 3:9], image[1, 2:8] = True, True
    probe = MassProbe()
    with torch.no_grad():
        weights = model(inputs_embeds=embeds, output_attentions=True).attentions
        with probe(model, image_mask=image):
            model(inputs_embeds=embeds)
    assert torch.equal(probe.image, image)
    assert len(probe.cross) == len(probe.self) == 3
    for layer in range(3):
        largest = weights[layer].amax(1)  # [b, rows, columns]
        for row, (first, end) in enumerate([(3, 9), (2, 8)]):
            cross, own = largest[row, end:].sum(0), largest[row, first:end].sum(0)
            torch.testing.assert_close(probe.cross[layer][row, first:end], cross[first:end])
            torch.testing.assert_close(probe.self[layer][row, first:end], own[first:end])
