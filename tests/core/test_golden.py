"""The outputs of the official PyramidDrop and FastV code (golden/README.md says what each tensor is)."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from pdrop_eval import FastV, PyramidDrop

GOLDEN = Path(__file__).parent / "golden"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(GOLDEN.glob("*.json"))}
TRAIN = [name for name, case in CASES.items() if case["method"] == "pdrop-train"]
INFER = [name for name in CASES if name not in TRAIN]


def load(name, attention):
    tensors = load_file(GOLDEN / f"{name}.safetensors")
    model = LlamaForCausalLM(LlamaConfig(**CASES[name]["llama_config"], attn_implementation=attention)).eval()
    model.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("weights/")})
    return model, tensors


def strategy_of(case):
    """Our strategy with the hyperparameters of the official run, in each variant's own terms."""
    params = case["params"]
    if "layer_list" in params:
        return PyramidDrop(layers=params["layer_list"], ratios=params["image_token_ratio_list"])
    if "fastv_config" in params:
        return FastV(k=params["fastv_config"]["fastv_k"], r=params["fastv_config"]["fastv_r"])
    if "attention_rank" in params:
        return FastV(k=params["K_agg_layer"], attention_rank=params["attention_rank"])
    return FastV(k=params["K"], r=1 - params["ratio_kept"], rounding="floor")


def image_mask(case, embeds):
    mask = torch.zeros(embeds.shape[:2], dtype=torch.bool)
    spans = case["input"]["image_start"], case["input"]["image_len"]
    if not isinstance(spans[0], list):
        spans = [spans[0]], [spans[1]]
    for row, (start, length) in enumerate(zip(*spans, strict=True)):
        mask[row, start : start + length] = True
    return mask


def test_all_fourteen_cases_are_here():
    assert len(INFER) == 12
    assert len(TRAIN) == 2


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", INFER)
def test_prefill_matches(name, attention):
    case = CASES[name]
    model, golden = load(name, attention)
    embeds = golden["inputs_embeds"]
    with torch.no_grad(), strategy_of(case)(model, image_mask=image_mask(case, embeds)) as drop:
        output = model(inputs_embeds=embeds, output_hidden_states=True)
    assert len(drop.retained) == len(case["expected"]["kept_image_indices"])
    for d, expected in enumerate(case["expected"]["kept_image_indices"]):
        assert drop.retained[d][0].tolist() == expected
        assert torch.equal(drop.retained[d][0], golden[f"stage{d}_kept"])
        assert torch.allclose(drop.scores[d][0], golden[f"stage{d}_scores"], rtol=0, atol=1e-5)
    lengths = case["expected"]["seq_len_at_layer_input"]
    assert [per_row[0] for per_row in drop.kv_lengths] == lengths
    assert [layer.keys.shape[2] for layer in output.past_key_values.layers] == lengths
    assert torch.allclose(output.logits[0, -1], golden["prefill_logits_last"], rtol=0, atol=1e-4)
    hidden = torch.stack([states[0, -1] for states in output.hidden_states])
    assert torch.allclose(hidden, golden["prefill_hidden_last"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", [name for name in INFER if "decode_tokens" in CASES[name]["expected"]])
def test_cached_greedy_decoding_matches(name, attention):
    case = CASES[name]
    model, golden = load(name, attention)
    embeds = golden["inputs_embeds"]
    with strategy_of(case)(model, image_mask=image_mask(case, embeds)):
        output = model.generate(
            inputs_embeds=embeds,
            max_new_tokens=8,
            min_new_tokens=8,
            do_sample=False,
            eos_token_id=None,
            output_logits=True,
            return_dict_in_generate=True,
        )
    assert output.sequences[0].tolist() == case["expected"]["decode_tokens"]
    assert torch.allclose(torch.cat(output.logits), golden["decode_logits"], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in INFER if "decode_tokens_nocache" in CASES[name]["expected"]]
)
def test_choosing_anew_at_every_step_matches_fastv_without_a_cache(name):
    case = CASES[name]
    model, golden = load(name, "sdpa")
    embeds, tokens = golden["inputs_embeds"], []
    with torch.no_grad():
        for step in range(8):
            with strategy_of(case)(model, image_mask=image_mask(case, embeds)) as drop:
                logits = model(inputs_embeds=embeds, use_cache=False).logits[:, -1]
            assert torch.equal(drop.retained[0][0], golden["kept_per_step_nocache"][step])
            assert torch.allclose(logits[0], golden["decode_logits_nocache"][step], rtol=0, atol=1e-4)
            tokens.append(int(logits.argmax()))
            embeds = torch.cat((embeds, model.get_input_embeddings()(logits.argmax(-1, keepdim=True))), 1)
    assert tokens == case["expected"]["decode_tokens_nocache"]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", TRAIN)
def test_training_matches(name, attention, checkpointing):
    case = CASES[name]
    model, golden = load(name, attention)
    model.train()
    if checkpointing:
        # The name changed within transformers 5.
        getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
    embeds = golden["inputs_embeds"].clone().requires_grad_()
    mask = image_mask(case, embeds)
    with strategy_of(case)(model, image_mask=mask) as drop:
        output = model(
            inputs_embeds=embeds,
            attention_mask=golden["attention_mask"],
            labels=golden["labels"],
            use_cache=False,
        )
        output.loss.backward()
    assert torch.allclose(output.loss, golden["loss"], rtol=0, atol=1e-5)
    assert torch.allclose(output.logits, golden["logits"], rtol=0, atol=1e-4)
    assert torch.equal(drop.labels, golden["final_labels"])
    assert [per_row[0] for per_row in drop.kv_lengths] == case["expected"]["seq_len_at_layer_input"]
    for d, expected in enumerate(case["expected"]["kept_image_indices"]):
        for row, ids in expected.items():
            assert drop.retained[d][int(row)].tolist() == ids
            scores = golden[f"stage{d}_row{row}_scores"]
            assert torch.allclose(drop.scores[d][int(row)], scores, rtol=0, atol=1e-5)
    grad = golden["grad_image_features_row0"]
    assert torch.allclose(embeds.grad[mask], grad, rtol=1e-4, atol=1e-5)
    layers = model.model.layers
    norms = torch.stack([layer.self_attn.q_proj.weight.grad.norm() for layer in layers])
    assert torch.allclose(norms, golden["grad_q_proj_norm_per_layer"], rtol=1e-4, atol=1e-5)
    assert torch.allclose(
        layers[0].self_attn.q_proj.weight.grad, golden["grad_q_proj_l0"], rtol=1e-4, atol=1e-5
    )
