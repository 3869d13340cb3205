"""InternVL3 and 3.5: tiles of 448 pixels and a thumbnail, 256 tokens each, and Qwen2 or Qwen3."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.families.llava_onevision import QWEN2_0_5B
from pdrop_eval.models.families.qwen2_vl import QWEN2_1_5B, QWEN2_7B
from pdrop_eval.models.family import NOMINAL_SIZE, ImageShape, MultimodalFamily, TokenLayout, VisionSizes
from pdrop_eval.models.pictures.image_bounds import ImageBounds
from pdrop_eval.models.pictures.tiled_canvas import CanvasLayout, canvas
from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places

if TYPE_CHECKING:
    from torch import Generator, Tensor

QWEN2_14B = {
    "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48, "num_attention_heads": 40,
    "num_key_value_heads": 8,
}  # fmt: skip
IMAGE_TOKEN = 151667  # <IMG_CONTEXT>
MOST_TILES = 12  # what the published processors cut an image into at most, without the thumbnail


class InternVL(MultimodalFamily):
    """InternVL in transformers' own format (the checkpoints whose names end in -hf).

    An image is stretched to the canvas of tiles that is nearest in shape; tiles go row by row, each of them a
    grid of its own, and a thumbnail of the whole comes last where there is more than one.
    """

    name = "internvl"
    model_class = "InternVLForConditionalGeneration"
    text_types = ("qwen2", "qwen3")
    unshared = ""
    vision_types = ("internvl_vision",)
    reduced_by = ("uniform", "random", "divprune", "visionzip", "vispruner", "fastervlm")
    architecture = "internvl3"
    display_name = "InternVL3"
    lmms_name = "internvl_hf"
    bounds = ("max_patches",)
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "1b": QWEN2_0_5B,
        "2b": QWEN2_1_5B,
        "8b": QWEN2_7B,
        "14b": QWEN2_14B,
    }
    published_prefix = "internvl3"

    def vision_layers(self, model: Any) -> Any:
        """Return the tower's layers, each with its attention as `attention`."""
        return model.model.vision_tower.encoder.layer

    def class_tokens(self, config: Any) -> int:
        """InternViT has a class token."""
        return 1

    def side(self, config: Any) -> int:
        """Return the rows of tokens of a tile."""
        vision = config.vision_config
        return int(vision.image_size[0] // vision.patch_size[0] * config.downsample_ratio)

    def shape_of(self, config: Any, height: int, width: int, most_tiles: int = MOST_TILES) -> ImageShape:
        """Return an image as the model sees it: the canvas that it is stretched to, and its tiles."""
        tile = config.vision_config.image_size[0]
        rows, columns = canvas(height, width, tile, most_tiles)
        tiles = rows * columns + (rows * columns > 1)
        return ImageShape((rows * tile, columns * tile), tiles, tiles * self.side(config) ** 2)

    def nominal_image_tokens(self, config: Any) -> int:
        """Return the tokens of a picture of `NOMINAL_SIZE`: every shape has its own."""
        return self.shape_of(config, *NOMINAL_SIZE).tokens

    def largest_image(self, config: Any) -> ImageShape:
        """Return the image with the most tiles and the thumbnail."""
        tile = config.vision_config.image_size[0]
        return self.shape_of(config, 3 * tile, 4 * tile)

    def patches(self, config: Any) -> int:
        """Return the most tiles of the published processors, the thumbnail included."""
        return MOST_TILES + 1

    def default_patches(self) -> int:
        """Return the same."""
        return MOST_TILES + 1

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the vision tower and the projector."""
        vision = config.vision_config
        patches = (vision.image_size[0] // vision.patch_size[0]) * (
            vision.image_size[1] // vision.patch_size[1]
        )
        depth = vision.num_hidden_layers
        return VisionSizes(
            vision_layers=depth,
            vision_used=config.vision_feature_layer % (depth + 1),
            vision_d=vision.hidden_size,
            vision_m=vision.intermediate_size,
            vision_heads=vision.num_attention_heads,
            vision_tokens=patches + 1,
            patches=patches,
            tile_tokens=self.side(config) ** 2,
            patch_inputs=vision.num_channels * vision.patch_size[0] * vision.patch_size[1],
            vision_merge=round(config.downsample_ratio**-2),
            feature_width=int(vision.hidden_size / config.downsample_ratio**2),
        )

    def processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return the tokens of a tile."""
        return {"image_seq_length": self.side(config) ** 2}

    def encode_images(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, ids: Tensor | None = None
    ) -> list[EncodedImage]:
        """Return each image with the class token's attention to its tokens in the last layer, by tile."""
        lengths = None
        if ids is not None:
            lengths = [length for row in ids.tolist() for length in runs(row, model.config.image_token_id)]
        return self._encoded(model, pixels, needs, lengths)

    def encode_joined(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, images: Sequence[Mapping[str, Tensor]]
    ) -> list[EncodedImage]:
        """Return the same of several images, whose tiles are counted."""
        tile_tokens = self.side(model.config) ** 2
        return self._encoded(model, pixels, needs, [len(one["pixel_values"]) * tile_tokens for one in images])

    def _encoded(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, lengths: list[int] | None
    ) -> list[EncodedImage]:
        """Return images of so many tokens; None: all is one image."""
        noted: list[Tensor] = []
        handle = None
        if needs.layers or needs.of_class_token:
            attention = self.vision_layers(model)[-1].attention

            def note(_: Any, args: Any, kwargs: Any) -> None:
                noted.append((args[0] if args else kwargs["hidden_states"]).detach())

            handle = attention.register_forward_pre_hook(note, with_kwargs=True)
        try:
            output = model.get_image_features(**pixels, return_dict=True).pooler_output
        finally:
            if handle is not None:
                handle.remove()
        side = self.side(model.config)
        lengths = lengths or [output.shape[0] * output.shape[1]]
        held: dict[str, Any] = {}
        if noted:
            from pdrop_eval.models.towers.salience import blocks_of

            row, mean = _class_row(attention, noted[0])
            held["received"] = blocks_of(row, side).sum(2).flatten()
            held["metric"] = blocks_of(mean, side).mean(2).flatten(0, 1)
        parts = {name: value.split(lengths) for name, value in held.items()}
        tokens = output.flatten(0, 1).split(lengths)
        return [
            EncodedImage(own, _places(len(own), side), needs, **{k: v[number] for k, v in parts.items()})
            for number, own in enumerate(tokens)
        ]

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return the tokens of tiles, one tile after the other; without `input_ids` all are one image's."""
        side, ids = self.side(model.config), pixels.get("input_ids")
        lengths = [len(pixels["pixel_values"]) * side**2]
        if ids is not None:
            lengths = [length for row in ids.tolist() for length in runs(row, model.config.image_token_id)]
        return [_places(length, side) for length in lengths]

    def pixels_of_image(
        self, pixels: Mapping[str, Tensor], number: int, places: Sequence[Places | None]
    ) -> Tensor:
        """Return the tiles of one picture; those of all pictures follow one another."""
        counts = [1 if own is None else own.tiles for own in places]
        return pixels["pixel_values"].split(counts)[number]

    def image_lengths(self, model: Any, inputs: Mapping[str, Any]) -> Callable[[], Sequence[int] | None]:
        """Return what gives the tokens of each image: its run in the ids, between markers."""
        ids, token = inputs.get("input_ids"), model.config.image_token_id
        if ids is None:
            return lambda: None
        return lambda: [length for row in ids.tolist() for length in runs(row, token)]

    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return pixel_values [images * tiles, 3, side, side]."""
        import torch

        vision = config.vision_config
        sizes = (images * shape.tiles, vision.num_channels, *vision.image_size)
        return {"pixel_values": torch.randn(sizes, generator=random)}

    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return the layout of the tiles and the thumbnail."""
        most = getattr(image_processor, "max_patches", MOST_TILES)
        return CanvasLayout(config.vision_config.image_size[0], self.side(config), most, downsample or 1)

    def placeholder(self, processor: Any, tokens: int) -> str:
        """Return the image's tokens between its markers."""
        return f"{processor.start_image_token}{processor.image_token * tokens}{processor.end_image_token}"

    def set_bounds(self, bounds: ImageBounds, config: Any, image_processor: Any) -> None:
        """Put the number of tiles into a processor."""
        super().set_bounds(bounds, config, image_processor)
        if bounds.max_patches is not None:
            image_processor.max_patches = bounds.max_patches
            image_processor.min_patches = min(image_processor.min_patches, bounds.max_patches)

    def check_picture(self, size: tuple[int, int], image_processor: Any, pad: bool) -> None:
        """Take every picture: its canvas has no more tiles than the processor says."""

    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return "tiles"."""
        return "tiles"

    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config; features are those of the last layer, without the class token."""
        from transformers import CONFIG_MAPPING

        config_class: Any = CONFIG_MAPPING[self.name]
        side = vision.image_size[0] // vision.patch_size[0] // 2
        return config_class(
            text_config=text,
            vision_config=vision,
            image_token_id=image_token,
            image_seq_length=side**2,
            tie_word_embeddings=bool(getattr(text, "tie_word_embeddings", False)),
        )

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the config of the -hf checkpoints: InternViT-300M at 448 pixels."""
        from transformers import CONFIG_MAPPING

        # Their heads are weights of their own, also where those of Qwen2's checkpoints aren't.
        sizes = {name: value for name, value in self.published[size].items() if name != "tie"}
        text_class: Any = CONFIG_MAPPING["qwen2"]
        text = text_class(
            max_position_embeddings=32768,
            rms_norm_eps=1e-6,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            **{**sizes, "vocab_size": 151674},
        )
        vision_class: Any = CONFIG_MAPPING[self.vision_types[0]]
        return self.make_config(text, vision_class(attention_bias=True), IMAGE_TOKEN)


def _places(tokens: int, side: int) -> Places:
    import torch

    numbers = torch.arange(tokens)
    sources = torch.stack((numbers // side**2, numbers % side**2), dim=1)
    return Places(sources, (side, side), tokens // side**2)


def _class_row(attention: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Return the class token's attention [P, N] and the mean keys [P, N, e] of what enters it."""
    from pdrop_eval.models.towers.tower import class_row

    query = attention.q_norm(attention.q_proj(hidden[:, 0])).detach()
    key = attention.k_norm(attention.k_proj(hidden)).detach()
    mean = key[:, 1:].float().unflatten(-1, (attention.num_heads, -1)).mean(2)
    return class_row(query, key, attention.num_heads).mean(1), mean


def runs(ids: Sequence[int], token: int) -> list[int]:
    """Return the length of each run of a token in the ids of a row."""
    return [len(list(run)) for same, run in groupby(ids, key=token.__eq__) if same]


FAMILY = InternVL()
