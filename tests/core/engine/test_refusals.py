"""What can't be right is refused before any compute, with what to use instead."""

import pytest
import torch
from contract import FAMILIES, STRATEGIES, alone, case_of, llama, mistral, model_of
from transformers import (
    DynamicCache,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    MistralForCausalLM,
    Qwen2Config,
    StaticCache,
)

from pdrop_eval import FastV, PyramidDrop, UserError, Vanilla
from pdrop_eval.engine.checks import check_expansion
from pdrop_eval.models.kv_cache import cache_argument

DROPPING = [strategy for strategy in STRATEGIES if strategy.drops(8)]
every_dropping = alone(DROPPING)
every_family = pytest.mark.parametrize("family", ["llava_gqa", "bare_mistral"])


class Untouched:
    """Asserts that no layer of the decoder, nor the vision tower, ran inside the block."""

    def __init__(self, model):
        modules = [model.get_decoder().layers[0]]
        if hasattr(model.config, "vision_config"):
            modules.append(model.model.vision_tower)
        self.modules, self.runs = modules, 0

    def __enter__(self):
        self.handles = [module.register_forward_pre_hook(self.count) for module in self.modules]

    def count(self, *_):
        self.runs += 1

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()
        assert self.runs == 0


def assert_refused(case, strategy, match, run):
    with Untouched(case.model), pytest.raises(UserError, match=match), case.under(strategy):
        run()


@every_dropping
@every_family
def test_static_caches(strategy, family):
    case = case_of(family)
    cache = StaticCache(config=case.model.config.get_text_config(), max_cache_len=80)
    taken = cache_argument(case.model, cache)
    assert_refused(case, strategy, "DynamicCache", lambda: case.forward(**taken, use_cache=True))
    assert_refused(case, strategy, "DynamicCache", lambda: case.generate(**taken))
    assert_refused(case, strategy, "cache_implementation='static'.*'dynamic'", lambda: static(case))


def static(case):
    return case.generate(cache_implementation="static")


@every_dropping
@every_family
@pytest.mark.parametrize("setting", [{"prompt_lookup_num_tokens": 2}, {"assistant_early_exit": 2}])
def test_decoding_that_rolls_back(strategy, family, setting):
    case = case_of(family)
    assert_refused(case, strategy, "greedy, sampling or beam", lambda: case.generate(**setting))


@every_dropping
def test_assisted_decoding(strategy):
    case = case_of("llava_gqa")
    assert_refused(
        case, strategy, "assistant_model", lambda: case.generate(assistant_model=model_of("bare_llama"))
    )


@every_dropping
@every_family
def test_generation_without_a_cache(strategy, family):
    case = case_of(family)
    assert_refused(case, strategy, "use_cache=True", lambda: case.generate(use_cache=False))


def test_settings_of_the_generation_config_count_too():
    case = case_of("llava")
    config = case.model.generation_config.__class__(use_cache=False, max_new_tokens=2)
    assert_refused(
        case, PyramidDrop(), "use_cache=True", lambda: case.model.generate(generation_config=config)
    )


@every_dropping
def test_chunked_prefill(strategy):
    case = case_of("bare_llama")
    assert_refused(case, strategy, "prefill_chunk_size", lambda: case.generate(prefill_chunk_size=8))


@every_dropping
@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_new_images_on_a_filled_cache(strategy, family):
    case = case_of(family)
    with case.under(strategy):
        cache = case.forward(use_cache=True).past_key_values
    mask = torch.ones(4, 2 * case.inputs["attention_mask"].shape[1], dtype=torch.long)
    again = {**cache_argument(case.model, cache), "attention_mask": mask}
    assert_refused(case, strategy, "text only", lambda: case.forward(**again))
    assert_refused(case, strategy, "text only", lambda: case.with_inputs(**again).generate())


@every_dropping
def test_sliding_windows(strategy):
    model = MistralForCausalLM(mistral(sliding_window=16))
    with pytest.raises(UserError, match="sliding_window=None"):
        strategy(model, image_mask=torch.ones(1, 4, dtype=torch.bool))


@pytest.mark.parametrize(
    "strategy",
    [
        PyramidDrop(layers=(2, 9), ratios=(0.5, 0.2)),
        PyramidDrop(layers=(16, 24), ratios=(0.5, 0.2), rank_with="last_layer"),
        FastV(k=9),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_drop_layers_outside_the_model(strategy, family):
    case = case_of(family)
    with pytest.raises(UserError, match="from 1 to 8"):
        case.under(strategy)
    with pytest.raises(UserError, match="from 1 to 8"):
        strategy.schedule(8, 100)


def test_more_stages_than_layers():
    with pytest.raises(UserError, match=r"stages=9.*8 layers"):
        case_of("llava").under(PyramidDrop(stages=9))


def test_unknown_families():
    gpt2 = GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=8, n_positions=8))
    for model in (gpt2, torch.nn.Linear(2, 2), model_of("llava").model):
        with pytest.raises(UserError, match="LlavaForConditionalGeneration"):
            Vanilla()(model)


