"""Sampling, beam search, several turns, attention implementations and number formats."""

import copy

import pytest
import torch
from contract import (
    IMAGE_ID,
    NEW,
    ROWS,
    STRATEGIES,
    alone,
    build,
    case_of,
    keep_all,
    llama,
    model_of,
    strategy_id,
)
from transformers import AttentionInterface, AttentionMaskInterface, GenerationMixin, LlamaForCausalLM

from pdrop_eval import FastV, PyramidDrop, Vanilla
from pdrop_eval.models.kv_cache import cache_argument

# Older versions of transformers repeat rows of several images wrongly; there, dropping refuses it.
SEVERAL = hasattr(GenerationMixin, "_expand_multimodal_outputs")
DROPPING = [strategy for strategy in STRATEGIES if strategy.drops(8)]
every_strategy = alone(STRATEGIES)
every_dropping = alone(DROPPING)


@every_strategy
@pytest.mark.parametrize("family", ["llava_gqa", "bare_llama"])
def test_one_beam_of_many_is_greedy_when_only_the_best_is_followed(strategy, family):
    """Beams start from equal rows; with one new token the best of three is the greedy one."""
    case = case_of(family, rows=ROWS if SEVERAL else (ROWS[0], ROWS[3]))
    with case.under(strategy) as drop:
        greedy, beams = case.generate(new=1), case.generate(new=1, num_beams=3)
    assert torch.equal(greedy, beams)
    assert len(drop.kv_lengths[-1]) == 3 * len(case.rows)


@every_strategy
def test_beam_search_scores_its_sequence_right(strategy):
    """The score of a beam is its log probability: decoding that sequence step by step must give the same."""
    case = case_of("llava_gqa").alone(1 if SEVERAL else 0)
    settings = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False, "length_penalty": 0.0}
    with case.under(strategy):
        beam = case.model.generate(
            **case.inputs, **settings, num_beams=4, output_scores=True, return_dict_in_generate=True
        )
        assert score(case, beam.sequences[0, -5:]) == pytest.approx(float(beam.sequences_scores[0]), abs=1e-3)


def score(case, tokens):
    """Log probability of `tokens` after the prompt, decoded one by one."""
    output, total = case.forward(use_cache=True), 0.0
    for i, token in enumerate(tokens):
        total += float(output.logits[0, -1].log_softmax(-1)[token])
        output = continue_with(case, output.past_key_values, token[None, None], seen=i)
    return total


def continue_with(case, cache, ids, seen):
    """One forward of `ids` on a filled cache, `seen` tokens after the prompt."""
    prompt = case.inputs["attention_mask"]
    mask = torch.nn.functional.pad(prompt, (0, seen + ids.shape[1]), value=1)
    place = mask.cumsum(1)[:, -ids.shape[1] :] - 1
    with torch.no_grad():
        return case.model(
            input_ids=ids, attention_mask=mask, position_ids=place, **cache_argument(case.model, cache)
        )


@every_strategy
def test_sampling_repeats_from_a_seed_and_several_sequences_share_a_prompt(strategy):
    case = case_of("llava", rows=ROWS if SEVERAL else (ROWS[0], ROWS[3]))
    runs = []
    with case.under(strategy) as drop:
        for _ in range(2):
            torch.manual_seed(3)
            runs.append(case.generate(new=6, do_sample=True, num_return_sequences=2, top_k=20))
    assert torch.equal(*runs)
    rows = len(case.rows)
    assert runs[0].shape == (2 * rows, 6)
    assert len(set(map(tuple, runs[0].tolist()))) > rows
    for per_row in drop.retained:
        for row in range(rows):
            assert torch.equal(per_row[2 * row], per_row[2 * row + 1])


@every_dropping
@pytest.mark.parametrize("family", ["llava_gqa", "bare_mistral"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_more_text_on_a_filled_cache_in_one_go_or_token_by_token(strategy, family, attention):
    case = case_of(family, attention)
    more = torch.randint(3, IMAGE_ID, (len(ROWS), 5), generator=torch.Generator().manual_seed(5))
    with case.under(strategy):
        cache = case.forward(use_cache=True).past_key_values
        at_once = continue_with(case, copy.deepcopy(cache), more, seen=0).logits
        for i in range(5):
            output = continue_with(case, cache, more[:, i : i + 1], seen=i)
            assert torch.allclose(output.logits[:, 0], at_once[:, i], atol=1e-4)


@every_dropping
def test_a_second_turn_continues_from_the_first(strategy):
    case = case_of("llava_gqa").alone(1)
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "return_dict_in_generate": True}
    settings["suppress_tokens"] = [IMAGE_ID]
    with case.under(strategy):
        first = case.model.generate(**case.inputs, **settings)
        question = torch.tensor([[5, 6, 7]])
        ids = torch.cat((first.sequences, question), 1)
        reference = copy.deepcopy(first.past_key_values)
        second = case.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **cache_argument(case.model, first.past_key_values),
            **settings,
        )
        # The cache lacks the last answered token: it goes in with the question.
        output = continue_with(case, reference, ids[:, -4:], seen=3)
    logits = output.logits[0, -1].clone()
    logits[IMAGE_ID] = -torch.inf
    assert int(logits.argmax()) == int(second.sequences[0, -4])


