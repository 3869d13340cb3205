"""A combination is one strategy: what the second half sees, what is said of the whole, what is refused."""

import oracle
import pytest
import torch
from contract import BOTH, FAMILIES, IMAGE, IMAGE_ID, STRATEGIES, case_of, every_combined_pair, model_of
from oracle import OracleDrop
from transformers import LlamaConfig, LlavaConfig

from pdrop_eval import Combine, FastV, PyramidDrop, Random, Uniform, UserError, Vanilla, VisionZip
from pdrop_eval.efficiency.budget import solve
from pdrop_eval.efficiency.schedules import notes_of
from pdrop_eval.engine.before_decoder.reduce import images_of_rows
from pdrop_eval.models import families
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.strategies.fastervlm import FasterVLM
from pdrop_eval.strategies.feather import Feather
from pdrop_eval.strategies.make import instantiate_strategy, make_strategy, settings_of
from pdrop_eval.strategies.prumerge import PruMerge
from pdrop_eval.strategies.registry import info_of, recorded_facts
from pdrop_eval.strategies.vscan import VScan

NEW = 4


@every_combined_pair
def test_the_second_half_drops_from_what_the_first_leaves(strategy, family):
    case = case_of(family)
    with case.under(strategy) as report:
        output = case.forward()
    places = families.of_model(case.model).places(case.model, case.inputs)
    rows = images_of_rows([place.shape.tokens for place in places], case.image_tokens)
    left = [sum(strategy.first.retained_count(places[i].shape) for i in row) for row in rows]
    assert report.image_tokens == case.image_tokens
    assert [len(source) for source in report.sources] == left
    if strategy.adaptive:
        schedules = list(zip(*report.image_tokens_per_layer, strict=True))
        assert [schedule[0] for schedule in schedules] == left
    else:
        schedules = [strategy.second.schedule(8, n) for n in left]
    text = [length - n for length, n in zip(case.lengths, case.image_tokens, strict=True)]
    for layer in range(8):
        images = [schedule[layer] for schedule in schedules]
        assert report.image_tokens_per_layer[layer] == images
        assert report.kv_lengths[layer] == [n + t for n, t in zip(images, text, strict=True)]
        cache = output.past_key_values.layers[layer].keys.shape[2]
        assert cache == max(report.kv_lengths[layer])
    alive = [source.tolist() for source in report.sources]
    for stage in report.retained:  # of the original image's tokens; -1 for those that the first half made
        for row, ids in enumerate(stage):
            own = ids.tolist()
            assert {one for one in own if one >= 0} <= set(alive[row]) & set(range(case.image_tokens[row]))
            assert own.count(-1) <= alive[row].count(-1)
            alive[row] = own


