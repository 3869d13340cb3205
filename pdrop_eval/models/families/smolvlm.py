"""SmolVLM: SigLIP on tiles and an overview between markers, and a Llama."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family import ImageShape, MultimodalFamily, TokenLayout, VisionSizes

if TYPE_CHECKING:
    from torch import Generator, Tensor

_SO400M = {
    "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
    "image_size": 384, "patch_size": 14,
}  # fmt: skip
_BASE = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 512, "patch_size": 16,
}  # fmt: skip
SMOLLM_1_7B = {
    "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vision": _SO400M, "scale_factor": 3,
}  # fmt: skip
SMOLLM_360M = {
    "hidden_size": 960, "intermediate_size": 2560, "num_hidden_layers": 32, "num_attention_heads": 15,
    "num_key_value_heads": 5, "vision": _BASE, "scale_factor": 4,
}  # fmt: skip
SMOLLM_135M = {
    "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
    "num_key_value_heads": 3, "vision": _BASE, "scale_factor": 4,
}  # fmt: skip
IMAGE_TOKEN = 49190


class SmolVLM(MultimodalFamily):
    """SmolVLM in transformers' own format.

    Each tile has its own run of image tokens, with the markers of its row and column as text before it; the
    overview comes last.
    """

    name = "smolvlm"
    model_class = "SmolVLMForConditionalGeneration"
    text_types = ("llama",)
    unshared = ""
    vision_types = ("smolvlm_vision",)
    encodes_together = False
    unreduced = "an image is several runs of tokens between markers, one for each tile"
    architecture = "smolvlm"
    display_name = "SmolVLM"
    processor_inputs = ("pixel_values", "pixel_attention_mask")
    unevaluated = (
        "the text between its tiles names their rows and columns, which the prompts here don't build; its "
        "processor also needs a package that isn't among the tested ones (pip install num2words)"
    )
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "256m": SMOLLM_135M, "500m": SMOLLM_360M, "2.2b": SMOLLM_1_7B,
    }  # fmt: skip
    published_prefix = "smolvlm2"

    def vision_tower(self, model: Any) -> Any:
        """Return the vision tower."""
        return model.model.vision_model

    def projector(self, model: Any) -> Any:
        """Return the connector, which joins patches and makes tokens of them."""
        return model.model.connector

    def decoder(self, model: Any) -> Any:
        """Return the text model."""
        return model.model.text_model

    def side(self, config: Any) -> int:
        """Return the rows of tokens of a tile."""
        vision = config.vision_config
        return int(vision.image_size // vision.patch_size // config.scale_factor)

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the tokens of a picture of 3x4 tiles and its overview."""
        return 13 * self.side(config) ** 2

    def largest_image(self, config: Any) -> ImageShape:
        """Return the picture of 3x4 tiles and its overview."""
        tile = config.vision_config.image_size
        return ImageShape((3 * tile, 4 * tile), 13, self.nominal_image_tokens(config))

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the vision tower and the connector."""
        vision = config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        return VisionSizes(
            vision_layers=vision.num_hidden_layers,
            vision_used=vision.num_hidden_layers,
            vision_d=vision.hidden_size,
            vision_m=vision.intermediate_size,
            vision_heads=vision.num_attention_heads,
            vision_tokens=patches,
            patches=patches,
            tile_tokens=self.side(config) ** 2,
            patch_inputs=vision.num_channels * vision.patch_size**2,
            vision_merge=config.scale_factor**2,
            projector_m=0,
            feature_width=vision.hidden_size * config.scale_factor**2,
        )

    def image_lengths(self, model: Any, inputs: Mapping[str, Any]) -> Callable[[], Sequence[int] | None]:
        """Return what gives None: an image is several runs of tokens, as many as its tiles."""
        return lambda: None

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images, tiles, 3, side, side] and their mask, an image a row."""
        import torch

        vision = config.vision_config
        sizes = (images, shape.tiles, vision.num_channels, vision.image_size, vision.image_size)
        mask = torch.ones(images, shape.tiles, vision.image_size, vision.image_size, dtype=torch.long)
        return {"pixel_values": torch.randn(sizes, generator=random), "pixel_attention_mask": mask}

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return None: where its tokens lie isn't worked out here."""
        return None

    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return "tiles"."""
        return "tiles"

    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config."""
        from transformers import CONFIG_MAPPING

        config_class: Any = CONFIG_MAPPING[self.name]
        tie = bool(getattr(text, "tie_word_embeddings", False))
        return config_class(
            text_config=text, vision_config=vision, image_token_id=image_token, tie_word_embeddings=tie
        )

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the config of a published size."""
        from transformers import CONFIG_MAPPING

        sizes = dict(self.published[size])
        vision, scale = dict(sizes.pop("vision")), sizes.pop("scale_factor")
        text_class: Any = CONFIG_MAPPING["llama"]
        text = text_class(vocab_size=49280, max_position_embeddings=8192, **sizes)
        made = self.make_config(text, CONFIG_MAPPING[self.vision_types[0]](**vision), IMAGE_TOKEN)
        made.scale_factor = scale
        return made


FAMILY = SmolVLM()