def test_a_cache_filled_without_dropping_is_continued_without_dropping():
    case = case_of("llava")
    more = torch.full((len(ROWS), 2), 9)
    plain = continue_with(case, case.forward(use_cache=True).past_key_values, more, seen=0).logits
    cache = case.forward(use_cache=True).past_key_values
    with case.under(PyramidDrop()):
        assert torch.equal(continue_with(case, cache, more, seen=0).logits, plain)


def test_a_dropped_cache_is_continued_right_under_any_strategy():
    case = case_of("llava", "eager")
    more = torch.full((len(ROWS), 2), 9)
    with case.under(PyramidDrop()):
        cache = case.forward(use_cache=True).past_key_values
        expected = continue_with(case, copy.deepcopy(cache), more, seen=0).logits
    with case.under(Vanilla()):
        assert torch.equal(continue_with(case, cache, more, seen=0).logits, expected)


@every_strategy
def test_position_ids_may_be_left_out_without_padding(strategy):
    case = case_of("llava_gqa").alone(0)
    token = torch.tensor([[9]])
    with case.under(strategy):
        cache = case.forward(use_cache=True).past_key_values
        expected = continue_with(case, copy.deepcopy(cache), token, seen=0).logits
        with torch.no_grad():
            bare = case.model(input_ids=token, **cache_argument(case.model, cache)).logits
    assert torch.allclose(bare, expected, atol=1e-5)


@pytest.mark.thin(4)
@every_strategy
@pytest.mark.parametrize("family", ["llava_gqa", "llava_next", "bare_mistral"])
def test_eager_attention_equals_sdpa(strategy, family):
    results = []
    for attention in ("sdpa", "eager"):
        case = case_of(family, attention)
        with case.under(strategy) as drop:
            results.append((case.forward().logits[:, -1], case.generate(), drop.retained))
    (logits, tokens, retained), (other, other_tokens, other_retained) = results
    assert torch.allclose(logits, other, atol=1e-4)
    assert torch.equal(tokens, other_tokens)
    assert [[r.tolist() for r in d] for d in retained] == [[r.tolist() for r in d] for d in other_retained]


def stand_in_flash(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    """What flash-attention takes and gives: a two-dimensional mask or none, causal from the last column."""
    assert attention_mask is None or attention_mask.dim() == 2
    assert kwargs.get("position_ids") is None or module.layer_idx < 2
    q, n = query.shape[2], key.shape[2]
    seen = torch.ones(q, n, dtype=torch.bool).tril(n - q)[None, None]
    if attention_mask is not None:
        assert attention_mask.shape == (len(query), n)
        seen = seen & attention_mask.bool()[:, None, None] | torch.eye(n, dtype=torch.bool)[n - q :]
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = (query @ key.transpose(2, 3) * scaling).masked_fill(~seen, -torch.inf).softmax(-1)
    return (weights @ value).transpose(1, 2), None


@pytest.mark.parametrize("strategy", [FastV(), PyramidDrop()], ids=strategy_id)
def test_the_flash_attention_interface_is_served(strategy):
    """FlashAttention 2 needs a GPU: a stand-in with its interface must agree with SDPA."""
    from transformers.masking_utils import flash_attention_mask

    AttentionInterface.register("stand_in_flash", stand_in_flash)
    AttentionMaskInterface.register("stand_in_flash", flash_attention_mask)
    sdpa = case_of("bare_llama")
    torch.manual_seed(0)
    model = LlamaForCausalLM(llama(kv_heads=1)).eval()
    model.load_state_dict(sdpa.model.state_dict())
    model.config._attn_implementation = "stand_in_flash"
    flash = build(model, list(ROWS))
    results = []
    for case in (sdpa, flash):
        with case.under(strategy) as drop:
            results.append((case.forward().logits[:, -1], case.generate(), drop.kv_lengths))
    assert torch.allclose(results[0][0], results[1][0], atol=1e-4)
    assert torch.equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2]


