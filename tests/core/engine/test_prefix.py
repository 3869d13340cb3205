"""Questions of one image share what comes before them: the same answers, from less work."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from contract import (
    BEFORE,
    BOTH,
    FAMILIES,
    FEW,
    IMAGE,
    IMAGE_ID,
    LEADS,
    STRATEGIES,
    CDPruner,
    FastV,
    PyramidDrop,
    Random,
    V2Drop,
    VisionZip,
    build,
    case_of,
    keep_all,
    model_of,
    runs_on,
    strategy_id,
)

from pdrop_eval import UserError, Vanilla
from pdrop_eval.engine.attention_recorder import AttentionShares
from pdrop_eval.engine.prefix.cache import Prefix, PrefixCache
from pdrop_eval.engine.prefix.computing import groups
from pdrop_eval.engine.prefix.fits import states_needed, unshared
from pdrop_eval.engine.prefix.suffix import Row
from pdrop_eval.models import families
from pdrop_eval.strategies.base import Strategy

# Each has an image; ragged. The prefixes of the first and the last are of one length, and computed together.
ROWS = ([4, IMAGE, 5], [2, IMAGE, 3, IMAGE, 4], [4, IMAGE, 19])
SHARING = [one for one in (*STRATEGIES, *BEFORE, *BOTH) if one.shares_prefix]
# Vanilla and PyramidDrop on every family, the others on one of two.
PAIRS = [
    *((one, family) for one in LEADS[:1] + LEADS[2:3] for family in FAMILIES),
    *((one, next(f for f in FEW if runs_on(f, one))) for one in SHARING),
]


def sharing(case, prefixes, **more):
    """The case under a cache of prefixes."""
    return replace(case, options={**case.options, "prefixes": prefixes, **more})


def asking(case, number):
    """Another question on the same images: the last two tokens of every row are others."""
    ids = case.inputs["input_ids"].clone()
    ids[:, -2:] = number
    return case.with_inputs(input_ids=ids)


def listed(rows):
    return [[ids.tolist() for ids in row] for row in rows]


@pytest.fixture
def columns():
    """Hooks the attention of a case's layers; gives the columns that each has computed since, by layer."""
    handles, seen = [], {}

    def watch(case):
        seen.clear()
        for number, layer in enumerate(case.model.get_decoder().layers):

            def hook(_, args, kwargs, number=number):
                hidden = args[0] if args else kwargs["hidden_states"]
                seen.setdefault(number, []).append(hidden.shape[1])

            handles.append(layer.self_attn.register_forward_pre_hook(hook, with_kwargs=True))
        return seen

    yield watch
    for handle in handles:
        handle.remove()


@pytest.mark.thin(12)
@pytest.mark.parametrize(
    ("strategy", "family"), PAIRS, ids=[f"{strategy_id(one)}-{family}" for one, family in PAIRS]
)
def test_a_shared_prefix_changes_nothing_but_the_work(strategy, family):
    case = case_of(family, rows=ROWS)
    prefixes, known = PrefixCache(gib=1), []
    for number in (7, 9) if "input_ids" in case.inputs else (None,) * 2:
        asked = case if number is None else asking(case, number)
        with asked.under(strategy) as plain:
            logits, tokens = asked.forward().logits[:, -1], asked.generate(3)
        with sharing(asked, prefixes).under(strategy) as shared:
            assert torch.allclose(asked.forward().logits[:, -1], logits, atol=1e-4)
            assert torch.equal(asked.generate(3), tokens)
        assert listed(plain.retained) == listed(shared.retained)
        assert plain.kv_lengths == shared.kv_lengths
        assert plain.image_tokens_per_layer == shared.image_tokens_per_layer
        known.append(prefixes.misses)
    # Of padded rows, positions differ between forward and generate, so there may be two prefixes of a row.
    assert known in ([3, 3], [4, 4], [5, 5])
    assert prefixes.hits + prefixes.misses == 12


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_only_what_follows_the_prefix_is_computed_before_the_first_drop(attention, columns):
    """A row has 4 + 25 + 5 tokens: the prefix ends at 29."""
    case = build(model_of("llava", attention), [[4, IMAGE, 5]])
    seen, prefixes = columns(case), PrefixCache(gib=1)
    strategy = PyramidDrop(layers=(3, 6), ratios=(0.6, 0.2), rank_with="last_layer")
    for times in (1, 2):
        seen.clear()
        with sharing(case, prefixes).under(strategy):
            case.forward()
        first = [[29, 5]] if times == 1 else [[5]]
        assert [seen[number] for number in range(8)] == first * 3 + [[24]] * 3 + [[14]] * 2
    (kept,) = prefixes._kept.values()
    assert len(kept.keys) == 3
    assert sorted(kept.states) == [2, 3]
    with sharing(case, prefixes).under(Vanilla()) as report:
        output = case.forward()
    assert output.logits.shape[1] == 5
    assert report.index.tolist() == [[29, 30, 31, 32, 33]]
    assert report.scatter(output.logits).shape[1] == 34
    assert output.past_key_values.get_seq_length() == 34


