"""The sizes of a model that its cost depends on, read from a config. Needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pdrop_eval.models import tiling
from pdrop_eval.utils.errors import UserError

_KINDS = ("llava", "llava_next")


@dataclass(frozen=True)
class Decoder:
    """A text model: d wide, m in the gated feed-forward, as in PyramidDrop's Eq. 4.

    q, kv: widths of the queries, and of the keys and of the values (narrower in grouped-query models).
    """

    layers: int
    d: int
    m: int
    q: int
    kv: int
    vocabulary: int

    def linear(self, tokens: int, feed_forward: int = 3) -> int:
        """Return the multiply-adds of a layer's linear maps: q, k, v, o and `feed_forward` ones of d·m."""
        return tokens * (2 * self.d * self.q + 2 * self.d * self.kv + feed_forward * self.d * self.m)

    def attention(self, queries: int, keys: int) -> int:
        """Return the multiply-adds of q·k and of the weighted sum of v, all heads, no pair left out."""
        return 2 * queries * keys * self.q

    def layer(self, tokens: int, feed_forward: int = 3) -> int:
        """Return the multiply-adds of one layer's prefill: 4nd^2 + 2n^2d + 3ndm where q = kv = d."""
        return self.linear(tokens, feed_forward) + self.attention(tokens, tokens)


@dataclass(frozen=True)
class Architecture(Decoder):
    """A LLaVA model; of a text model alone, all that is the vision tower's is 0.

    vision_used: vision layers up to the one whose output is taken. vision_tokens: of a tile, its patches
    and a class token; tile_tokens: image tokens that a tile becomes. patch_inputs: values of a patch.
    feature_width: enters the projector.
    """

    vision_layers: int = 0
    vision_used: int = 0
    vision_d: int = 0
    vision_m: int = 0
    vision_tokens: int = 0
    patches: int = 0
    tile_tokens: int = 0
    patch_inputs: int = 0
    feature_width: int = 0

    def tiles(self, image_tokens: int) -> int:
        """Return the tiles that fit so many image tokens best; 0 for a text model."""
        if not image_tokens or not self.tile_tokens:
            return 0
        return max(1, round(image_tokens / self.tile_tokens))


def decoder_of(config: Any) -> Decoder:
    """Read the text model's sizes from a transformers config, a LLaVA's config.json or an `Architecture`."""
    if isinstance(config, Decoder):
        return config
    text = _config(config).get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kv_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return Decoder(
        layers=text.num_hidden_layers,
        d=text.hidden_size,
        m=text.intermediate_size,
        q=text.num_attention_heads * head,
        kv=kv_heads * head,
        vocabulary=text.vocab_size,
    )


def architecture_of(config: Any) -> Architecture:
    """Read the sizes of LLaVA-1.5, LLaVA-NeXT or a text model alone.

    config: a transformers config, a checkpoint's config.json as a dict, or an `Architecture` (returned).

    Raises:
        UserError: another kind of model.
    """
    if isinstance(config, Architecture):
        return config
    config = _config(config)
    decoder = decoder_of(config)
    text = {field.name: getattr(decoder, field.name) for field in fields(Decoder)}
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return Architecture(**text)
    if getattr(config, "vision_feature_layer", None) is None:
        raise _unknown(getattr(config, "model_type", None))
    patches = (vision.image_size // vision.patch_size) ** 2
    extra = _class_tokens(vision)
    taken = config.vision_feature_layer
    taken = [taken] if isinstance(taken, int) else list(taken)
    depth = vision.num_hidden_layers
    return Architecture(
        **text,
        vision_layers=depth,
        # The place counts hidden states from the embeddings, of which there is one more than layers.
        vision_used=max(place % (depth + 1) for place in taken),
        vision_d=vision.hidden_size,
        vision_m=vision.intermediate_size,
        vision_tokens=patches + extra,
        patches=patches,
        tile_tokens=_tile_tokens(config),
        patch_inputs=vision.num_channels * vision.patch_size**2,
        feature_width=vision.hidden_size * len(taken),
    )


def nominal_image_tokens(config: Any) -> int:
    """Return the image tokens of one image by the config: what the theoretical figures stand on.

    LLaVA-NeXT's number depends on the image; here it is the largest grid without newline and padding effects
    (2,880 for 4 tiles and the overview of 336 pixels, as in the paper's Table 5).

    Raises:
        UserError: a model that takes no images.
    """
    config = _config(config)
    if getattr(config, "vision_config", None) is None:
        raise UserError(
            f"A model of type {getattr(config, 'model_type', None)!r} doesn't say how many image tokens an "
            "image has: give image_tokens."
        )
    if config.model_type != "llava_next":
        return _tile_tokens(config)
    return _tile_tokens(config) * tiling.patches(config.image_grid_pinpoints, config.vision_config.image_size)


def _tile_tokens(config: Any) -> int:
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return patches + (_class_tokens(vision) if config.vision_feature_select_strategy == "full" else 0)


def _class_tokens(vision: Any) -> int:
    """CLIP has a class token, SigLIP none."""
    return 1 if vision.model_type.startswith("clip") else 0


def _config(config: Any) -> Any:
    """Return the transformers config of a config.json, transformers' own values for what it leaves out."""
    if not isinstance(config, Mapping):
        return config
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if kind not in _KINDS:
        raise _unknown(kind)
    return CONFIG_MAPPING[kind].from_dict(dict(config))


def _unknown(kind: Any) -> UserError:
    return UserError(
        f"The cost of a model of type {kind!r} can't be counted: give the config of a LLaVA-1.5 (llava) or "
        "LLaVA-NeXT (llava_next) model, or of a text model."
    )
