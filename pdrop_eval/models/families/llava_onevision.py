"""LLaVA-OneVision: SigLIP, tiles as LLaVA-NeXT's in up to 36 grids, shrunk beyond nine tiles, and Qwen2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.families.llava import _side, _tile_tokens
from pdrop_eval.models.families.llava_next import LlavaNext
from pdrop_eval.models.families.qwen2_vl import QWEN2_7B
from pdrop_eval.models.family import NOMINAL_SIZE, ImageShape, MultimodalFamily, TokenLayout
from pdrop_eval.models.pictures.token_grid import Geometry
from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places

if TYPE_CHECKING:
    from torch import Generator, Tensor

QWEN2_0_5B = {
    "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "tie": True,
}  # fmt: skip
IMAGE_TOKEN = 151646


class LlavaOnevision(LlavaNext):
    """LLaVA-OneVision in transformers' own format.

    Images of a sample count as single ones, each with its own grid of tiles, as lmms-eval's wrapper passes
    them. What exceeds nine tiles is made smaller (anyres_max_9), which mixes features of neighbours.
    """

    name = "llava_onevision"
    model_class = "LlavaOnevisionForConditionalGeneration"
    unshared = ""
    text_types = ("qwen2",)
    vision_types = ("siglip_vision_model",)
    reduced_by = ("uniform", "random", "divprune")
    architecture = "llava-onevision"
    display_name = "LLaVA-OneVision"
    parameter_parts: ClassVar = {}
    published: ClassVar = {"0.5b": QWEN2_0_5B, "7b": QWEN2_7B}
    published_prefix = "llava_onevision"

    def check_tower(self, pretrained: str, config: Mapping[str, Any]) -> None:
        """Refuse a tower that isn't known. All patches are taken where config.json says nothing."""
        strategy = {"vision_feature_select_strategy": "full"}
        super().check_tower(pretrained, {**strategy, **config})

    def processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return the tokens of a tile, and the most tiles."""
        return {
            "num_image_tokens": _tile_tokens(config),
            "vision_feature_select_strategy": config.vision_feature_select_strategy,
            "vision_aspect_ratio": config.vision_aspect_ratio,
        }

    def geometry(self, config: Any, downsample: int = 1) -> Geometry:
        """Return what becomes of an image's shape."""
        vision = config.vision_config
        grids = tuple((int(high), int(wide)) for high, wide in config.image_grid_pinpoints)
        most = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        return Geometry(vision.image_size, vision.patch_size, grids, downsample=downsample, most_tiles=most)

    def shape_of(self, config: Any, height: int, width: int) -> ImageShape:
        """Return an image as the model sees it."""
        geometry = self.geometry(config)
        tokens = sum(grid.tokens for grid in geometry.grids([(width, height)]))
        return ImageShape((height, width), geometry.tiles(width, height), tokens)

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the tokens of a picture of `NOMINAL_SIZE`: every size has its own."""
        return self.shape_of(config, *NOMINAL_SIZE).tokens

    def largest_image(self, config: Any) -> ImageShape:
        """Return a square that fills the nine tiles, or the largest grid there is."""
        side, most = config.vision_config.image_size, self.geometry(config).most_tiles
        assert most is not None
        fitting = [p for p in config.image_grid_pinpoints if p[0] * p[1] <= most * side**2]
        high, wide = max(
            fitting or config.image_grid_pinpoints, key=lambda p: (p[0] * p[1], -abs(p[0] - p[1]))
        )
        return self.shape_of(config, high, wide)

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return where tokens come from: the patches of the overview; those of tiles are of none."""
        import torch

        config, found = model.config, []
        geometry, side = self.geometry(config), _side(config)
        for high, wide in torch.as_tensor(pixels["image_sizes"]).tolist():
            _, tiles = geometry.grids([(wide, high)])
            patches = torch.arange(side * side)
            first = torch.stack((torch.zeros_like(patches), patches), dim=1)
            rest = torch.full((tiles.tokens, 2), -1)
            seen = geometry.tiles(wide, high)
            found.append(Places(torch.cat((first, rest)), (side, side), seen, None, (high, wide)))
        return found

    def encode_images(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, ids: Tensor | None = None
    ) -> list[EncodedImage]:
        """Return each image with its tokens: what of the tower made them isn't asked for."""
        packed = list(model.get_image_features(**pixels, return_dict=True).pooler_output)
        return [
            EncodedImage(tokens, place, needs)
            for tokens, place in zip(packed, self.places(model, pixels), strict=True)
        ]

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images, tiles, 3, side, side] and image_sizes [images, 2]."""
        return super().random_pixels(config, shape, images, random)

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return the layout of the overview and the tiles."""
        grids = tuple((int(high), int(wide)) for high, wide in image_processor.image_grid_pinpoints)
        return replace(self.geometry(config, downsample or 1), resolutions=grids)

    def default_patches(self) -> int:
        """Return those of the published checkpoints: the overview and 36 tiles."""
        return 37

    def check_anyres(self, anyres: Any, config: Mapping[str, Any]) -> None:
        """Refuse `model.anyres`: the grids are the checkpoint's."""
        MultimodalFamily.check_anyres(self, anyres, config)

    def set_anyres(self, anyres: Any, config: Any, image_processor: Any = None) -> None:
        """Leave the grids as they are."""

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Make grids of as many tiles as before, of the tile's present size."""
        grids, tile = config["image_grid_pinpoints"], config["vision_config"]["image_size"]
        before = min(min(grid) for grid in grids)
        config["image_grid_pinpoints"] = [[side // before * tile for side in grid] for grid in grids]

    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config; features are those of the last layer, all patches."""
        from transformers import CONFIG_MAPPING

        config_class: Any = CONFIG_MAPPING[self.name]
        return config_class(
            text_config=text,
            vision_config=vision,
            image_token_index=image_token,
            video_token_index=image_token + 1,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            tie_word_embeddings=bool(getattr(text, "tie_word_embeddings", False)),
            **({} if anyres is None else {"image_grid_pinpoints": [list(grid) for grid in anyres]}),
        )

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the config of llava-hf's conversions: SigLIP at 384 pixels without its last layer."""
        from transformers import CONFIG_MAPPING, SiglipVisionConfig

        sizes = {"rms_norm_eps": 1e-6, **self.published[size]}
        tie = sizes.pop("tie", False)
        text_class: Any = CONFIG_MAPPING["qwen2"]
        text = text_class(
            max_position_embeddings=32768,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            tie_word_embeddings=tie,
            **{**sizes, "vocab_size": 152000},
        )
        vision = SiglipVisionConfig(
            hidden_size=1152,
            intermediate_size=4304,
            num_hidden_layers=26,
            num_attention_heads=16,
            image_size=384,
            patch_size=14,
            vision_use_head=False,
        )
        return self.make_config(text, vision, IMAGE_TOKEN)

    def make_processor(self, config: Any, tokenizer: Any, images: Mapping[str, Any], **settings: Any) -> Any:
        """Raise NotImplementedError: the family isn't trained here."""
        return MultimodalFamily.make_processor(self, config, tokenizer, images, **settings)


FAMILY = LlavaOnevision()