@every_strategy
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_counts_and_keep_all_is_exact(strategy, dtype):
    case = case_of("llava_gqa", dtype=dtype)
    plain = case.forward().logits
    with case.under(keep_all(strategy)):
        assert torch.equal(case.forward().logits, plain)
    with case.under(strategy) as drop:
        output, tokens = case.forward(), case.generate()
    assert output.logits.dtype == dtype
    assert torch.isfinite(output.logits[:, -1]).all()
    assert tokens.shape == (len(ROWS), NEW)
    if strategy.adaptive:
        return  # the sample decides
    for layer in range(8):
        expected = [strategy.schedule(8, n)[layer] for n in case.image_tokens]
        assert drop.image_tokens_per_layer[layer] == expected


@every_dropping
def test_right_padding_gives_the_same_last_token(strategy):
    case = case_of("llava_gqa")
    with case.under(strategy):
        left = case.forward().logits[:, -1]
    order = torch.stack(
        [mask.argsort(descending=True, stable=True) for mask in case.inputs["attention_mask"]]
    )
    moved = case.with_inputs(**{k: case.inputs[k].gather(1, order) for k in ("input_ids", "attention_mask")})
    with moved.under(strategy):
        right = moved.forward().logits[:, -1]  # repacked to the right: the last column is the last token
    assert torch.allclose(left, right, atol=1e-4)


def test_outputs_scatter_back_to_the_full_sequence():
    case = case_of("llava_gqa")
    with case.under(FastV(k=1, r=0.6)) as drop:
        output = case.forward()
    full = drop.scatter(output.logits, fill=-7.0)
    assert full.shape[:2] == case.inputs["input_ids"].shape
    for row, (n, length) in enumerate(zip(case.image_tokens, case.lengths, strict=True)):
        columns = (case.inputs["input_ids"][row] == IMAGE_ID).nonzero()[:, 0]
        kept = columns[drop.retained[0][row]]
        gone = torch.ones(full.shape[1], dtype=torch.bool)
        gone[-length:] = False
        gone[columns] = True
        gone[kept] = False
        assert (full[row] == -7.0).all(-1).tolist() == gone.tolist()
        assert len(kept) == round(n * 0.4)
    assert torch.equal(full[:, -1], output.logits[:, -1])


def test_logits_to_keep_counts_from_the_end():
    case = case_of("llava_gqa")
    with case.under(PyramidDrop()):
        assert torch.equal(case.forward(logits_to_keep=1).logits, case.forward().logits[:, -1:])


def test_the_report_is_of_the_last_prefill():
    case = case_of("llava")
    with case.under(PyramidDrop()) as drop:
        case.forward()
        assert drop.image_tokens == case.image_tokens
        alone = case.alone(0)
        alone.forward()
        assert drop.image_tokens == [25]
        assert [len(d) for d in drop.retained] == [1, 1, 1]
        alone.generate()
        assert drop.kv_lengths[0] == [34]


def test_tuples_are_returned_where_asked_for():
    case = case_of("bare_llama")
    with case.under(PyramidDrop(layers=(2, 8), ratios=(0.5, 0.2))) as drop:
        expected = case.forward().logits
        output = case.forward(return_dict=False)
    assert isinstance(output, tuple)
    assert torch.equal(output[0], expected)
    assert expected.shape[1] == max(drop.attention_mask.sum(1).tolist())


def test_positional_arguments_are_understood():
    case = case_of("llava")
    with case.under(PyramidDrop()), torch.no_grad():
        expected = case.forward().logits
        ids, pixels, mask = (case.inputs[k] for k in ("input_ids", "pixel_values", "attention_mask"))
        assert torch.equal(case.model(ids, pixels, mask).logits, expected)


def test_a_multimodal_model_takes_embeddings_with_a_mask():
    case = case_of("llava")
    ids = case.inputs["input_ids"]
    with torch.no_grad(), case.under(PyramidDrop()):
        expected = case.forward().logits
    with torch.no_grad():
        embeds = case.model.get_input_embeddings()(ids)
        features = torch.cat(tuple(case.model.get_image_features(case.inputs["pixel_values"]).pooler_output))
        embeds = embeds.masked_scatter((ids == IMAGE_ID)[..., None], features)
        with PyramidDrop()(case.model, image_mask=ids == IMAGE_ID):
            output = case.model(inputs_embeds=embeds, attention_mask=case.inputs["attention_mask"])
    assert torch.allclose(output.logits, expected, atol=1e-6)


def test_the_shared_models_are_not_changed():
    assert model_of("llava") is model_of("llava")
    assert model_of("llava").config.get_text_config()._attn_implementation == "sdpa"
