"""LLaVA-1.5: CLIP at one square of the image, a two-layer projector, and Vicuna."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family import ImageShape, MultimodalFamily, TokenLayout, VisionSizes
from pdrop_eval.models.pictures.token_grid import Geometry
from pdrop_eval.models.towers.encoded import Places
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor

VICUNA_7B: dict[str, Any] = {}  # what transformers takes where a config says nothing else
VICUNA_13B: dict[str, Any] = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
}


class Llava(MultimodalFamily):
    """LLaVA-1.5 in transformers' own format; LLaVA-NeXT shares most of it."""

    name = "llava"
    model_class = "LlavaForConditionalGeneration"
    text_types: ClassVar[tuple[str, ...]] = ("llama", "mistral")
    unshared = ""
    architecture = "llava-1.5"
    display_name = "LLaVA-1.5"
    lmms_name = "llava_hf"
    vision_types: ClassVar[tuple[str, ...]] = ("clip_vision_model", "siglip_vision_model")
    pads_images = True
    parameter_parts: ClassVar = {
        "vision": ("model.vision_tower.",),
        "projector": ("model.multi_modal_projector.", "model.image_newline"),
        "decoder": ("model.language_model.", "lm_head."),
    }
    published: ClassVar = {"7b": VICUNA_7B, "13b": VICUNA_13B}
    published_prefix = "llava_1_5"

    def check_tower(self, pretrained: str, config: Mapping[str, Any]) -> None:
        """Refuse a tower that isn't known, and a SigLIP whose first patch is taken for a class token.

        Raises:
            UserError: with the field of config.json.
        """
        super().check_tower(pretrained, config)
        kind = (config.get("vision_config") or {}).get("model_type", self.vision_types[0])
        taken = config.get("vision_feature_select_strategy", "default")
        if taken == "default" and not _has_class_token(kind):
            raise UserError(
                f"The checkpoint {pretrained} has a vision tower of type {kind!r}, which has no class token, "
                "but vision_feature_select_strategy='default' in its config.json leaves out the first token, "
                "here a patch of the image. Set it to 'full' if the model was trained so."
            )

    def processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return the patch size, the class token and whether it is left out again."""
        return _text_settings(config)

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the image tokens of one tile: 576 of CLIP-L at 336 pixels."""
        return _tile_tokens(config)

    def fixed_image_tokens(self, config: Any) -> int | None:
        """Return the tokens of the one tile."""
        return _tile_tokens(config)

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the vision tower and the projector."""
        vision = config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        taken = config.vision_feature_layer
        taken = [taken] if isinstance(taken, int) else list(taken)
        depth = vision.num_hidden_layers
        return VisionSizes(
            vision_layers=depth,
            # The place counts hidden states from the embeddings, of which there is one more than layers.
            vision_used=max(place % (depth + 1) for place in taken),
            vision_d=vision.hidden_size,
            vision_m=vision.intermediate_size,
            vision_heads=vision.num_attention_heads,
            vision_tokens=patches + _class_tokens(vision),
            patches=patches,
            tile_tokens=_tile_tokens(config),
            patch_inputs=vision.num_channels * vision.patch_size**2,
            feature_width=vision.hidden_size * len(taken),
        )

    def class_tokens(self, config: Any) -> int:
        """CLIP has a class token, SigLIP none."""
        return _class_tokens(config.vision_config)

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return the patches of each image row by row; a class token that is taken too comes first."""
        import torch

        rows = _side(model.config)
        patches = torch.arange(_tile_tokens(model.config)) - (_tile_tokens(model.config) - rows * rows)
        sources = torch.stack((torch.zeros_like(patches), patches), dim=1)
        return [Places(sources, (rows, rows))] * len(pixels["pixel_values"])

    def largest_image(self, config: Any) -> ImageShape:
        """Return the one tile."""
        side = config.vision_config.image_size
        return ImageShape((side, side), 1, _tile_tokens(config))

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images, 3, side, side]."""
        import torch

        vision = config.vision_config
        sizes = (images, vision.num_channels, vision.image_size, vision.image_size)
        return {"pixel_values": torch.randn(sizes, generator=random)}

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return the layout of one square, or None where the processor cuts another one than the middle."""
        vision, cut = config.vision_config, bool(image_processor.do_center_crop)
        if cut and (image_processor.size or {}).get("shortest_edge") != vision.image_size:
            return None
        return Geometry(vision.image_size, vision.patch_size, cut=cut, pad=pad, downsample=downsample or 1)

    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return "pad", "centre_crop" or "resize".

        A checkpoint may bring either processor: llava-hf's crops the centre, the original code pads.
        """
        if pad or processor_config.get("do_pad"):
            return "pad"
        return "centre_crop" if processor_config.get("do_center_crop", True) else "resize"

    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config; features are taken before the last layer, without the class token."""
        from transformers import CONFIG_MAPPING

        config_class: Any = CONFIG_MAPPING[self.name]
        return config_class(
            text_config=text,
            vision_config=vision,
            image_token_index=image_token,
            vision_feature_layer=-2,
            vision_feature_select_strategy="default",
            projector_hidden_act="gelu",
            tie_word_embeddings=text.tie_word_embeddings,
            image_seq_length=(vision.image_size // vision.patch_size) ** 2,
            **self._tiling(vision, anyres),
        )

    def _tiling(self, vision: Any, anyres: Any) -> dict[str, Any]:
        return {}

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the config of llava-hf's conversions: CLIP-L at 336 pixels, 576 image tokens a tile."""
        from transformers import CONFIG_MAPPING, CLIPVisionConfig

        sizes = {"model_type": "llama", "vocab_size": 32064, "rope_theta": 1e4, **self.published[size]}
        image_token = sizes.pop("image_token", 32000)
        rope = {"rope_type": "default", "rope_theta": sizes.pop("rope_theta")}
        text_class: Any = CONFIG_MAPPING[sizes.pop("model_type")]
        text = text_class(
            max_position_embeddings=4096,
            rms_norm_eps=1e-5,
            rope_parameters=rope,
            tie_word_embeddings=False,
            **sizes,
        )
        vision = CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=24,
            num_attention_heads=16,
            image_size=336,
            patch_size=14,
            projection_dim=768,
        )
        return self.make_config(text, vision, image_token, anyres)

    def make_processor(self, config: Any, tokenizer: Any, images: Mapping[str, Any], **settings: Any) -> Any:
        """Return a processor that pads an image to a square of the mean colour, as LLaVA's own code does."""
        from transformers import LlavaImageProcessor, LlavaProcessor

        processor = LlavaImageProcessor(**_image_settings(config, images), do_pad=True)
        return LlavaProcessor(processor, tokenizer, **_text_settings(config), **settings)


