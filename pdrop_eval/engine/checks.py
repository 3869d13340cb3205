"""What the engine refuses, before anything is computed: each message names the value and the fix."""

from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from pdrop_eval.engine.interface import Drop, check_trains
from pdrop_eval.engine.schedule import check_layers
from pdrop_eval.models.family import Family, MultimodalFamily
from pdrop_eval.models.towers.encoded import TokenShape
from pdrop_eval.utils.errors import UserError

ASSISTED = ("assistant_model", "prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")


def check_drops(drops: tuple[Drop, ...], num_layers: int) -> None:
    """Refuse drop layers outside the model, and ranking layers that come after the drop.

    Raises:
        UserError: with the allowed layers.
    """
    check_layers([drop.layer for drop in drops], num_layers)
    for drop in drops:
        if drop.scoring_layer is not None and not drop.layer - 1 <= drop.scoring_layer <= drop.layer:
            raise UserError(
                f"A drop before layer {drop.layer} can't be ranked at layer {drop.scoring_layer}: use "
                f"{drop.layer - 1}, "
                f"the last layer that sees the tokens, or {drop.layer}."
            )


def check_one_place(model: nn.Module) -> None:
    """Refuse a model whose parts transformers has put on several devices (`device_map="auto"`).

    There each layer's outputs stay on its own device, and what is dropped is found on the first one.

    Raises:
        UserError: with the devices, and how a model is spread here.
    """
    places = (getattr(model, "hf_device_map", None) or {}).values()
    found = {f"cuda:{place}" if isinstance(place, int) else str(place) for place in places}
    if len(found) > 1:
        raise UserError(
            f"{type(model).__name__} lies on {len(found)} devices ({', '.join(sorted(found))}, by its "
            "hf_device_map), between which tokens can't be dropped. Load it onto one, "
            'device_map={"": "cuda:0"}; or spread it over several with '
            'pdrop_eval.models.loading.load.load(..., device="cuda", devices=2), model.devices=2 on the '
            "command line."
        )


def check_image_mask(mask: Tensor | None, model: str, finds_images: bool) -> None:
    """Refuse a missing image mask where the model can't tell image tokens, and a mask of the wrong kind.

    Raises:
        UserError: with the kind of tensor to pass.
    """
    if mask is None and not finds_images:
        raise UserError(
            f"{model} can't tell image tokens from text: pass image_mask, a boolean tensor [batch, sequence] "
            "that is true on image tokens."
        )
    if mask is not None and (mask.dtype != torch.bool or mask.dim() != 2):
        raise UserError(
            f"image_mask must be a boolean tensor [batch, sequence], not {mask.dtype} {list(mask.shape)}."
        )


def mask_kind(implementation: str) -> str:
    """Return "eager", "sdpa" or "flash" for a transformers attention implementation.

    Raises:
        UserError: for another one, such as flex attention.
    """
    if implementation in ("eager", "sdpa"):
        return implementation
    if "flash" in implementation and "paged" not in implementation:
        return "flash"
    raise UserError(
        f"attn_implementation={implementation!r} is not supported: load the model with 'sdpa', 'eager' or "
        "'flash_attention_2'."
    )


def check_cache(cache: Any) -> int:
    """Return the number of tokens that `cache` (or None) has seen; refuse caches other than DynamicCache.

    Raises:
        UserError: for StaticCache and other caches.
    """
    if cache is None:
        return 0
    if not isinstance(cache, DynamicCache):
        raise UserError(
            f"{type(cache).__name__} can't hold layers of different lengths: use DynamicCache, the default."
        )
    return cache.get_seq_length()


def check_filled(has_images: bool, past: int) -> None:
    """Refuse new images on a filled cache.

    Raises:
        UserError: when `past` tokens are cached and images come.
    """
    if past and has_images:
        raise UserError(
            f"New images on a cache that holds {past} tokens are not supported: start a new sequence with "
            "all its images (an empty cache), or continue with text only."
        )


