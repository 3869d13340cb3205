"""The sizes of a model that its cost depends on, read from a config. Needs no torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pdrop_eval.models import families
from pdrop_eval.models.family import VisionSizes
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Decoder:
    """A text model, in the symbols of PyramidDrop's Eq. 4.

    Attributes:
        layers: the depth.
        d: width.
        m: width of the gated feed-forward.
        q: width of the queries.
        kv: width of the keys, and of the values (narrower in grouped-query models).
        vocabulary: tokens that the output head tells apart.
        head: width of one head.
    """

    layers: int
    d: int
    m: int
    q: int
    kv: int
    vocabulary: int
    head: int = 0

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
class Architecture(VisionSizes, Decoder):
    """A whole model; of a text model alone, all that is the vision tower's is 0."""

    def vision(self, image_tokens: int, tiles: int) -> int:
        """Return the multiply-adds of the tower on so many tiles, all its layers, and the patch embedding.

        Where a tile is a picture of any size, the tokens are shared out evenly; windows count as whole ones.
        """
        if not tiles:
            return 0
        n, patches, d = self.vision_tokens, self.patches, self.vision_d
        if not self.tile_tokens:
            n = patches = image_tokens * self.vision_merge // tiles
        linear = n * (4 * d * d + self.vision_maps * d * self.vision_m)
        full = self.vision_layers if not self.vision_window else self.vision_full
        pairs = full * n * n + (self.vision_layers - full) * n * min(n, self.vision_window)
        more = self.more_projectors * self.projection(image_tokens)
        layers = self.vision_layers * linear + 2 * pairs * d
        return tiles * (layers + patches * self.patch_inputs * d) + more

    def projection(self, tokens: int) -> int:
        """Return the multiply-adds of the projector on so many tokens."""
        inner = self.d if self.projector_m is None else self.projector_m
        first = self.feature_width * inner if inner else self.feature_width * self.d
        return tokens * (first + inner * self.d)

    def tiles(self, image_tokens: int) -> int:
        """Return the tiles that fit so many image tokens best; 0 for a text model."""
        if not image_tokens or not self.vision_layers:
            return 0
        if not self.tile_tokens:  # a picture of any size
            return 1
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
        head=head,
    )


def architecture_of(config: Any) -> Architecture:
    """Read the sizes of a vision-language model or of a text model alone.

    Args:
        config: a transformers config, a checkpoint's config.json as a dict, or an `Architecture` (returned).

    Raises:
        UserError: another kind of model.
    """
    if isinstance(config, Architecture):
        return config
    config = _config(config)
    sizes = asdict(decoder_of(config))
    if getattr(config, "vision_config", None) is None:
        return Architecture(**sizes)
    family = families.of_config(config)
    if family is None:
        raise _unknown(config)
    return Architecture(**sizes, **asdict(family.vision_sizes(config)))


def nominal_image_tokens(config: Any) -> int:
    """Return the image tokens of one image by the config: what the theoretical figures stand on.

    Raises:
        UserError: a model that takes no images.
    """
    config = _config(config)
    if not families.is_multimodal(families.type_of(config)):
        raise UserError(
            f"A model of type {families.type_of(config)!r} doesn't say how many image tokens an image has: "
            "give image_tokens."
        )
    return families.multimodal_of(config).nominal_image_tokens(config)


def _config(config: Any) -> Any:
    """Return the transformers config of a config.json, transformers' own values for what it leaves out."""
    if not isinstance(config, Mapping):
        return config
    from transformers import CONFIG_MAPPING

    if families.of_config(config) is None:
        raise _unknown(config)
    return CONFIG_MAPPING[families.type_of(config)].from_dict(dict(config))


def _unknown(config: Any) -> UserError:
    known = " or ".join(f"{family.display_name} ({family.name})" for family in families.all_multimodal())
    return UserError(
        f"The cost of a model of type {families.type_of(config)!r} can't be counted: give the config of a "
        f"{known} model, or of a text model."
    )