def _tile_tokens(config: Any) -> int:
    """Return the image tokens of one tile."""
    vision = config.vision_config
    patches = (vision.image_size // vision.patch_size) ** 2
    return int(patches + (_class_tokens(vision) if config.vision_feature_select_strategy == "full" else 0))


def _side(config: Any) -> int:
    """Return the rows of patches of a tile."""
    return int(config.vision_config.image_size // config.vision_config.patch_size)


def _class_tokens(vision: Any) -> int:
    return int(_has_class_token(vision.model_type))


def _has_class_token(kind: str) -> bool:
    """CLIP has a class token, SigLIP none."""
    return kind.startswith("clip")


def _image_settings(config: Any, images: Mapping[str, Any]) -> dict[str, Any]:
    side = config.vision_config.image_size
    return {
        "size": {"shortest_edge": side},
        "crop_size": {"height": side, "width": side},
        **{key: images[key] for key in ("image_mean", "image_std", "resample") if key in images},
    }


def _text_settings(config: Any) -> dict[str, Any]:
    return {
        "patch_size": config.vision_config.patch_size,
        "vision_feature_select_strategy": config.vision_feature_select_strategy,
        "num_additional_image_tokens": _class_tokens(config.vision_config),  # before the strategy's choice
    }


FAMILY = Llava()
