"""Strategies before the decoder in the harness, on tiny random checkpoints: 16 image tokens, 4 layers."""

import pytest
import torch
from asking_model import ASKED, make, requests, texts

from pdrop_eval.models.towers.encoded import Needs
from pdrop_eval.records.token_mask import unpack
from pdrop_eval.run.lmms.generation import strategy_of
from pdrop_eval.strategies.combine import Combine
from pdrop_eval.strategies.pyramiddrop import PyramidDrop
from pdrop_eval.strategies.random import Random
from pdrop_eval.strategies.uniform import Uniform
from pdrop_eval.strategies.vanilla import Vanilla
from pdrop_eval.strategies.visionzip import VisionZip
from pdrop_eval.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("lmms_eval")
STRATEGIES = [Uniform(tokens=5), Random(tokens=5), VisionZip(dominant=3, contextual=2)]


@pytest.mark.thin(2)
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
def test_answers_do_not_depend_on_the_batch_size(family, strategy, request):
    folder = request.getfixturevalue(family)
    answers, sizes = {}, {2: (40, 14), 5: (14, 33)}
    for batch_size in (1, 5):
        model = make(folder, strategy=strategy, batch_size=batch_size)
        torch.manual_seed(3)
        answers[batch_size] = texts(model.generate_until(requests(model, sizes=sizes)))
    assert answers[1] == answers[5]
    assert len(set(answers[1])) > 1


@pytest.mark.parametrize(("strategy", "made"), [(STRATEGIES[0], 0), (STRATEGIES[1], 0), (STRATEGIES[2], 3)])
def test_each_sample_is_measured_in_its_own_tokens(llava, strategy, made):
    model = make(llava, strategy=strategy, batch_size=3)
    model.generate_until(requests(model, num_beams=2))
    for i, (_, images) in enumerate(ASKED):
        measured = model.answers.measurements["quiz", i]
        n = len(images)
        assert measured.image_tokens == 16 * n
        assert measured.image_tokens_per_layer == (5 * n,) * 4
        ((layer, mask),) = measured.retained
        assert layer == 0
        assert sum(unpack(mask, 16 * n)) == (5 - made) * n  # VisionZip makes its class token and two more
    # "USER: <image>\nWhat? ASSISTANT:": the prompt as it was asked, 16 for the image
    prompt = len("USER: ") + 16 + len("\nWhat? ASSISTANT:")
    assert model.answers.measurements["quiz", 0].prompt_tokens == prompt


BOTH = Combine(VisionZip(dominant=6, contextual=2), PyramidDrop(stages=2))


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_a_combination_answers_and_measures_as_one(family, request):
    folder = request.getfixturevalue(family)
    answers, sizes = {}, {2: (40, 14), 5: (14, 33)}
    for batch_size in (1, 5):
        model = make(folder, strategy=BOTH, batch_size=batch_size)
        answers[batch_size] = texts(model.generate_until(requests(model, sizes=sizes)))
    assert answers[1] == answers[5]
    if family == "llava":  # 8 of 16 tokens, of which the half is left after 2 of 4 layers
        measured = model.answers.measurements["quiz", 0]
        assert measured.image_tokens == 16
        assert measured.image_tokens_per_layer == (8, 8, 4, 4)
        (before, first), (within, second) = measured.retained
        assert (before, within) == (0, 2)
        first, second = unpack(first, 16), unpack(second, 16)
        assert sum(first) == 5  # the class token and two more are made
        assert all(kept for kept, later in zip(first, second, strict=True) if later)


def test_lmms_evals_arguments_name_a_combination(llava):
    own = {"visionzip.dominant": 6, "visionzip.contextual": 2, "pdrop.stages": 2}
    inside = "[{visionzip:{dominant:6,contextual:2}},{pdrop:{stages:2}}]"
    assert strategy_of(None, inside, {})[0] == BOTH
    assert strategy_of(None, "visionzip/pdrop", own)[0] == BOTH
    assert strategy_of("visionzip+pdrop", None, own)[0] == BOTH
    assert strategy_of(None, None, {})[0] == Vanilla()
    assert make(llava, strategy=None, combine=inside).strategy == BOTH
    with pytest.raises(UserError, match="can't be given together"):
        strategy_of("pdrop", "visionzip/pdrop", {})
    with pytest.raises(UserError, match="Did you mean pdrop"):
        strategy_of(None, "visionzip/pdropp", {})
    few = {"random.tokens": 8, "random_2.k": 2, "random_2.tokens": 9}
    with pytest.raises(UserError, match="leaves 8 of an image's 16 tokens"):
        make(llava, strategy="random+random", **few)


