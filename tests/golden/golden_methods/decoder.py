"""PyramidDrop and FastV: what official code scores, retains and answers, with a cache and without."""

import torch
from golden_case import MismatchError
from transformers import LlamaConfig, LlamaForCausalLM

from pdrop_eval import FastV, PyramidDrop

ATTENTION = ("sdpa", "eager")


def check_inference(case):
    for attention in ATTENTION:
        _prefill(case, attention)
        if "decode_tokens" in case.value("expected"):
            _decode_with_the_cache(case, attention)
    if "decode_tokens_nocache" in case.value("expected"):
        _decode_without_a_cache(case)


def check_training(case):
    for attention in ATTENTION:
        for checkpointing in (False, True):
            _train(case, attention, checkpointing)


METHODS = {
    "pdrop": {None: check_inference},
    "fastv": {None: check_inference},
    "pdrop-train": {None: check_training},
}


def llama(case, attention):
    """The case's decoder."""
    model = LlamaForCausalLM(LlamaConfig(**case.value("llama_config"), attn_implementation=attention)).eval()
    weights = case.weights("weights")
    if model.config.tie_word_embeddings:
        weights.setdefault("lm_head.weight", weights["model.embed_tokens.weight"])
    # Earlier versions of transformers save the frequencies of RoPE beside the weights.
    model.load_state_dict({name: value for name, value in weights.items() if "rotary_emb" not in name})
    return model


def _strategy(case):
    """Our strategy with the hyperparameters of the official run, in each variant's own terms."""
    params = case.value("params")
    if "layer_list" in params:
        return PyramidDrop(layers=params["layer_list"], ratios=params["image_token_ratio_list"])
    if "fastv_config" in params:
        return FastV(k=params["fastv_config"]["fastv_k"], r=params["fastv_config"]["fastv_r"])
    if "attention_rank" in params:
        return FastV(k=params["K_agg_layer"], attention_rank=params["attention_rank"])
    if "K" in params:
        return FastV(k=params["K"], r=1 - params["ratio_kept"], rounding="floor")
    raise MismatchError(f"no variant has these params: {', '.join(params)}")


def image_mask(case, embeds):
    return span_mask(embeds, case.value("input", "image_start"), case.value("input", "image_len"))


def span_mask(embeds, starts, lengths):
    """True on image tokens: one span, one for each row, or several of the only row or of each."""
    mask = torch.zeros(embeds.shape[:2], dtype=torch.bool)
    if not isinstance(starts, list):
        starts, lengths = [starts], [lengths]
    if len(mask) == 1 and not isinstance(starts[0], list):
        starts, lengths = [starts], [lengths]
    for row, spans in enumerate(zip(starts, lengths, strict=True)):
        for start, length in zip(*(s if isinstance(s, list) else [s] for s in spans), strict=True):
            mask[row, start : start + length] = True
    return mask


def inputs_of(case):
    """(embeddings [1, n, d] as the decoder takes them, image mask)."""
    embeds = case.tensor("inputs_embeds").float()
    return embeds, image_mask(case, embeds)


def compare_prefill(case, output, form=""):
    """The last token's logits, and its states where a case has them."""
    case.close(f"prefill_logits_last{form}", output.logits[0, -1])
    states = torch.stack([states[0, -1] for states in output.hidden_states])
    case.close_if_told(f"prefill_hidden_last{form}", states)


def compare_lengths(case, ours, output, cached=None):
    """Tokens at each layer and in its cache, where a case tells them; cached: where they differ."""
    told = case.value("expected").get("seq_len_at_layer_input")
    if told is not None:
        case.equal("lengths", ours, told)
    cached = told if cached is None else cached
    if cached is not None:
        case.equal("cached lengths", [one.keys.shape[2] for one in output.past_key_values.layers], cached)


def compare_answer(case, model, strategy, form=""):
    """As many greedy tokens as the case has, and their logits."""
    told = case.value("expected").get(f"decode_tokens{form}")
    told = case.tensor(f"decode_tokens{form}").tolist() if told is None else told
    embeds, mask = inputs_of(case)
    with strategy(model, image_mask=mask):
        tokens, logits = greedy(model, len(told), inputs_embeds=embeds)
    case.equal(f"decode_tokens{form}", tokens, told)
    case.close_if_told(f"decode_logits{form}", logits)