def test_an_unknown_text_model_in_a_known_family():
    config = model_of("llava").config.to_dict()
    config["text_config"] = Qwen2Config(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=64
    )
    config = type(model_of("llava").config)(**{k: config[k] for k in ("vision_config", "text_config")})
    with pytest.raises(UserError, match=r"'qwen2'.*'llama'"):
        PyramidDrop()(LlavaForConditionalGeneration(config))


def test_attention_that_the_engine_does_not_serve():
    model = LlamaForCausalLM(llama(kv_heads=4))
    model.config._attn_implementation = "flex_attention"
    with pytest.raises(UserError, match=r"'flex_attention'.*'sdpa'"):
        FastV()(model, image_mask=torch.ones(1, 4, dtype=torch.bool))


def test_a_bare_decoder_without_a_mask():
    with pytest.raises(UserError, match="image_mask"):
        PyramidDrop()(model_of("bare_llama"))


@pytest.mark.parametrize("mask", [torch.ones(1, 4), torch.ones(4, dtype=torch.bool)])
def test_a_mask_that_is_none(mask):
    with pytest.raises(UserError, match="boolean tensor"):
        PyramidDrop()(model_of("bare_llama"), image_mask=mask)


def test_a_mask_of_another_batch():
    case = case_of("bare_llama")
    case.options = {"image_mask": torch.ones(4, 3, dtype=torch.bool)}
    assert_refused(case, PyramidDrop(), r"shape \(4, 3\).*59", case.forward)


def test_embeddings_in_which_nobody_knows_the_images():
    case = case_of("llava")
    embeds = torch.zeros(1, 4, 32)
    assert_refused(case, PyramidDrop(), "image_mask", lambda: case.model(inputs_embeds=embeds))


@alone(STRATEGIES)
def test_nested_contexts(strategy):
    case = case_of("llava_gqa")
    with case.under(strategy) as outer:
        with pytest.raises(UserError, match="already active"), case.under(Vanilla()):
            pass
        case.forward()
    assert outer.kv_lengths[0] == case.lengths


@every_dropping
def test_attention_masks_that_are_not_of_tokens(strategy):
    case = case_of("bare_llama")
    four = torch.ones(4, 1, 59, 59, dtype=torch.bool)
    assert_refused(case, strategy, "two-dimensional", lambda: case.forward(attention_mask=four))


@every_dropping
def test_forward_arguments_that_index_the_undropped_sequence(strategy):
    case = case_of("llava")
    assert_refused(case, strategy, "logits_to_keep", lambda: case.forward(logits_to_keep=torch.tensor([3])))
    assert_refused(case, strategy, "cu_seq_lens", lambda: case.forward(cu_seq_lens_q=torch.tensor([0, 3])))
    assert_refused(
        case, strategy, "shift_labels", lambda: case.forward(shift_labels=case.inputs["input_ids"])
    )


def test_a_module_inside_the_model():
    case = case_of("llava")
    match = "Call the LlavaForConditionalGeneration"
    with pytest.raises(UserError, match=match), case.under(PyramidDrop()), torch.no_grad():
        case.model.model(**case.inputs)


def test_a_cache_that_was_cut_into_the_prompt():
    case = case_of("bare_llama").alone(0)
    with case.under(FastV()):
        cache = case.forward(use_cache=True).past_key_values
        for layer in cache.layers:
            layer.crop(-3)
        with pytest.raises(UserError, match="empty cache"):
            case.model(input_ids=torch.tensor([[5]]), **cache_argument(case.model, cache))


def test_an_attention_mask_of_the_new_tokens_only():
    case = case_of("bare_llama")
    with case.under(FastV()):
        cache = case.forward(use_cache=True).past_key_values
        ids = torch.full((4, 1), 5)
        with pytest.raises(UserError, match="60 in all"):
            case.model(
                input_ids=ids, attention_mask=torch.ones_like(ids), **cache_argument(case.model, cache)
            )


def test_vanilla_refuses_nothing_that_the_model_can_do():
    model = MistralForCausalLM(mistral(sliding_window=16)).eval()
    ids = torch.randint(3, 60, (1, 8), generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), Vanilla()(model) as drop:
        expected = model(input_ids=ids).logits
        cache = DynamicCache(config=model.config)
        assert torch.equal(model(input_ids=ids, **cache_argument(model, cache)).logits, expected)
        model.generate(input_ids=ids, max_new_tokens=2, do_sample=False, prompt_lookup_num_tokens=2)
    assert drop.retained == []