def test_chance_is_the_runs_and_the_samples(llava):
    def kept(seed, strategy_seed=0):
        model = make(llava, strategy=Random(tokens=5, seed=strategy_seed), batch_size=2)
        torch.manual_seed(seed)
        model.generate_until(requests(model, [("What?", [1]), ("Who?", [1]), ("Both?", [1, 1])]))
        return [model.answers.measurements["quiz", i].retained[0][1] for i in range(3)]

    first = kept(1)
    assert first == kept(1)
    assert len({*first, *kept(2)[:2], *kept(1, 9)[:2]}) == 7  # other samples, runs and seeds: other tokens
    both = unpack(first[2], 32)
    assert both[:16] != both[16:]  # and so does the same image twice


def test_chance_within_the_decoder_is_each_samples_too(llava):
    def kept(batch_size, **changes):
        model = make(llava, strategy=Random(tokens=5, k=1, **changes), batch_size=batch_size)
        torch.manual_seed(1)
        model.generate_until(requests(model, [("What?", [1]), ("Who?", [1])], num_beams=2))
        assert model.answers.measurements["quiz", 1].image_tokens_per_layer == (16, 5, 5, 5)
        return [model.answers.measurements["quiz", i].retained[0] for i in range(2)]

    first = kept(1)
    assert [layer for layer, _ in first] == [1, 1]
    assert kept(2) == first
    assert len({mask for _, mask in (*first, *kept(2, seed=7))}) == 4


def test_an_image_is_encoded_once_for_all_strategies_that_ask_for_no_more(llava):
    one = make(llava, strategy=VisionZip(dominant=3, contextual=2), batch_size=5)
    one.generate_until(requests(one))
    assert one.answers.usage["quiz"].encoded == 5
    for strategy in (Uniform(tokens=5), "vanilla", "fastv", VisionZip(dominant=4, contextual=1)):
        other = make(llava, strategy=strategy, batch_size=2)
        other.features = one.features
        other.generate_until(requests(other))
        assert other.answers.usage["quiz"].encoded == 0


def test_who_asks_for_more_has_all_encoded_that_was_asked_for_so_far(llava):
    model = make(llava, strategy=Uniform(tokens=5), batch_size=5)
    model.generate_until(requests(model, ASKED[:1]))
    other = make(llava, strategy=VisionZip(dominant=3, contextual=2), batch_size=1)
    other.features = model.features
    answers = texts(other.generate_until(requests(other, ASKED[:1])))
    assert other.answers.usage["quiz"].encoded == 1
    (held,) = model.features._kept.values()
    assert held.image.needs == VisionZip.needs
    assert model.features.bytes == held.image.nbytes
    alone = make(llava, strategy=VisionZip(dominant=3, contextual=2), batch_size=1)
    assert texts(alone.generate_until(requests(alone, ASKED[:1]))) == answers


def test_needs_add_up():
    one, two = Needs(attention=("features",), question=True), Needs(keys=("last",), attention=("first",))
    both = one | two
    assert both == Needs(attention=("first", "features"), keys=("last",), question=True)
    assert both.covers(one)
    assert both.covers(two)
    assert two.covers(Needs(question=True))  # no image holds a question
    assert not two.covers(one)
    assert not Needs().covers(two)


def test_counts_that_no_image_has_are_refused_before_a_sample(llava):
    with pytest.raises(UserError, match=r"tokens=17 is not allowed: use a whole number from 1 to 16"):
        make(llava, strategy=Uniform(tokens=17))
    with pytest.raises(UserError, match=r"dominant=10 and contextual=8 are too many: a tile has 16 patches"):
        make(llava, strategy=VisionZip(dominant=10, contextual=8))
