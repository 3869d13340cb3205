"""The model that is measured and a batch for it: from a checkpoint, or random in any published size."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig

from pdrop_eval.models import families
from pdrop_eval.models.family import ImageShape
from pdrop_eval.models.loading.gpu import settle_attention
from pdrop_eval.run.bench.memory import available
from pdrop_eval.run.bench.outcome import gib
from pdrop_eval.run.bench.sample import TEXT_SIZES, Sample
from pdrop_eval.run.bench.settings import Plan, published_name
from pdrop_eval.utils.errors import UserError

BEFORE = 4  # text tokens before the first image; the others follow the last one
_VISION = {
    "tile": "image_size", "patch": "patch_size", "vision_layers": "num_hidden_layers",
    "vision_width": "hidden_size", "vision_intermediate": "intermediate_size",
    "vision_heads": "num_attention_heads",
}  # fmt: skip


def model_config(plan: Plan) -> Any:
    """The transformers config of the model to measure. Raises UserError for sizes that don't fit together."""
    config = plan.config
    if plan.source is None:
        found = families.published_config(str(published_name(config)))
    else:
        revision = None if isinstance(plan.source, Path) else config.model.revision
        found = AutoConfig.from_pretrained(str(plan.source), revision=revision or "main")
    if sizes := config.sizes.given():
        found = _resized(found, sizes)
    # Grids are multiples of a tile; without a setting they stay the checkpoint's, as tiles go.
    families.multimodal_of(found).set_anyres(config.model.anyres or "p5", found)
    return found