def test_prefixes_of_one_length_are_computed_together_where_rounding_allows_it():
    lengths = (29, 28, 29, 29, 55, 29, 29)
    rows = [(number, Row(number, 3, length)) for number, length in enumerate(lengths)]
    found = [[number for number, _ in group] for group in groups(rows, torch.zeros(7, 60, 4))]
    assert found == [[0, 2, 3, 5], [1], [4], [6]]
    assert groups(rows, torch.zeros(7, 60, 4).bfloat16()) == [[row] for row in rows]


def test_rows_with_shorter_questions_compute_the_end_of_their_prefix_again(columns):
    """Of 34 and 47 tokens, the longer question has 19: so many columns of both rows are computed."""
    case = build(model_of("llava"), [[4, IMAGE, 5], [3, IMAGE, 19]])
    seen, prefixes = columns(case), PrefixCache(gib=1)
    with sharing(case, prefixes).under(Vanilla()):
        case.forward()
    assert seen[0] == [29, 28, 19]


@pytest.mark.parametrize("strategy", [Vanilla(), FastV(k=2, r=0.5), VisionZip(dominant=5, contextual=3)])
def test_cached_decoding_on_a_shared_prefix_equals_one_forward(strategy):
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    settings = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE_ID]}
    for _ in range(2):
        with sharing(case, prefixes).under(strategy):
            steps = case.model.generate(
                **case.inputs, **settings, output_logits=True, return_dict_in_generate=True
            )
    assert prefixes.hits == 1
    inputs = {**case.inputs, "input_ids": steps.sequences}
    inputs["attention_mask"] = torch.ones_like(steps.sequences)
    inputs["labels"] = torch.where(torch.arange(inputs["input_ids"].shape[1]) < 34, -100, steps.sequences)
    whole = replace(case, inputs=inputs)
    with whole.under(strategy):  # labels make the query row the prompt's last
        logits = whole.forward().logits[0, -5:-1]
    assert torch.allclose(logits, torch.cat(steps.logits), atol=1e-4)


@pytest.mark.parametrize("strategy", [PyramidDrop(ratio=0.5, stages=4), V2Drop(layers=(2, 4, 6))])
def test_keeping_all_equals_vanilla_on_a_shared_prefix(strategy):
    case, prefixes = case_of("llava_next", rows=ROWS), PrefixCache(gib=1)
    with sharing(case, prefixes).under(Vanilla()):
        logits, tokens = case.forward().logits[:, -1], case.generate(3)
    with sharing(case, prefixes).under(keep_all(strategy)):
        assert torch.allclose(case.forward().logits[:, -1], logits, atol=1e-5)
        assert torch.equal(case.generate(3), tokens)


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_beams_share_the_prefix_of_their_prompt(family):
    case, prefixes = build(model_of(family), [[4, IMAGE, 5], [3, IMAGE, 19]]), PrefixCache(gib=1)
    more = {"num_beams": 2}
    with case.under(FastV(k=3, r=0.5)):
        plain = case.generate(3, **more)
    for keys in (None, ["first", "second"]):
        with sharing(case, prefixes, prefix_keys=keys).under(FastV(k=3, r=0.5)):
            assert torch.equal(case.generate(3, **more), plain)
    assert (prefixes.misses, prefixes.hits) == (4, 0)


