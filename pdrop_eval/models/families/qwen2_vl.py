"""Qwen2-VL: pictures at their own resolution, four patches to a token, positions in 3-D (M-RoPE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family import NOMINAL_SIZE, ImageShape, MultimodalFamily, TokenLayout, VisionSizes
from pdrop_eval.models.pictures.image_bounds import ImageBounds, check_range
from pdrop_eval.models.pictures.native_size import MOST_STRETCHED, NativeLayout, resized
from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places

if TYPE_CHECKING:
    from torch import Generator, Tensor

QWEN2_1_5B = {
    "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie": True,
}  # fmt: skip
QWEN2_7B = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip
QWEN2_72B = {
    "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64,
    "num_key_value_heads": 8, "vocab_size": 152064,
}  # fmt: skip
IMAGE_TOKEN = 151655  # <|image_pad|>; <|video_pad|> is the next one


class Qwen2VL(MultimodalFamily):
    """Qwen2-VL in transformers' own format; Qwen2.5-VL and Qwen3-VL share most of it.

    A picture is resized to whole multiples of a token's side, within the processor's bounds, so the number of
    image tokens depends on its size. Position ids have three rows, of time, height and width; under
    `generate` a fourth comes first, the text's. They say where on a picture a token lies, so what is retained
    keeps its own.
    """

    name = "qwen2_vl"
    model_class = "Qwen2VLForConditionalGeneration"
    text_types: ClassVar[tuple[str, ...]] = ("qwen2_vl_text",)
    unshared = ""
    vision_types: ClassVar[tuple[str, ...]] = ("qwen2_vl_vision", "qwen2_vl")
    can_renumber = False
    lowest_transformers = "5.20"
    reduced_by = ("uniform", "random", "divprune", "visionzip", "vispruner")
    architecture = "qwen2-vl"
    display_name = "Qwen2-VL"
    lmms_name = "qwen2_vl"
    processor_inputs = ("pixel_values", "image_grid_thw")
    bounds = ("min_pixels", "max_pixels")
    size_names: ClassVar[Mapping[str, str]] = {
        "num_hidden_layers": "depth", "num_attention_heads": "num_heads", "hidden_size": "embed_dim",
    }  # fmt: skip
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "2b": QWEN2_1_5B, "7b": QWEN2_7B, "72b": QWEN2_72B,
    }  # fmt: skip
    published_prefix = "qwen2_vl"
    rope: ClassVar[Mapping[str, Any]] = {"rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    published_bounds: ClassVar[tuple[int, int]] = (56 * 56, 28 * 28 * 16384)  # of a picture, in pixels

    def rotary_positions(self, position_ids: Tensor) -> Tensor:
        """Return three rows of the position ids: the text's, if it is there, comes before them."""
        if position_ids.dim() == 2:
            return position_ids[None].expand(3, *position_ids.shape)
        return position_ids[-3:]

    def text_settings(self, config: Mapping[str, Any]) -> Any:
        """Return `text_config`, or the config itself where there is none, as published ones have it."""
        found = super().text_settings(config)
        return {k: v for k, v in config.items() if k != "model_type"} if found is None else found

    def encode_image(self, model: Any, pixels: Mapping[str, Tensor]) -> EncodedImage:
        """Return one picture with its grid, which its position ids follow from."""
        frames, rows, columns = pixels["image_grid_thw"][0].tolist()
        return EncodedImage(self.encode(model, pixels), grid=(frames, rows, columns))

    def position_ids(
        self, model: Any, ids: Tensor, mask: Tensor | None, images: Sequence[EncodedImage]
    ) -> Tensor:
        """Return [4, b, n]: the text's, which count the tokens, and those of time, height and width.

        As `get_rope_index` of the model: a picture of r rows and c columns at position p has
        (p, p + row, p + column), and what follows goes on at p + max(r, c).
        """
        from pdrop_eval.models.mrope import positions

        merge = model.config.vision_config.spatial_merge_size
        grids = [image.grid for image in images if image.grid is not None]
        return positions(ids, mask, model.config.image_token_id, grids, merge)

    def generate_inputs(
        self, model: Any, ids: Tensor, images: Sequence[EncodedImage], position_ids: Tensor | None = None
    ) -> dict[str, Any]:
        """Return ids, embeddings and position ids; the model learns how far these are ahead of the count.

        A later forward that is given none goes on from there, as after the model's own forward.
        """
        if position_ids is not None:
            ahead = position_ids[1:].amax(dim=(0, 2)) - position_ids[0].amax(dim=1)
            model.model.rope_deltas = ahead[:, None]
        return super().generate_inputs(model, ids, images, position_ids)

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return the tokens row by row: a picture is one tile of as many patches as it has tokens."""
        import torch

        merge, found = model.config.vision_config.spatial_merge_size, []
        for _, rows, columns in pixels["image_grid_thw"].tolist():
            side = rows // merge, columns // merge
            patches = torch.arange(side[0] * side[1])
            found.append(Places(torch.stack((torch.zeros_like(patches), patches), dim=1), side))
        return found

    def encode_images(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, ids: Tensor | None = None
    ) -> list[EncodedImage]:
        """Return each picture with the attention that its tokens receive in the tower's last block."""
        from pdrop_eval.models.towers.patch_tower import encode

        return encode(self, model, pixels, needs)

    def raster_order(self, config: Any, side: tuple[int, int]) -> Tensor:
        """Return where in the tower's order of tokens those of a picture stand, row by row."""
        import torch

        return torch.arange(side[0] * side[1])

    def pixels_of_image(
        self, pixels: Mapping[str, Tensor], number: int, places: Sequence[Places | None]
    ) -> Tensor:
        """Return the patches of one picture."""
        counts = pixels["image_grid_thw"].prod(1).tolist()
        return pixels["pixel_values"].split(counts)[number]

    def vision_tower(self, model: Any) -> Any:
        """Return the vision tower, its merger included."""
        return model.model.visual

    def vision_layers(self, model: Any) -> Any:
        """Return the tower's blocks, each with its attention as `attn`."""
        return model.model.visual.blocks

    def projector(self, model: Any) -> Any:
        """Return the merger, which makes a token of four patches."""
        return model.model.visual.merger

    def token_side(self, config: Any) -> int:
        """Return the pixels of a token's side, of the resized picture."""
        return int(config.vision_config.patch_size * config.vision_config.spatial_merge_size)

    def shape_of(self, config: Any, height: int, width: int) -> ImageShape:
        """Return a picture as the model sees it within the published bounds."""
        side = self.token_side(config)
        rows, columns = (n // side for n in resized(height, width, side, *self.published_bounds))
        return ImageShape((rows * side, columns * side), 1, rows * columns)

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the tokens of a picture of `NOMINAL_SIZE`: every size has its own."""
        return self.shape_of(config, *NOMINAL_SIZE).tokens

    def largest_image(self, config: Any) -> ImageShape:
        """Return the nominal picture: the largest one that is allowed has 16,384 tokens, and is rare."""
        return self.shape_of(config, *NOMINAL_SIZE)

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the tower and its merger; a tile is a whole picture."""
        vision, merged = config.vision_config, config.vision_config.spatial_merge_size**2
        width = self._width(vision)
        return VisionSizes(
            vision_layers=vision.depth,
            vision_used=vision.depth,
            vision_d=width,
            vision_m=self._feed_forward(vision),
            vision_heads=vision.num_heads,
            patch_inputs=vision.in_channels * vision.temporal_patch_size * vision.patch_size**2,
            feature_width=width * merged,
            vision_merge=merged,
            projector_m=width * merged,
            **self._further_sizes(vision),
        )

    def _further_sizes(self, vision: Any) -> dict[str, int]:
        return {}

    def _width(self, vision: Any) -> int:
        return int(vision.embed_dim)

    def _feed_forward(self, vision: Any) -> int:
        return int(vision.embed_dim * vision.mlp_ratio)

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images * patches, values of a patch] and image_grid_thw [images, 3]."""
        import torch

        vision = config.vision_config
        rows, columns = (side // vision.patch_size for side in shape.size)
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return {
            "pixel_values": torch.randn(images * rows * columns, values, generator=random),
            "image_grid_thw": torch.tensor([[1, rows, columns]] * images),
        }

    def prompt_inputs(self, config: Any, ids: Tensor) -> dict[str, Tensor]:
        """Return the kinds of tokens [b, n], 1 for an image's, which positions follow from."""
        return {"mm_token_type_ids": (ids == config.image_token_id).int()}

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Make tokens as wide as the decoder, and share its heads' frequencies out to three dimensions."""
        text, vision = config["text_config"], config["vision_config"]
        vision["out_hidden_size" if "out_hidden_size" in vision else "hidden_size"] = text["hidden_size"]
        half = text.get("head_dim", text["hidden_size"] // text["num_attention_heads"]) // 2
        third = half // 3
        text["rope_parameters"]["mrope_section"] = [half - 2 * third, third, third]

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return the layout of whole pictures, by the processor's bounds."""
        size = image_processor.size
        bounds = int(size["shortest_edge"]), int(size["longest_edge"])
        return NativeLayout(self.token_side(config), *bounds, downsample or 1)

    def count_tokens(self, model: Any, pixels: Mapping[str, Tensor]) -> int:
        """Return the tokens of a picture by its grid."""
        merged = model.config.vision_config.spatial_merge_size**2
        return int(pixels["image_grid_thw"].prod(1).sum()) // merged

    def set_bounds(self, bounds: ImageBounds, config: Any, image_processor: Any) -> None:
        """Put bounds in pixels into a processor."""
        super().set_bounds(bounds, config, image_processor)
        least, most = image_processor.size["shortest_edge"], image_processor.size["longest_edge"]
        least = least if bounds.min_pixels is None else bounds.min_pixels
        most = most if bounds.max_pixels is None else bounds.max_pixels
        if bounds.given():
            check_range(least, most, self.token_side(config))
            image_processor.size = {"shortest_edge": least, "longest_edge": most}

    def check_picture(self, size: tuple[int, int], image_processor: Any, pad: bool) -> None:
        """Refuse a picture that is stretched more than the processor takes."""
        from pdrop_eval.models.pictures.images import PictureError

        if max(size) > MOST_STRETCHED * min(size):
            raise PictureError(
                f"a picture of {size[0]:,}x{size[1]:,} pixels is more than {MOST_STRETCHED} times as long as "
                "it is wide, which the processor refuses; cut it to a usual form"
            )

    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return "native": the picture's own shape, and its size within the bounds."""
        return "native"

    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config; the video token is the one after the image's."""
        from transformers import CONFIG_MAPPING

        config_class: Any = CONFIG_MAPPING[self.name]
        return config_class(
            text_config=text.to_dict(),
            vision_config=vision.to_dict(),
            image_token_id=image_token,
            video_token_id=image_token + 1,
            vision_start_token_id=image_token - 3,
            vision_end_token_id=image_token - 2,
            tie_word_embeddings=bool(getattr(text, "tie_word_embeddings", False)),
        )

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the config of a published size."""
        from transformers import CONFIG_MAPPING

        sizes = dict(self.published[size])
        vision, tie = dict(sizes.pop("vision", {})), sizes.pop("tie", False)
        text_class: Any = CONFIG_MAPPING[self.text_types[0]]
        vision_class: Any = CONFIG_MAPPING[self.vision_types[0]]
        text = text_class(
            max_position_embeddings=128000,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", **self.rope},
            **sizes,
        )
        made = self.make_config(
            text, vision_class(**self._published_vision(text.hidden_size), **vision), IMAGE_TOKEN
        )
        made.tie_word_embeddings = tie
        return made

    def _published_vision(self, width: int) -> dict[str, Any]:
        """What a tower has that makes tokens of a width; transformers' own values are the published ones."""
        return {"hidden_size": width}


FAMILY = Qwen2VL()
