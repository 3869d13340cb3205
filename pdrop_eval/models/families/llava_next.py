"""LLaVA-NeXT (1.6): an overview of the image, then the image in a grid of tiles with its shape kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.families.llava import (
    VICUNA_7B,
    VICUNA_13B,
    Llava,
    _image_settings,
    _side,
    _text_settings,
)
from pdrop_eval.models.family import ImageShape, TokenLayout
from pdrop_eval.models.pictures.tiling import check_grids, patches, pinpoints, tile_size
from pdrop_eval.models.pictures.token_grid import Geometry
from pdrop_eval.models.towers.encoded import Places

if TYPE_CHECKING:
    from torch import Generator, Tensor

# Mistral 7B is v0.2, without a window.
MISTRAL_7B = {"model_type": "mistral", "rope_theta": 1e6, "sliding_window": None}
YI_34B = {
    "vocab_size": 64064,
    "hidden_size": 7168,
    "intermediate_size": 20480,
    "num_hidden_layers": 60,
    "num_attention_heads": 56,
    "num_key_value_heads": 8,
    "rope_theta": 5e6,
    "image_token": 64000,
}


class LlavaNext(Llava):
    """LLaVA-NeXT in transformers' own format. Each row of tokens ends with a newline token."""

    name = "llava_next"
    model_class = "LlavaNextForConditionalGeneration"
    unshared = ""
    architecture = "llava-next"
    display_name = "LLaVA-NeXT"
    pads_images = False
    processor_inputs = ("pixel_values", "image_sizes")
    published: ClassVar = {"7b": VICUNA_7B, "mistral_7b": MISTRAL_7B, "13b": VICUNA_13B, "34b": YI_34B}
    published_prefix = "llava_next"

    def check_tower(self, pretrained: str, config: Mapping[str, Any]) -> None:
        """Refuse a tower that isn't known, and grids that are none."""
        super().check_tower(pretrained, config)
        if "image_grid_pinpoints" in config:
            check_grids(pretrained, "image_grid_pinpoints", config["image_grid_pinpoints"])

    def image_processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return the grids of tiles."""
        return {"image_grid_pinpoints": [list(grid) for grid in config.image_grid_pinpoints]}

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the tokens of the largest grid and the overview, without newlines and padding effects.

        The number depends on the image; 2,880 for 4 tiles of 336 pixels, as in the paper's Table 5.
        """
        return super().nominal_image_tokens(config) * self.patches(config)

    def fixed_image_tokens(self, config: Any) -> int | None:
        """Return None: the tokens depend on the image's size."""
        return None

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return what the model's own packing makes of the patches' numbers, newlines being -1."""
        import torch
        from transformers.models.llava_next.modeling_llava_next import (
            get_anyres_image_grid_shape,
            image_size_to_num_patches,
        )

        config, side = model.config, _side(model.config)
        patches, found = side * side, []
        tiling = config.image_grid_pinpoints, config.vision_config.image_size
        for size in torch.as_tensor(pixels["image_sizes"]).cpu():
            tiles = image_size_to_num_patches(size, *tiling)
            # Of four bytes: exact up to 2^24 patches.
            numbers = torch.arange(tiles * patches, dtype=torch.float32).view(tiles, patches, 1)
            (packed,), _ = model.pack_image_features(
                [numbers], size[None], config.vision_feature_select_strategy, torch.tensor([-1.0])
            )
            numbers = packed[:, 0].long()
            tile = torch.where(numbers < 0, -1, numbers // patches)
            sources = torch.stack((tile, torch.where(numbers < 0, -1, numbers % patches)), dim=1)
            grid = None if tiles == 1 else get_anyres_image_grid_shape(size, *tiling)
            height, width = size.tolist()
            found.append(Places(sources, (side, side), tiles, grid, (height, width)))
        return found

    def newline(self, model: Any) -> Tensor | None:
        """Return the model's own."""
        found: Tensor = model.model.image_newline
        return found

    def largest_image(self, config: Any) -> ImageShape:
        """Return the image that fills the largest grid, with a newline token at the end of each row."""
        vision = config.vision_config
        side, rows = vision.image_size, vision.image_size // vision.patch_size
        height, width = max(config.image_grid_pinpoints, key=lambda point: point[0] * point[1])
        tiles = 1 + height * width // side**2
        return ImageShape((height, width), tiles, self.nominal_image_tokens(config) + height // side * rows)

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images, tiles, 3, side, side] and image_sizes [images, 2]."""
        import torch

        vision = config.vision_config
        sizes = (images, shape.tiles, vision.num_channels, vision.image_size, vision.image_size)
        pixels = torch.randn(sizes, generator=random)
        return {"pixel_values": pixels, "image_sizes": torch.tensor([list(shape.size)] * images)}

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return the layout of the overview and the tiles."""
        vision = config.vision_config
        grids = tuple((int(high), int(wide)) for high, wide in image_processor.image_grid_pinpoints)
        return Geometry(vision.image_size, vision.patch_size, grids, downsample=downsample or 1)

    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return "tiles"."""
        return "tiles"

    def resolutions(self, config: Any) -> list[list[int]] | None:
        """Return the resolutions [height, width] of the grids."""
        return [list(resolution) for resolution in config.image_grid_pinpoints]

    def patches(self, config: Any) -> int:
        """Return the tiles of the largest grid and the overview: 5 for p5, 9 for p9."""
        return patches(config.image_grid_pinpoints, config.vision_config.image_size)

    def default_patches(self) -> int:
        """Return those of p5."""
        return 5

    def check_anyres(self, anyres: Any, config: Mapping[str, Any]) -> None:
        """Check `model.anyres` against a checkpoint's config.json.

        Raises:
            UserError: grids that can't be.
        """
        pinpoints(anyres, tile_size(dict(config)))

    def set_anyres(self, anyres: Any, config: Any, image_processor: Any = None) -> None:
        """Put the grids into the config, which puts features together, and the processor, which cuts."""
        resolutions = pinpoints(anyres, config.vision_config.image_size)
        for holder in (config, image_processor):
            if resolutions is not None and holder is not None:
                holder.image_grid_pinpoints = resolutions

    def _tiling(self, vision: Any, anyres: Any) -> dict[str, Any]:
        return {"image_grid_pinpoints": pinpoints("p5" if anyres is None else anyres, vision.image_size)}

    def make_processor(self, config: Any, tokenizer: Any, images: Mapping[str, Any], **settings: Any) -> Any:
        """Return a processor that cuts an image into the config's grids."""
        from transformers import LlavaNextImageProcessor, LlavaNextProcessor

        grids = config.image_grid_pinpoints
        processor = LlavaNextImageProcessor(**_image_settings(config, images), image_grid_pinpoints=grids)
        return LlavaNextProcessor(processor, tokenizer, **_text_settings(config), **settings)


FAMILY = LlavaNext()