def test_keys_say_which_prefixes_are_the_same():
    """Two pictures under one key: the second is answered as the first, which a true key never does."""
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    other = case.with_inputs(pixel_values=-case.inputs["pixel_values"])
    with sharing(case, prefixes, prefix_keys=["same"]).under(Vanilla()):
        first, second = case.forward().logits, other.forward().logits
    assert prefixes.hits == 1
    assert torch.equal(first, second)
    with sharing(case, prefixes).under(Vanilla()):
        assert not torch.allclose(case.forward().logits, other.forward().logits)
    assert prefixes.hits == 1


def test_a_key_says_nothing_of_how_images_were_reduced():
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    for strategy in (VisionZip(dominant=6, contextual=2), VisionZip(dominant=4, contextual=4)):
        with case.under(strategy):
            alone = case.forward().logits
        with sharing(case, prefixes, prefix_keys=["same"]).under(strategy):
            assert torch.allclose(case.forward().logits[:, -1], alone[:, -1], atol=1e-4)
    assert (prefixes.misses, prefixes.hits) == (2, 0)


def test_training_mode_and_other_weights_share_nothing():
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    weight = case.model.get_decoder().layers[0].mlp.up_proj.weight
    with sharing(case, prefixes).under(Vanilla()):
        case.model.train()
        case.forward()
        case.model.eval()
        assert prefixes.misses == 0
        before = case.forward().logits
    with torch.no_grad():
        weight.mul_(2)
    try:
        with sharing(case, prefixes).under(Vanilla()):
            assert not torch.allclose(case.forward().logits, before)
    finally:
        with torch.no_grad():
            weight.mul_(0.5)
    assert (prefixes.misses, prefixes.hits) == (2, 0)


def test_a_promise_is_not_inherited_by_what_overrides_its_reasons():
    class Mine(VisionZip):
        pass

    class Also(VisionZip):
        shares_prefix = True

    text = model_of("llava").config.get_text_config()
    reasons = [unshared(families.get("llava"), text, kind()) for kind in (VisionZip, Mine, Also)]
    assert [bool(reason) for reason in reasons] == [False, True, False]
    assert "shares_prefix" in reasons[1]


def test_gradients_labels_and_outputs_of_all_layers_share_nothing(columns):
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    ids = case.inputs["input_ids"]
    with sharing(case, prefixes).under(Vanilla()):
        case.model(**case.inputs)
        case.forward(labels=ids)
        assert len(case.forward(output_hidden_states=True).hidden_states) == 9
        case.forward(use_cache=False)
    assert prefixes.misses == 0


def test_who_records_attention_gets_all_rows():
    case, prefixes = build(model_of("llava"), [[4, IMAGE, 5]]), PrefixCache(gib=1)
    image = case.inputs["input_ids"] == IMAGE_ID
    shares = []
    for given in ({}, {"prefixes": prefixes}):
        under = replace(case, options=given).under(Vanilla())
        with AttentionShares(case.model, image, range(8)) as recorded, under:
            case.forward()
        shares.append(recorded.shares)
    with replace(case, options={"prefixes": prefixes}).under(Vanilla()):  # who begins to look inside
        with AttentionShares(case.model, image, range(8)) as recorded:
            case.forward()
        shares.append(recorded.shares)
    assert prefixes.misses == 0
    assert all(torch.equal(shares[0][layer], one[layer]) for one in shares[1:] for layer in range(8))


def test_the_prefixes_used_longest_ago_go_first():
    """An entry of one layer has 2 x 4 x 4 bytes a token."""

    def prefix(tokens):
        return Prefix((torch.zeros(1, 1, tokens, 4),), (torch.zeros(1, 1, tokens, 4),), {})

    cache = PrefixCache(gib=320 / 2**30)
    cache.keep("a", prefix(4))
    cache.keep("b", prefix(5))
    assert cache.bytes == 288
    assert cache.get("a") is not None
    cache.keep("c", prefix(6))
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert cache.bytes == 320
    cache.keep("d", prefix(11))  # larger than all
    assert len(cache) == 2
    cache.clear()
    assert cache.bytes == len(cache) == 0