def _prefill(case, attention):
    model, embeds = llama(case, attention), case.tensor("inputs_embeds")
    with torch.no_grad(), _strategy(case)(model, image_mask=image_mask(case, embeds)) as drop:
        output = model(inputs_embeds=embeds, output_hidden_states=True)
    kept = case.value("expected", "kept_image_indices")
    case.equal("number of drops", len(drop.retained), len(kept))
    for d, expected in enumerate(kept):
        case.equal(f"stage{d}_kept", drop.retained[d][0])
        case.equal(f"kept_image_indices {d}", drop.retained[d][0], expected)
        case.close(f"stage{d}_scores", drop.scores[d][0], atol=1e-5)
    lengths = case.value("expected", "seq_len_at_layer_input")
    case.equal("lengths", [per_row[0] for per_row in drop.kv_lengths], lengths)
    case.equal("cached lengths", [layer.keys.shape[2] for layer in output.past_key_values.layers], lengths)
    case.close("prefill_logits_last", output.logits[0, -1])
    case.close("prefill_hidden_last", torch.stack([states[0, -1] for states in output.hidden_states]))


def _decode_with_the_cache(case, attention):
    model, embeds = llama(case, attention), case.tensor("inputs_embeds")
    with _strategy(case)(model, image_mask=image_mask(case, embeds)):
        expected = case.value("expected", "decode_tokens")
        tokens, logits = greedy(model, len(expected), inputs_embeds=embeds)
    case.equal("decode_tokens", tokens, expected)
    case.close("decode_logits", logits)


def greedy(model, steps=8, **inputs):
    """Greedy tokens and their logits [steps, vocabulary]."""
    output = model.generate(
        **inputs,
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return output.sequences[0, -steps:].tolist(), torch.cat(output.logits)


def _decode_without_a_cache(case):
    """FastV without a cache chooses anew at every step."""
    model, embeds, tokens = llama(case, "sdpa"), case.tensor("inputs_embeds"), []
    with torch.no_grad():
        for step in range(len(case.value("expected", "decode_tokens_nocache"))):
            with _strategy(case)(model, image_mask=image_mask(case, embeds)) as drop:
                logits = model(inputs_embeds=embeds, use_cache=False).logits[:, -1]
            kept = case.tensor("kept_per_step_nocache")[step]
            case.equal(f"kept_per_step_nocache {step}", drop.retained[0][0], kept)
            case.close("decode_logits_nocache", logits[0], case.tensor("decode_logits_nocache")[step])
            tokens.append(int(logits.argmax()))
            embeds = torch.cat((embeds, model.get_input_embeddings()(logits.argmax(-1, keepdim=True))), 1)
    case.equal("decode_tokens_nocache", tokens, case.value("expected", "decode_tokens_nocache"))


def _train(case, attention, checkpointing):
    model = llama(case, attention).train()
    if checkpointing:
        # The name changed within transformers 5.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    embeds = case.tensor("inputs_embeds").clone().requires_grad_()
    mask, labels = image_mask(case, embeds), case.tensor("labels")
    with _strategy(case)(model, image_mask=mask) as drop:
        inputs = {"inputs_embeds": embeds, "attention_mask": case.tensor("attention_mask")}
        output = model(**inputs, labels=labels, use_cache=False)
        output.loss.backward()
    case.close("loss", output.loss, atol=1e-5)
    case.close("logits", output.logits)
    case.equal("final_labels", drop.labels)
    lengths = case.value("expected", "seq_len_at_layer_input")
    case.equal("lengths", [per_row[0] for per_row in drop.kv_lengths], lengths)
    for d, rows in enumerate(case.value("expected", "kept_image_indices")):
        for row, ids in rows.items():
            case.equal(f"stage{d}_row{row}_kept", drop.retained[d][int(row)], ids)
            case.close(f"stage{d}_row{row}_scores", drop.scores[d][int(row)], atol=1e-5)
    case.close("grad_image_features_row0", embeds.grad[mask], rtol=1e-4, atol=1e-5)
    grads = [layer.self_attn.q_proj.weight.grad for layer in model.model.layers]
    norms = torch.stack([grad.norm() for grad in grads])
    case.close("grad_q_proj_norm_per_layer", norms, rtol=1e-4, atol=1e-5)
    case.close("grad_q_proj_l0", grads[0], rtol=1e-4, atol=1e-5)
