"""FastV and PyramidDrop on further families: what a masking oracle scores, retains and answers."""

import torch
from golden_case import MismatchError
from golden_driver import MissingError
from transformers import AutoConfig

from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.models import families
from pdrop_eval.utils.errors import UserError

ATTENTION = ("sdpa", "eager")
NAMES = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_5_vl",
    "qwen3_vl": "qwen3_vl",
    "llava_onevision": "llava_onevision",
    "internvl": "internvl",
    "internvl_qwen3": "internvl",
    "smolvlm": "smolvlm",
}


def check(case):
    for attention in ATTENTION:
        model, inputs = model_of(case, attention), case.weights("inputs")
        _features(case, model, inputs)
        _positions(case, model, inputs)
        _prefill(case, model, inputs, attention)
        _decode(case, model, inputs)


def model_of(case, attention):
    """The case's model."""
    values = dict(case.value("config"))
    config = AutoConfig.for_model(values.pop("model_type"), **values)
    config._attn_implementation = attention
    family = families.get(config.model_type)
    assert family.name == NAMES[case.value("family")]
    try:
        family.check_version()
    except UserError as error:
        raise MissingError(str(error)) from error
    model = family.load_class()._from_config(config, attn_implementation=attention).eval()
    weights = case.weights("weights")
    # Earlier versions of transformers have one level more in SigLIP's tower.
    names = {name: name.replace("vision_tower.vision_model.", "vision_tower.") for name in model.state_dict()}
    model.load_state_dict({name: weights.get(name, weights.get(plain)) for name, plain in names.items()})
    model.generation_config.eos_token_id = None
    return model


def _strategy(case):
    if case.value("method") == "fastv":
        params = case.params("method", "k", "r")
        return FastV(k=params["k"], r=params["r"])
    known = ("method", "layer_list", "image_token_ratio_list", "positions", "rank_with")
    params = case.params(*known)
    return PyramidDrop(
        layers=params["layer_list"],
        ratios=params["image_token_ratio_list"],
        rank_with=params["rank_with"],
        positions=params["positions"],
    )


def _features(case, model, inputs):
    """Encoded images are those of the case: else the model isn't."""
    family = families.of_model(model)
    pixels = {name: inputs[name] for name in family.processor_inputs if name in inputs}
    with torch.no_grad():
        output = model.get_image_features(**pixels, return_dict=True)
        case.close("image_features", torch.cat([part.flatten(0, -2) for part in output.pooler_output]))
        if "deepstack_features" in case.tensors:
            ours = torch.stack([torch.cat(list(one)) for one in output.deepstack_features])
            case.close("deepstack_features", ours)


def _positions(case, model, inputs):
    if families.of_model(model).can_renumber:
        return
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    ours, _ = model.model.get_rope_index(**{name: inputs[name] for name in names})
    case.equal("position_ids", ours)


def _prefill(case, model, inputs, attention):
    with torch.no_grad(), _strategy(case)(model) as drop:
        output = model(**inputs)
    kept = case.value("expected", "kept_image_indices")
    atol = 1e-5 if attention == "eager" else 5e-5  # the oracle's layers attend eagerly
    case.equal("number of drops", len(drop.retained), len(kept))
    for d, expected in enumerate(kept):
        case.equal(f"kept_image_indices {d}", drop.retained[d][0], expected)
        case.close(f"stage{d}_scores", drop.scores[d][0], atol=atol)
    case.close("prefill_logits_last", output.logits[0, -1], atol=3e-4)


def _decode(case, model, inputs):
    with _strategy(case)(model):
        tokens, logits = greedy(case, model, **inputs)
    case.equal("decode_tokens", tokens, case.value("expected", "decode_tokens"))
    case.close("decode_logits", logits, atol=3e-4)
    tokens, logits = greedy(case, model, **inputs)
    case.equal("vanilla_tokens", tokens, case.value("expected", "vanilla_tokens"))
    case.close("vanilla_decode_logits", logits, atol=3e-4)


def greedy(case, model, **inputs):
    """Eight greedy tokens among the ids that the case allows, and the logits [8, vocabulary] of all."""
    below, vocabulary = (
        case.value("input", "decode_over_ids_below"),
        model.config.get_text_config().vocab_size,
    )
    if not 0 < below <= vocabulary:
        raise MismatchError(f"decode_over_ids_below={below} of {vocabulary}")
    output = model.generate(
        **inputs,
        max_new_tokens=8,
        min_new_tokens=8,
        do_sample=False,
        suppress_tokens=list(range(below, vocabulary)),
        output_logits=True,
        return_dict_in_generate=True,
    )
    return output.sequences[0, -8:].tolist(), torch.cat(output.logits)


FAMILIES = {name: {"fastv": {None: check}, "pdrop": {None: check}} for name in NAMES}