def test_vanilla_allows_a_static_cache_and_masks_of_any_form():
    case = case_of("llava_gqa")
    plain = case.model.generate(
        **case.inputs, max_new_tokens=2, do_sample=False, cache_implementation="static"
    )
    ids = torch.randint(3, 60, (1, 8), generator=torch.Generator().manual_seed(0))
    causal = torch.ones(8, 8, dtype=torch.bool).tril()[None, None]
    expected = case.model(input_ids=ids).logits
    with Vanilla()(case.model):
        again = case.model.generate(
            **case.inputs, max_new_tokens=2, do_sample=False, cache_implementation="static"
        )
        torch.testing.assert_close(case.model(input_ids=ids, attention_mask=causal).logits, expected)
    assert torch.equal(plain, again)


def test_continuous_batching_is_refused_and_is_there_again_afterwards():
    model = model_of("llava_gqa")
    before = model.generate_batch
    with PyramidDrop()(model), pytest.raises(UserError, match="use generate"):
        model.generate_batch([[1, 2, 3]])
    assert model.generate_batch == before


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: PyramidDrop(ratio=-0.1), r"ratio=-0.1 .*\[0, 1\]"),
        (lambda: PyramidDrop(ratio=1.01), r"ratio=1.01 .*\[0, 1\]"),
        (lambda: PyramidDrop(ratio="half"), "ratio='half'"),
        (lambda: PyramidDrop(ratio=float("nan")), "ratio=nan"),
        (lambda: PyramidDrop(stages=0), "stages=0"),
        (lambda: PyramidDrop(stages=2.5), "stages=2.5"),
        (lambda: PyramidDrop(layers=(2, 4), ratios=(0.2, 0.5)), r"grow.*falling order"),
        (lambda: PyramidDrop(layers=(2, 4), ratios=(0.0, 0.5)), r"grow.*falling order"),
        (lambda: PyramidDrop(layers=(2, 4), ratios=(0.5, -0.1)), "ratios=-0.1"),
        (lambda: PyramidDrop(layers=(4, 2), ratios=(0.5, 0.2)), "must increase"),
        (lambda: PyramidDrop(layers=(2, 2), ratios=(0.5, 0.2)), "must increase"),
        (lambda: PyramidDrop(layers=(0, 2), ratios=(0.5, 0.2)), "outside the model"),
        (lambda: PyramidDrop(layers=(1.5,), ratios=(0.5,)), "not a whole number"),
        (lambda: PyramidDrop(layers=(2, 4), ratios=(0.5,)), "as many ratios"),
        (lambda: PyramidDrop(layers=(2, 4)), "together"),
        (lambda: PyramidDrop(ratio=0.5, layers=(2,), ratios=(0.5,)), "two schedules"),
        (lambda: PyramidDrop(rank_with="first"), "rank_with='first'.*'next_layer', 'last_layer'"),
        (lambda: PyramidDrop(score="cosine"), "score='cosine'.*'softmax', 'logits'"),
        (lambda: PyramidDrop(rounding="up"), "rounding='up'.*'floor'"),
        (lambda: PyramidDrop(positions="new"), "positions='new'.*'keep', 'renumber'"),
        (lambda: FastV(k=0), "outside the model"),
        (lambda: FastV(k=1.0), "k=1.0 is not allowed"),
        (lambda: FastV(r=1.5), r"r=1.5 .*\[0, 1\]"),
        (lambda: FastV(rounding="up"), "rounding='up'.*'round', 'floor'"),
        (lambda: FastV(attention_rank=-1), "attention_rank=-1"),
        (lambda: FastV(positions="new"), "positions='new'"),
    ],
)
def test_hyperparameters(make, match):
    with pytest.raises(UserError, match=match):
        make()


@every_dropping
@pytest.mark.parametrize("setting", ["num_beams", "num_return_sequences"])
def test_rows_of_several_images_are_not_repeated_where_transformers_mixes_them_up(
    strategy, setting, monkeypatch
):
    """Before 5.18, that is: which is the version without a rule of its own for repeating images."""
    monkeypatch.delattr(GenerationMixin, "_expand_multimodal_outputs", raising=False)
    case = case_of("llava")
    more = {setting: 2, "do_sample": setting == "num_return_sequences"}
    assert_refused(case, strategy, f"{setting}=2.*5.18", lambda: case.generate(**more))
    ids = case.inputs["input_ids"]
    one_each = {"pixel_values": torch.zeros(len(ids), 3, 2, 2), **more}
    check_expansion(case.model, one_each, torch.ones_like(ids, dtype=torch.bool))  # is not refused
