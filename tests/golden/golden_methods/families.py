"""FastV and PyramidDrop on further families: what a masking oracle scores, retains and answers."""

import re
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import transformers
from golden_case import Case, MismatchError
from golden_driver import MissingError
from packaging.version import Version
from transformers import AutoConfig

from golden_methods import inside
from pdrop_eval import FastV, PyramidDrop
from pdrop_eval.engine.before_decoder.interface import ImageView
from pdrop_eval.models import families
from pdrop_eval.models.towers.encoded import EncodedImage
from pdrop_eval.models.towers.salience import received_attention
from pdrop_eval.strategies.before import BeforeStrategy
from pdrop_eval.strategies.divprune import most_diverse
from pdrop_eval.strategies.visionzip import VisionZip
from pdrop_eval.strategies.vispruner import VisPruner
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
    told = NAMES.get(case.data.get("family"), family.name)
    if family.name != told:
        raise MismatchError(f"a model of {family.name} isn't one of {told}")
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
        params = case.params("method", "k", "r", "positions")
        return FastV(k=params["k"], r=params["r"], positions=params.get("positions", "keep"))
    known = ("method", "layer_list", "image_token_ratio_list", "positions", "rank_with")
    params = case.params(*known)
    return PyramidDrop(
        layers=params["layer_list"],
        ratios=params["image_token_ratio_list"],
        rank_with=params.get("rank_with", "next_layer"),
        positions=params.get("positions", "keep"),
    )


def _features(case, model, inputs):
    """Encoded images are those of the case: else the model isn't."""
    family = families.of_model(model)
    pixels = {name: inputs[name] for name in family.processor_inputs if name in inputs}
    with torch.no_grad():
        output = model.get_image_features(**pixels, return_dict=True)
        ours = torch.cat([part.flatten(0, -2) for part in output.pooler_output])
        case.close_if_told("image_features", ours)
        if "deepstack_features" in case.tensors:
            ours = torch.stack([torch.cat(list(one)) for one in output.deepstack_features])
            case.close("deepstack_features", ours)


def _positions(case, model, inputs):
    if families.of_model(model).can_renumber or "position_ids" not in case.tensors:
        return
    names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
    ours, _ = model.model.get_rope_index(**{name: inputs[name] for name in names if name in inputs})
    case.equal("position_ids", ours)


def _prefill(case, model, inputs, attention):
    with torch.no_grad(), _strategy(case)(model) as drop:
        output = model(**inputs)
    kept = case.value("expected", "kept_image_indices")
    atol = 1e-5 if attention == "eager" else 5e-5  # the oracle's layers attend eagerly
    case.equal("number of drops", len(drop.retained), len(kept))
    for d, expected in enumerate(kept):
        case.equal(f"kept_image_indices {d}", drop.retained[d][0], expected)
        case.close_if_told(f"stage{d}_scores", drop.scores[d][0], atol=atol)
    case.close("prefill_logits_last", output.logits[0, -1], atol=3e-4)


def _decode(case, model, inputs):
    with _strategy(case)(model):
        _answer(case, *greedy(case, model, **inputs))
    if "vanilla_tokens" not in case.value("expected"):
        return
    tokens, logits = greedy(case, model, **inputs)
    case.equal("vanilla_tokens", tokens, case.value("expected", "vanilla_tokens"))
    case.close_if_told("vanilla_decode_logits", logits, atol=3e-4)


def _answer(case, tokens, logits):
    case.equal("decode_tokens", tokens, case.value("expected", "decode_tokens"))
    case.close_if_told("decode_logits", logits, atol=3e-4)