# The second half, what the oracle is told to do for n image tokens (by hand), and whether positions close up.
HALVES = {
    "fastv": (FastV(k=2, r=0.5), lambda n: [OracleDrop(2, 1, n // 2)], False),
    "pdrop": (PyramidDrop(stages=2), lambda n: [OracleDrop(4, 4, n // 2)], True),
    "pdrop_keep": (PyramidDrop(stages=2, positions="keep"), lambda n: [OracleDrop(4, 4, n // 2)], False),
}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize(
    ("rows", "row"), [([[4, IMAGE, 5], [2, IMAGE, 9]], 0), ([[3, IMAGE, 2, IMAGE, 6]], 0)]
)
def test_it_equals_hiding_what_is_dropped(name, rows, row):
    """The oracle gets a prompt without the tokens that Uniform leaves out (by hand), and hides the others."""
    second, plan, renumber = HALVES[name]
    case = case_of("llava_gqa", rows=rows)
    kept = [i * 25 // 10 for i in range(10)]  # 10 of an image's 25
    with case.under(Combine(Uniform(tokens=10), second)) as report:
        output = case.model.generate(
            **case.inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, output_logits=True,
            return_dict_in_generate=True,
        )  # fmt: skip
    ids = case.inputs["input_ids"][row][-case.lengths[row] :]
    images = int((ids == IMAGE_ID).sum()) // 25
    ours = torch.tensor([image * 25 + place for image in range(images) for place in kept])
    chosen = torch.ones(len(ids), dtype=torch.bool)
    chosen[ids == IMAGE_ID] = torch.isin(torch.arange(25 * images), ours)
    embeds = _embedded(case)[row][-case.lengths[row] :][chosen]
    tokens = output.sequences[row, -NEW:]
    full = torch.cat((embeds, case.model.get_input_embeddings()(tokens[:-1])))
    image = torch.nn.functional.pad((ids == IMAGE_ID)[chosen], (0, NEW - 1))
    with torch.no_grad():
        drops = plan(len(ours))
        logits, found = oracle.run(case.model, full, image, drops, renumber, int(chosen.sum()))
    assert [stage[row].tolist() for stage in report.retained] == [ours[stage].tolist() for stage in found]
    assert torch.allclose(torch.stack(output.logits)[:, row], logits[-NEW:], rtol=0, atol=1e-4)
    assert logits[-NEW:].argmax(-1).tolist() == tokens.tolist()


def _embedded(case):
    """What the decoder is fed without any strategy."""
    caught = {}

    def catch(module, args, kwargs):
        caught["embeds"] = kwargs["inputs_embeds"]

    handle = case.model.get_decoder().register_forward_pre_hook(catch, with_kwargs=True)
    case.forward()
    handle.remove()
    return caught["embeds"]


def test_equal_choices_in_one_and_in_the_other_half_cost_nothing_anew():
    """A second half that keeps all leaves the first as it is alone, bit for bit; the seed is the first's."""
    case = case_of("llava_gqa")
    for first in (Random(tokens=9, seed=3), VisionZip(dominant=5, contextual=3)):
        with case.under(first) as report:
            alone, sources = case.forward().logits, report.sources
        with case.under(Combine(first, PyramidDrop(ratio=1.0))) as report:
            both = case.forward().logits
        assert torch.equal(alone, both)
        assert [s.tolist() for s in report.sources] == [s.tolist() for s in sources]


def test_it_says_of_the_whole_what_its_halves_say():
    both = Combine(VisionZip(dominant=20, contextual=4), PyramidDrop(ratio=0.4))
    assert both.name == "visionzip+pdrop"
    assert (both.display_name, both.stage, both.trains) == ("VisionZip + PDrop", "both", True)
    assert both.paper.count("arXiv") == 2
    assert both.settings()["pdrop.ratio"] == 0.4
    info = info_of("visionzip+pdrop", recorded_facts(both))
    assert info.label(both.settings()) == ["20+4", "λ=0.4", "S=4"]
    assert info.label(both.settings(), ["pdrop.ratio"]) == ["λ=0.4"]
    assert info_of("visionzip+pdrop").display_name == "VisionZip + PDrop"
    # 24 of 576 tokens, then 0.4 of those after each of 4 stages, rounded down
    assert both.schedule(8, 576) == (24, 24, 9, 9, 3, 3, 1, 1)
    assert repr(both).startswith("Combine(VisionZip(dominant=20, ")


def test_settings_make_it_again():
    settings = settings_of("visionzip+pdrop", {"pdrop.layers": [2, 4], "pdrop.ratios": [0.5, 0.2],
                                               "pdrop.ratio": None, "pdrop.stages": None})  # fmt: skip
    made = instantiate_strategy(settings)
    assert made == Combine(VisionZip(), PyramidDrop(layers=(2, 4), ratios=(0.5, 0.2)))
    again = {name: list(v) if isinstance(v, tuple) else v for name, v in made.settings().items()}
    assert instantiate_strategy({"_target_": settings["_target_"], **again}) == made
    twice = make_strategy("random+random", {"random.tokens": 20, "random_2.k": 2, "random_2.tokens": 5})
    assert twice == Combine(Random(tokens=20), Random(tokens=5, k=2))


def test_a_budget_is_that_of_the_whole():
    """Uniform leaves T, FastV halves them after 2 of 8 layers: (2 + 6 / 2) / 8 T = 0.625 T in the mean."""
    config = model_of("llava_gqa").config
    found = solve(Combine(Uniform(), FastV(k=2, r=0.5)), config, tokens=10)
    assert found == Combine(Uniform(tokens=16), FastV(k=2, r=0.5))
    reached = found.reached
    assert reached.schedule == (16, 16, 8, 8, 8, 8, 8, 8)
    assert (reached.layers, reached.counts) == ((0, 2), (16, 8))
    assert "uniform.tokens=16. Before the decoder and after layer 2 of 8, 16, 8 of 25" in reached.words
    # all 25 tokens at first, then 12 of them: (2 * 25 + 6 * 12) / 8
    with pytest.raises(UserError, match=r"tokens=16 can't be reached by Uniform \+ FastV.*to 15\.25 \(fastv"):
        solve(Combine(Uniform(), FastV(k=2, r=0.5)), config, tokens=16)
    # what the second half asks for in any case stays: (2 * 9 + 6 * 5) / 8 = 6, and no less than 5 are left
    found = solve(Combine(Uniform(), Random(k=2, tokens=5)), config, tokens=6)
    assert found.first == Uniform(tokens=9)
    with pytest.raises(UserError, match="PruMerge can't be fitted to a budget"):
        solve(Combine(PruMerge(), FastV()), config, tokens=6)


REFUSED = {
    "two before": (lambda: Combine(Uniform(), VisionZip()), "uniform and visionzip both act before"),
    "two inside": (lambda: Combine(FastV(), PyramidDrop()), "fastv and pdrop both act in the decoder"),
    "turned round": (lambda: Combine(FastV(), Uniform()), r"combine=\[uniform,fastv\]"),
    "vanilla": (lambda: Combine(Uniform(), Vanilla()), "vanilla drops nothing"),
    "nested": (lambda: Combine(BOTH[0], FastV()), r"visionzip\+pdrop is a combination itself"),
    "no strategy": (lambda: Combine(Uniform(), "fastv"), "'fastv' is no strategy"),
    "unknown": (lambda: make_strategy("visionzip+pdropp"), "Did you mean pdrop"),
    "unknown setting": (lambda: make_strategy("visionzip+pdrop", {"pdrop.rat": 1}), "Did you mean ratio"),
    "bare setting": (lambda: make_strategy("visionzip+pdrop", {"ratio": 1}), r"pdrop\.<name>"),
    "wrong value": (lambda: make_strategy("visionzip+pdrop", {"pdrop.ratio": 2}), r"^pdrop\.ratio=2 is not"),
    "three": (lambda: make_strategy("visionzip+pdrop+fastv"), "combines 3 strategies"),
    "too deep": (lambda: Combine(Uniform(), PyramidDrop(stages=9)).drops(8), r"pdrop\.stages=9 does not fit"),
    "too few left": (
        lambda: Combine(Uniform(tokens=8), Random(k=2, tokens=9)).schedule(8, 25),
        "uniform leaves 8 of an image's 25 tokens, and random asks for 9 of them",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_is_refused(name):
    make, words = REFUSED[name]
    with pytest.raises(UserError, match=words):
        make()


def test_a_model_is_refused_before_a_sample():
    model = model_of("llava_gqa")
    for wrong, words in [
        (Combine(Uniform(tokens=8), FastV(attention_rank=9)), "asks for 9"),
        (Combine(Uniform(tokens=26), FastV()), r"uniform\.tokens=26 is not allowed"),
        (Combine(Uniform(tokens=8), FastV(k=9)), r"fastv\.k=9 is not allowed"),
    ]:
        with pytest.raises(UserError, match=words):
            wrong(model)
    with pytest.raises(UserError, match="takes none"):
        BOTH[1](model_of("bare_llama"), torch.ones(1, 25, dtype=torch.bool))


def test_the_second_half_checks_images_as_they_enter_the_decoder():
    second, seen = FastV(), []
    vars(second)["check_image"] = seen.append
    vars(second)["notes"] = lambda layers, tokens: [f"{tokens} tokens in {layers} layers"]
    both = Combine(Uniform(tokens=8), second)
    both(model_of("llava_gqa"))
    assert [(shape.tokens, shape.tiles) for shape in seen] == [(8, 1)]
    assert notes_of(both, 8, 25, 25) == ["8 tokens in 8 layers"]
    per_tile = Combine(VisionZip(dominant=5, contextual=3), second)
    assert notes_of(per_tile, 8, 75, 25) == ["24 tokens in 8 layers"]  # three tiles


@pytest.mark.slow
@pytest.mark.parametrize("second", [one for one in STRATEGIES if one.name not in ("vanilla", "feather")])
def test_every_strategy_in_the_decoder_goes_on_with_what_is_left(second):
    both = Combine(Uniform(tokens=16), second)
    case = case_of("llava_gqa")
    with case.under(both) as report:
        logits, retained = case.forward().logits[:, -1], report.retained
    lengths, layers = report.kv_lengths, report.image_tokens_per_layer
    assert layers[0] == [16 * n // 25 for n in case.image_tokens]
    assert all(max(row) <= 25 * 2 for stage in retained for row in stage if len(row))
    for row in range(len(case.lengths)):
        alone = case.alone(row)
        with alone.under(both) as report:
            assert torch.allclose(alone.forward().logits[0, -1], logits[row], atol=1e-4)
        assert [layer[0] for layer in report.kv_lengths] == [layer[row] for layer in lengths]


def test_a_grid_that_is_not_left_whole_is_refused():
    with pytest.raises(UserError, match="feather goes by the places of tokens on an image's grid"):
        Combine(Uniform(tokens=16), Feather())


def test_how_many_are_left_may_depend_on_the_image():
    both = Combine(PruMerge(), FastV(k=2, r=0.5))
    assert both.adaptive
    with pytest.raises(UserError, match=r"PruMerge \+ FastV decides by each image"):
        both.schedule(8, 25)
    case = case_of("llava_gqa")
    with case.under(both) as report:
        case.forward()
    left = [len(source) for source in report.sources]
    assert report.image_tokens_per_layer[1] == left
    assert report.image_tokens_per_layer[2] == [round(n / 2) for n in left]


def test_training_with_it_needs_both_halves_to_train():
    first = Uniform(tokens=8)
    vars(first)["trains"] = False
    both = Combine(first, FastV())
    assert not both.trains
    case = case_of("llava_gqa")
    labels = case.inputs["input_ids"].masked_fill(case.inputs["input_ids"] == IMAGE_ID, -100)
    with case.under(both), pytest.raises(UserError, match=r"uniform\+fastv can't be trained with"):
        case.forward(labels=labels)


def test_a_budget_in_shares_gives_each_picture_its_own_count():
    """16 layers with all c that are left and 16 with half of them: 24 c, and a quarter of 576 is 32 x 144."""
    config = LlavaConfig(text_config=LlamaConfig())
    whole = Combine.for_budget(config, share=0.25, first=Uniform(tokens=1), second=FastV(k=16, r=0.5))
    assert whole.first.tokens == 192
    assert whole.for_image(TokenShape(576)) is whole
    # 3,200 for 400 tokens: 133 in 16 layers and 67 in 16; 134 would take 3,216
    assert whole.for_image(TokenShape(400)).first.tokens == 133
    assert whole.for_image(TokenShape(3)).first.tokens == 1
    assert whole.for_image(TokenShape(1152, tiles=2)) is whole  # cut into tiles
    counted = Combine.for_budget(config, tokens=144, first=Uniform(tokens=1), second=FastV(k=16, r=0.5))
    assert counted.for_image(TokenShape(400)) is counted


@pytest.mark.skipif("qwen2_5_vl" not in FAMILIES, reason="the installed transformers is too old for it")
def test_pictures_of_every_size_get_their_share_on_qwen():
    """4 layers with all c that are left and 4 with half of them: 6 c, and half of 8 n is 4 n.

    Of 50, 60, 100 and 70 tokens: 33, 40, 66 and 46.
    """
    case = case_of("qwen2_5_vl")
    share = Combine.for_budget(case.model, share=0.5, first=Uniform(tokens=1), second=FastV(k=4, r=0.5))
    with case.under(share) as report:
        case.forward()
    assert report.image_tokens == [50, 160, 0, 70]
    assert report.image_tokens_per_layer[0] == [33, 106, 0, 46]


@pytest.mark.skipif("qwen2_5_vl" not in FAMILIES, reason="the installed transformers is too old for it")
def test_a_family_that_knows_the_first_half_takes_the_combination():
    model = model_of("qwen2_5_vl")
    with Combine(VisionZip(dominant=5, contextual=3), PyramidDrop())(model):
        pass
    with pytest.raises(UserError, match=r"fastervlm has no port to Qwen2\.5-VL"):
        Combine(FasterVLM(), FastV())(model)
    with pytest.raises(UserError, match=r"vscan has no port to Qwen2\.5-VL"):
        VScan()(model)