def check_images(selector: Any, family: Family, config: Any, image_mask: Tensor | None) -> None:
    """Refuse images that a strategy in the decoder isn't made for.

    Args:
        selector: a strategy.
        family: the model's.
        config: the model's, which says how many tokens an image has; that of a bare decoder doesn't.
        image_mask: [b, n] bool, of a bare decoder; each row's image tokens that stand together are an image.

    Raises:
        UserError: what the strategy raises.
    """
    check_image = getattr(selector, "check_image", None)
    if check_image is None:
        return
    if isinstance(family, MultimodalFamily):
        check_image(family.nominal_shape(config))
        return
    rows = [] if image_mask is None else image_mask.tolist()
    lengths = {len(list(same)) for row in rows for image, same in groupby(row) if image}
    for length in sorted(lengths):
        check_image(TokenShape(length))


def check_forward(inputs: dict[str, Any], past: int) -> None:
    """Refuse forward arguments that can't be right with tokens removed.

    Raises:
        UserError: with what to use instead.
    """
    mask = inputs.get("attention_mask")
    if mask is not None and not (isinstance(mask, Tensor) and mask.dim() == 2):
        raise UserError(
            "attention_mask must be two-dimensional [batch, sequence] (or None) when tokens are dropped."
        )
    if isinstance(inputs.get("logits_to_keep"), Tensor) and not past:
        raise UserError(
            "logits_to_keep as a tensor indexes the undropped sequence: pass a number of last tokens, or 0 "
            "for all and use the report's `index` to find columns."
        )
    if inputs.get("cu_seq_lens_q") is not None or inputs.get("cu_seqlens_q") is not None:
        raise UserError(
            "Packed sequences (cu_seq_lens) can't be dropped from: pass padded rows and an attention_mask."
        )
    if inputs.get("shift_labels") is not None:
        raise UserError(
            "shift_labels are already shifted, so tokens can't be dropped from them: pass labels."
        )


def check_labels(selector: Any, labels: Any) -> None:
    """Refuse labels where a strategy can't be trained with.

    Raises:
        UserError: labels are given.
    """
    if labels is not None:
        check_trains(getattr(selector, "name", type(selector).__name__), getattr(selector, "trains", True))


def check_generate(model: nn.Module, arguments: dict[str, Any], any_cache: bool = False) -> None:
    """Refuse generation settings that can't be right with tokens removed.

    Args:
        model: the model that generates.
        arguments: the keyword arguments of `generate`; unset ones come from its `generation_config`, or the
            model's.
        any_cache: nothing is removed within the decoder, so any cache can hold what is there.

    Raises:
        UserError: with what to use instead.
    """
    config = arguments.get("generation_config") or getattr(model, "generation_config", None)

    def setting(name: str) -> Any:
        return arguments[name] if name in arguments else getattr(config, name, None)

    for name in ASSISTED:
        if setting(name):
            raise UserError(
                f"Assisted decoding ({name}) rolls the cache back by whole tokens, which layers of different "
                "lengths don't allow: use greedy, sampling or beam search."
            )
    if setting("use_cache") is False:
        raise UserError(
            "use_cache=False would choose tokens again at every step: use use_cache=True, the default."
        )
    if not any_cache and setting("cache_implementation") not in (None, "dynamic", "offloaded"):
        raise UserError(
            f"cache_implementation={setting('cache_implementation')!r} can't hold layers of different "
            "lengths: use 'dynamic', the default."
        )
    if setting("prefill_chunk_size"):
        raise UserError(
            "prefill_chunk_size splits the prompt that is to be ranked as a whole: leave it unset."
        )


def check_expansion(model: nn.Module, arguments: dict[str, Any], image: Tensor | None) -> None:
    """Refuse to repeat rows of several images where this transformers gives them each other's pictures.

    There `generate` repeats every picture for the beams of its row, not the row's pictures in turn: right
    only where each row has one.

    Args:
        model: the model that generates.
        arguments: the keyword arguments of `generate`.
        image: [b, n] bool, true on image tokens, or None where they can't be found.

    Raises:
        UserError: beams, or several sequences a prompt, of rows that don't have one image each.
    """
    if hasattr(model, "_expand_multimodal_outputs") or arguments.get("pixel_values") is None or image is None:
        return
    config = arguments.get("generation_config") or getattr(model, "generation_config", None)
    for name in ("num_beams", "num_return_sequences"):
        value = arguments.get(name, getattr(config, name, None)) or 1
        one_each = len(arguments["pixel_values"]) == len(image) and bool(image.any(1).all())
        if value > 1 and not one_each:
            raise UserError(
                f"{name}={value} mixes up the images of prompts that don't have one each, in this version of "
                f"transformers: use {name}=1, prompts with one image, or transformers 5.18 or newer."
            )