def _resized(config: Any, sizes: Mapping[str, int]) -> Any:
    """The config with some of its sizes replaced; what follows from them is set as well."""
    plain, family = config.to_dict(), families.multimodal_of(config)
    text, vision = plain["text_config"], plain["vision_config"]
    names = {**{key: key for key in _VISION.values()}, **family.size_names}
    for name, value in sizes.items():
        part, key = (text, TEXT_SIZES[name]) if name in TEXT_SIZES else (vision, names[_VISION[name]])
        if key not in part:
            raise UserError(
                f"sizes.{name}={value} is no size of {family.display_name}: use sizes.{name}=null."
            )
        part[key] = [value, value] if isinstance(part[key], list) else value
    if "layers" in sizes:
        text.pop("layer_types", None)  # one for each layer: they follow
    if "heads" in sizes and "kv_heads" not in sizes:
        text["num_key_value_heads"] = sizes["heads"]
    for part, what, keys in ((text, "", {}), (vision, "vision_", names)):
        width, heads = (part[keys.get(key, key)] for key in ("hidden_size", "num_attention_heads"))
        if width % heads:
            raise _unfit(f"sizes.{what}width={width}", f"sizes.{what}heads={heads}")
    heads, kv_heads = text["num_attention_heads"], text["num_key_value_heads"]
    if heads % kv_heads:
        raise _unfit(f"sizes.heads={heads}", f"sizes.kv_heads={kv_heads}")
    tile, patch = (sizes.get(name, vision.get(_VISION[name])) for name in ("tile", "patch"))
    if {"tile", "patch"} & set(sizes) and isinstance(tile, int) and isinstance(patch, int) and tile % patch:
        raise _unfit(f"sizes.tile={tile}", f"sizes.patch={patch}")
    if (text["hidden_size"] // heads) % 2:
        raise UserError(
            f"sizes.width={text['hidden_size']} with {heads} heads gives heads of odd width, which can't be "
            "rotated: use a width that is a multiple of twice the heads."
        )
    text["head_dim"] = text["hidden_size"] // heads
    if isinstance(tile, int) and isinstance(patch, int):
        plain["image_seq_length"] = (tile // patch) ** 2
    family.fit_sizes(plain)
    if "vocabulary" in sizes:
        _fit_vocabulary(plain, sizes["vocabulary"])
    return type(config).from_dict(plain)


def _fit_vocabulary(plain: dict[str, Any], size: int) -> None:
    """Move the image's and other special tokens into a smaller vocabulary."""
    if size < 16:
        raise UserError(f"sizes.vocabulary={size} is not allowed: use at least 16.")
    for part in (plain, plain["text_config"]):
        for key in ("image_token_index", "image_token_id", "pad_token_id", "eos_token_id", "bos_token_id"):
            if isinstance(part.get(key), int) and part[key] >= size:
                part[key] = size - 1
        for key in ("video_token_index", "video_token_id"):
            if isinstance(part.get(key), int) and part[key] >= size:
                part[key] = size - 2


def _unfit(what: str, by: str) -> UserError:
    return UserError(f"{what} is no multiple of {by}: change one of them.")


def check_memory(config: Any, dtype: str, device: str) -> int:
    """The bytes of the model's weights; refuses a model that doesn't fit. Nothing is allocated."""
    with torch.device("meta"):
        model = families.multimodal_of(config).load_class()(config)
    size = sum(p.numel() for p in model.parameters()) * getattr(torch, dtype).itemsize
    there = available(device)
    if there is not None and size > there:
        raise UserError(
            f"The model's weights take {gib(size)} in {dtype}, and {gib(there)} are free on {device}. Use "
            "dtype=bfloat16, fewer layers (sizes.layers=8 with weights=random), or another device."
        )
    return size


def build(plan: Plan, config: Any) -> Any:
    """The model in evaluation mode on its device."""
    settings = plan.config
    settle_attention()
    if settings.weights == "checkpoint":
        from pdrop_eval.models.loading.load import load

        model = settings.model
        built: Any = load(
            model.pretrained,
            model.revision,
            settings.device,
            plan.dtype,
            settings.attention,
            model.trust_remote_code,
            model.anyres,
            adapter=plan.adapter,
        ).model
    else:
        torch.manual_seed(settings.seed)
        dtype: Any = getattr(torch, plan.dtype)
        config = deepcopy(config)
        for part in config.sub_configs:  # in which a checkpoint may name a dtype of its own
            getattr(config, part).dtype = dtype
        with torch.device(settings.device):
            built = (
                families.multimodal_of(config)
                .load_class()
                ._from_config(config, dtype=dtype, attn_implementation=settings.attention)
            )
        built = built.to(settings.device).eval()
    if settings.compile:
        _compile(built)
    return built


def _compile(model: Any) -> None:
    """Compile the parts of the decoder layers that are the same in each of them.

    Attention isn't: the number of its layer is fixed in its graph, so that each layer would be compiled anew.
    The engine's hooks stay outside. Lengths are dynamic: a drop compiles nothing.
    """
    for layer in model.get_decoder().layers:
        for part in (layer.mlp, layer.input_layernorm, layer.post_attention_layernorm):
            part.forward = torch.compile(part.forward, dynamic=True)


@dataclass(frozen=True)
class Batch:
    """Inputs of the whole model, and of its decoder alone.

    Attributes:
        whole: input_ids [b, n], and the family's `processor_inputs`.
        embeds: [b, n, d].
        image: [b, n] bool, true on image tokens.
        places: [b, n], position ids.
    """

    whole: Mapping[str, Tensor]
    embeds: Tensor
    image: Tensor
    places: Tensor

    @property
    def pixels(self) -> dict[str, Tensor]:
        """The inputs of the vision tower."""
        others = ("input_ids", "mm_token_type_ids")
        return {name: tensor for name, tensor in self.whole.items() if name not in others}


def make_batch(config: Any, sample: Sample, rows: int, dtype: str, device: str, seed: int = 0) -> Batch:
    """Equal rows in length: some text, the images, the rest of the text."""
    random = torch.Generator().manual_seed(seed)
    text = config.get_text_config()
    n = sample.image_tokens + sample.text_tokens
    before = min(BEFORE, sample.text_tokens - 1)
    ids = torch.randint(3, text.vocab_size, (rows, n), generator=random)
    family = families.multimodal_of(config)
    ids[family.image_mask(config, {"input_ids": ids})] = 3
    image = torch.zeros(rows, n, dtype=torch.bool)
    image[:, before : before + sample.image_tokens] = True
    ids[image] = config.image_token_id
    weights: Any = getattr(torch, dtype)
    shape = ImageShape(sample.size, sample.tiles // sample.images, sample.image_tokens // sample.images)
    pixels = family.random_pixels(config, shape, rows * sample.images, random)
    placed = {k: v.to(device, weights if v.is_floating_point() else None) for k, v in pixels.items()}
    whole = {"input_ids": ids.to(device), **family.prompt_inputs(config, ids.to(device)), **placed}
    embeds = torch.randn(rows, n, text.hidden_size, generator=random)
    places = torch.arange(n, device=device).repeat(rows, 1)
    return Batch(whole, embeds.to(device, weights), image.to(device), places)