def test_a_batch_whose_prefixes_do_not_fit_is_prefilled_whole():
    """Both prefixes have 29 and 28 tokens of 8 layers x 2 x 32 x 4 bytes: 2,048 each."""
    case = build(model_of("llava"), [[4, IMAGE, 5], [3, IMAGE, 5]])
    for nbytes, misses in ((57 * 2048, 2), (57 * 2048 - 1, 0)):
        prefixes = PrefixCache(gib=nbytes / 2**30)
        with sharing(case, prefixes).under(Vanilla()):
            assert case.forward().logits.shape[1] == (5 if misses else 34)
        assert prefixes.misses == misses
        assert prefixes.bytes == (57 * 2048 if misses else 0)


def test_another_model_empties_the_cache():
    prefixes = PrefixCache(gib=1)
    for family in ("llava", "llava_gqa"):
        case = build(model_of(family), [[4, IMAGE, 5]])
        with sharing(case, prefixes).under(Vanilla()):
            case.forward()
        assert len(prefixes) == 1
    assert prefixes.misses == 2


def test_what_states_a_strategy_asks_for():
    """PyramidDrop's default asks the layer that drops; `last_layer` the one before; V2Drop compares both."""
    assert states_needed(Vanilla(), 8) == ()
    assert states_needed(PyramidDrop(layers=(3, 6), ratios=(0.6, 0.2)), 8) == (3,)
    assert states_needed(PyramidDrop(layers=(8,), ratios=(0.6,)), 8) == (7, 8)
    assert states_needed(V2Drop(layers=(2, 4, 6), keep_ratios=(0.5, 0.5, 0)), 8) == (1, 2)


class Unknown(Strategy):
    """It promises nothing."""

    name = "unknown"

    def drops(self, num_layers):
        return ()


class _Family(families.get("llava").__class__):
    unshared = "image tokens see one another"


class _Renamed(families.get("llava").__class__):
    name = "renamed"


class _OtherModel(families.get("llava").__class__):
    """A model of its own, of which what its family inherits says nothing."""

    model_class = "LookingBothWays"


class _OtherDecoder(families.get("llava").__class__):
    def decoder(self, model):
        return model.other


TEXT = {"num_hidden_layers": 8, "sliding_window": None}


@pytest.mark.parametrize(
    ("strategy", "family", "text", "reason"),
    [
        (Unknown(), None, {}, "unknown doesn't promise that questions of one image"),
        (Random(tokens=9), None, {}, "random doesn't promise"),
        (CDPruner(visual_token_num=6, text_tower="tiny"), None, {}, "cdpruner chooses by the question"),
        (Vanilla(), _Family(), {}, "LLaVA-1.5: image tokens see one another"),
        (Vanilla(), _Renamed(), {}, "$"),
        (Vanilla(), _OtherModel(), {}, "LLaVA-1.5: it isn't known whether its attention is causal"),
        (Vanilla(), _OtherDecoder(), {}, "LLaVA-1.5: it isn't known whether its attention is causal"),
        (Vanilla(), None, {"sliding_window": 9}, "the model has sliding-window layers"),
        (Vanilla(), None, {"rope_parameters": {"rope_type": "dynamic"}}, "its rotary positions .dynamic."),
        (Vanilla(), None, {"rope_scaling": SimpleNamespace(type="longrope")}, ".* positions .longrope."),
        (Vanilla(), None, {"rope_parameters": {"rope_type": "llama3"}}, "$"),
        (Random(tokens=9, k=2), None, {}, "$"),
    ],
)  # fmt: skip
def test_what_can_not_be_shared_and_why(strategy, family, text, reason):
    found = unshared(family or families.get("llava"), SimpleNamespace(**{**TEXT, **text}), strategy)
    assert re.match(reason, found)


def test_refusals_name_the_reason():
    case = build(model_of("llava"), [[4, IMAGE, 5]])
    with pytest.raises(
        UserError, match=r"can't be shared here: random doesn't promise .* Leave prefixes out"
    ):
        sharing(case, PrefixCache(gib=1)).under(Random(tokens=9))
    with pytest.raises(UserError, match="give prefixes=PrefixCache"):
        Vanilla()(case.model, prefix_keys=["a"])
    for gib in (0, -1, float("inf"), True, "2"):
        with pytest.raises(UserError, match=f"gib={gib!r}"):
            PrefixCache(gib=gib)
