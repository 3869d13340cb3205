"""Checkpoints in the format of LLaVA's own code: how they are recognised, and how converted."""

import re
from collections.abc import Mapping
from typing import Any

from pdrop_eval.utils.errors import UserError

# LLaVA's code writes these beside the text model's settings; transformers' format has a vision_config.
_KEYS = ("mm_vision_tower", "mm_projector_type", "mm_hidden_size", "mm_vision_select_layer", "use_mm_proj")
_CLASS = re.compile(r"^(Tiny)?Llava\w+ForCausalLM$", re.IGNORECASE)
_TYPES = re.compile(r"^(tiny)?llava_(llama|mistral|mixtral|mpt|qwen|gemma|phi)", re.IGNORECASE)
_SIZES = {4096: "7b", 5120: "13b", 7168: "34b"}  # by the width of the decoder
_ONE_TILE = {"7b": "llava-hf/llava-1.5-7b-hf", "13b": "llava-hf/llava-1.5-13b-hf"}
_TILES = {
    "7b": "llava-hf/llava-v1.6-vicuna-7b-hf",
    "13b": "llava-hf/llava-v1.6-vicuna-13b-hf",
    "34b": "llava-hf/llava-v1.6-34b-hf",
    "mistral": "llava-hf/llava-v1.6-mistral-7b-hf",
}
_SCRIPT = "src/transformers/models/llava/convert_llava_weights_to_hf.py"
_TILES_SCRIPT = "src/transformers/models/llava_next/convert_llava_next_weights_to_hf.py"
PAGE = "docs/checkpoints.md"


def check_format(pretrained: str, config: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that LLaVA's own code has saved.

    transformers takes such a config.json for a model of 7B with nothing set, and fills all of it with random
    numbers before it looks at a weight.

    Args:
        pretrained: the checkpoint as the user named it.
        config: its config.json.

    Raises:
        UserError: with the name of the converted checkpoint, and of the script that converts others.
    """
    sign = original_sign(config)
    if sign is None:
        return
    tiles = _has_tiles(config)
    script = _TILES_SCRIPT if tiles else _SCRIPT
    raise UserError(
        f"The checkpoint {pretrained} is in the original format of LLaVA's own code ({sign} in config.json), "
        f"not in transformers' own. {_published(config, tiles)} Weights of your own are converted by "
        f"{script} in the sources of transformers; {PAGE} shows how."
    )


def original_sign(config: Mapping[str, Any]) -> str | None:
    """Return what in a config.json says that LLaVA's own code has written it, or None."""
    kind = str(config.get("model_type"))
    if _TYPES.match(kind):
        return f"model_type={kind!r}"
    if isinstance(config.get("vision_config"), Mapping):
        return None
    for key in _KEYS:
        if key in config:
            return f"{key}={config[key]!r}"
    named = config.get("architectures")
    classes = [name for name in named if _CLASS.match(str(name))] if isinstance(named, list) else []
    return f"architectures={classes[0]!r}" if classes else None


def _has_tiles(config: Mapping[str, Any]) -> bool:
    """Whether it is a LLaVA-NeXT, which cuts images into tiles."""
    return bool(
        str(config.get("mm_patch_merge_type", "")).startswith("spatial")
        or "anyres" in str(config.get("image_aspect_ratio", ""))
    )


def _published(config: Mapping[str, Any], tiles: bool) -> str:
    names = _TILES if tiles else _ONE_TILE
    size = _SIZES.get(config.get("hidden_size"))  # type: ignore[arg-type]
    if tiles and "mistral" in f"{config.get('model_type')} {config.get('architectures')}".lower():
        size = "mistral"
    if size in names:
        return f"If it is LLaVA's own, use its conversion on the Hub: model.pretrained={names[size]}."
    return f"LLaVA's own are converted on the Hub: {', '.join(names.values())}."