def greedy(case, model, **inputs):
    """Greedy tokens among the ids that the case allows, and the logits [steps, vocabulary] of all."""
    vocabulary, steps = (
        model.config.get_text_config().vocab_size,
        len(case.value("expected", "decode_tokens")),
    )
    below = case.data.get("input", {}).get("decode_over_ids_below", vocabulary)
    if not 0 < below <= vocabulary:
        raise MismatchError(f"decode_over_ids_below={below} of {vocabulary}")
    output = model.generate(
        **inputs,
        max_new_tokens=steps,
        min_new_tokens=steps,
        do_sample=False,
        suppress_tokens=list(range(below, vocabulary)) or None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return output.sequences[0, -steps:].tolist(), torch.cat(output.logits)


def check_given(case):
    """Ids that are given stay from a layer on, from layer 0 on as a strategy before the decoder leaves it."""
    params = case.params("method", "layer", "positions", "note")
    layer, positions = params.get("layer", 0), params.get("positions", "keep")
    if positions != "keep" and not layer:
        raise MismatchError(f"positions={positions}: ids that are given stay where they are")
    for attention in ATTENTION:
        model, inputs = model_of(case, attention), case.weights("inputs")
        _features(case, model, inputs)
        _positions(case, model, inputs)
        kept = case.value("expected", "kept_image_indices")
        if layer:
            with inside.Given((layer,), kept, positions)(model) as drop:
                tokens, logits = greedy(case, model, **inputs)
            case.equal("kept_image_indices", drop.retained[0][0], kept[0])
        else:
            short = _by_the_strategy if not families.of_model(model).can_renumber else _by_hand
            tokens, logits = short(case, model, inputs, kept[0])
        _answer(case, tokens, logits)
        case.close("prefill_logits_last", logits[0], atol=3e-4)


@dataclass
class Given(BeforeStrategy):
    """Retains the image tokens with these ids, which count over the images of the row."""

    ids: tuple = ()
    name: ClassVar[str] = "uniform"  # one that every family takes

    def __post_init__(self):
        self.start = 0

    def retained_count(self, shape):
        return 1

    def reduce(self, view):
        mine = [number - self.start for number in self.ids]
        n, self.start = len(view.tokens), self.start + len(view.tokens)
        return view.take(torch.tensor([number for number in mine if 0 <= number < n]))


def _by_the_strategy(case, model, inputs, kept):
    """The whole route: encoded, reduced, the prompt shortened, three-dimensional positions kept."""
    with Given(tuple(kept))(model) as drop:
        tokens, logits = greedy(case, model, **inputs)
    case.equal("kept_image_indices", drop.sources[0].tolist(), kept)
    return tokens, logits


def _by_hand(case, model, inputs, kept):
    """Families whose positions are closed up before the decoder, here kept: the wrapper's route."""
    if Version(transformers.__version__) < Version("5.20"):
        pytest.skip("generate of this transformers counts on from the columns, not from the positions given")
    family = families.of_model(model)
    pixels = {name: inputs[name] for name in family.processor_inputs if name in inputs}
    with torch.no_grad():
        pooled = model.get_image_features(**pixels, return_dict=True).pooler_output
    features = torch.cat([part.flatten(0, -2) for part in pooled])
    image = family.image_mask(model.config, inputs)[0]
    stays = ~image
    stays[image.nonzero().flatten()[kept]] = True
    columns = stays.nonzero().flatten()
    ids = inputs["input_ids"][:, columns]
    given = family.generate_inputs(model, ids, [EncodedImage(features[kept])])
    mask = torch.ones_like(ids)
    return greedy(case, model, **given, attention_mask=mask, position_ids=columns[None])


def check_port(case):
    """The official port to Qwen2.5-VL, its functions, and the tower of the case that it is a part of."""
    named = re.search(r"fam_\w+", case.data.get("model", ""))
    source = Case(case.folder, named[0] if named else "fam_qwen2_5_vl_pdrop")
    model, inputs = model_of(source, "sdpa"), source.weights("inputs")
    family = families.of_model(model)
    pixels = {name: inputs[name] for name in family.processor_inputs}
    with torch.no_grad():
        images = family.encode_images(model, pixels, VisionZip.needs)
    tokens = torch.cat([image.tokens for image in images])
    case.close("image_embeds", tokens)
    starts = case.tensor("cu_seqlens").tolist()
    orders = [family.raster_order(model.config, image.places.side) for image in images]
    counts = [len(image) for image in images]
    window = torch.cat([order.argsort() + sum(counts[:i]) for i, order in enumerate(orders)])
    case.equal("window_index", window)
    for number, (image, raster) in enumerate(zip(images, orders, strict=True)):
        own = slice(starts[number], starts[number + 1])
        q, k = (case.tensor(name)[:, own] for name in ("vit_q_last", "vit_k_last"))
        case.close(f"scores_image{number}", received_attention(q, k, 4)[raster], rtol=1e-4, atol=1e-5)
        case.close(
            f"scores_image{number}",
            image.received,
            case.tensor(f"scores_image{number}"),
            rtol=1e-4,
            atol=1e-4,
        )
    names = [name for name in case.value("expected") if name.startswith("visionzip_ratio")]
    for ratio in (name.removeprefix("visionzip_ratio") for name in names):
        _ported(case, images, tokens, ratio)


def _ported(case, images, tokens, ratio):
    """Each image keeps its share; DivPrune chooses over both at once. ratio: as the case writes it."""
    dropped = float(ratio)
    zipped, merged_tokens, pruned, start = [], [], [], 0
    for image in images:
        n = len(image)
        keep = max(1, round(n * (1 - dropped)))
        contextual = max(1, round(keep * 10 / 64))
        found = VisionZip(dominant=keep - contextual, contextual=contextual, official=False).reduce(
            ImageView(image, torch.nn.Identity())
        )
        zipped += (found.source + start).tolist()
        merged_tokens.append(found.tokens)
        chosen = VisPruner(visual_token_num=keep).reduce(ImageView(image, torch.nn.Identity()))
        pruned += (chosen.source + start).tolist()
        start += n
    case.equal(f"visionzip_ratio{ratio}", zipped, case.value("expected", f"visionzip_ratio{ratio}"))
    case.close(f"visionzip_ratio{ratio}_tokens", torch.cat(merged_tokens), atol=1e-5)
    case.equal(f"vispruner_ratio{ratio}", pruned, case.value("expected", f"vispruner_ratio{ratio}"))
    far = most_diverse(tokens, round(start * (1 - dropped)), official=False).sort().values
    case.equal(f"divprune_ratio{ratio}", far, case.value("expected", f"divprune_ratio{ratio}"))


_ALL = {"fastv": {None: check}, "pdrop": {None: check}, "given": {None: check_given}}
FAMILIES = {name: dict(_ALL) for name in NAMES}
FAMILIES["qwen2_5_vl"]["function"] = {None: check_port}
