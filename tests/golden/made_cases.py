"""Golden cases that are made here: a small random decoder and a prompt, in the official format."""

import json
from types import SimpleNamespace

import golden_driver
import torch
from plain_decoder import TEXT, Plain, decode, prefill, random_weights
from safetensors.torch import save_file

SHAPE = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
         "num_key_value_heads": 4, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
         "pad_token_id": 0}  # fmt: skip


def prompt(layers=6, spans=((5, 30),), after=9, seed=1, dtype=torch.float32, **shape):
    """A decoder and the inputs of a prompt; spans: (start, length) of its images."""
    config = {**SHAPE, "num_hidden_layers": layers, **shape}
    weights = {name: value.to(dtype) for name, value in random_weights(config, seed).items()}
    if config["tie_word_embeddings"]:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    n = sum(spans[-1]) + after
    ids, number = [TEXT] * n, 0
    for start, length in spans:
        ids[start : start + length] = range(number, number + length)
        number += length
    embeds = torch.randn(n, config["hidden_size"], generator=torch.Generator().manual_seed(seed)).to(dtype)
    starts, lengths = ([span[i] for span in spans] for i in (0, 1))
    place = {"image_start": starts if len(spans) > 1 else starts[0], "seq_len": n, "text_after": after,
             "image_len": lengths if len(spans) > 1 else lengths[0]}  # fmt: skip
    return SimpleNamespace(config=config, weights=weights, embeds=embeds, ids=ids, place=place,
                           model=Plain(weights, config))  # fmt: skip


def expectation(found, model, steps, cut=None):
    """Values and tensors of a run, as cases have them."""
    expected = {"kept_image_indices": [stage.ids for stage in found.stages],
                "seq_len_at_layer_input": found.lengths}  # fmt: skip
    tensors = {"prefill_logits_last": found.logits, "prefill_hidden_last": torch.stack(found.last)}
    for d, stage in enumerate(found.stages):
        tensors[f"stage{d}_kept"] = torch.tensor(stage.ids, dtype=torch.int64)
        if stage.scores is not None:
            tensors[f"stage{d}_scores"] = stage.scores
    if cut:
        cut(found, expected)
    expected["decode_tokens"], tensors["decode_logits"] = decode(model, found, steps)
    return expected, tensors


def run(folder, method, params, of, expected, tensors, name="it"):
    """Write a case; returns what the driver says of it."""
    data = {
        "method": method,
        "params": params,
        "llama_config": of.config,
        "input": of.place,
        "expected": expected,
    }
    values = {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}
    values |= {"inputs_embeds": of.embeds[None]} | {f"weights/{key}": v for key, v in of.weights.items()}
    if of.config["tie_word_embeddings"]:
        del values["weights/lm_head.weight"]
    save_file({key: value.contiguous() for key, value in values.items()}, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(data))
    return golden_driver.run(folder, name)


def tried(folder, method, params, rule, before, of, positions="keep", steps=8, change=None):
    found = prefill(of.model, of.embeds, of.ids, rule, before, positions)
    expected, tensors = expectation(found, of.model, steps)
    if change:
        change(expected, tensors)
    return run(folder, method, params, of, expected, tensors)
