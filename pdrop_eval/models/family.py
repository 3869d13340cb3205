"""What the rest of the package asks of a model family. Importing it needs no torch.

A family is one file in `models/families`, named after the `model_type` of its transformers config, with a
subclass of `Family` and one instance of it, `FAMILY`. Nothing outside of that folder asks which family a
model belongs to.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pdrop_eval.models.image_bounds import ImageBounds, check_bounds
from pdrop_eval.models.rotary import gather_columns, rotate
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

    from pdrop_eval.models.encoded import EncodedImage, Needs, Places, TokenShape
    from pdrop_eval.models.token_grid import Grid

PARTS = ("vision", "projector", "decoder")  # what training may choose from
NOMINAL_SIZE = (480, 640)  # (height, width): the picture of which families with tokens by size say a number


@dataclass(frozen=True)
class VisionSizes:
    """The sizes of a vision tower and projector that cost depends on; all 0 for a text model.

    Attributes:
        vision_layers: layers of the tower.
        vision_used: layers up to the one whose output is taken.
        vision_d: width.
        vision_m: width of the feed-forward.
        vision_heads: of its attention.
        vision_tokens: tokens of a tile in the tower: its patches and class tokens.
        patches: patches of a tile.
        tile_tokens: image tokens that a tile becomes.
        patch_inputs: values of a patch.
        feature_width: width of what enters the projector.
        vision_maps: linear maps of the feed-forward; 3 where it is gated.
        vision_merge: patches that are joined to a token; 1 where each is one. Where `tile_tokens` is 0, a
            whole picture is one tile, of any size.
        vision_window: patches to a window of attention; 0: each attends to all.
        vision_full: with windows, the layers that attend to all.
        projector_m: width inside of the projector; None: the decoder's; 0: it is one linear map.
        more_projectors: further projectors on all tokens, within the tower (DeepStack).
    """

    vision_layers: int = 0
    vision_used: int = 0
    vision_d: int = 0
    vision_m: int = 0
    vision_heads: int = 0
    vision_tokens: int = 0
    patches: int = 0
    tile_tokens: int = 0
    patch_inputs: int = 0
    feature_width: int = 0
    vision_maps: int = 2
    vision_merge: int = 1
    vision_window: int = 0
    vision_full: int = 0
    projector_m: int | None = None
    more_projectors: int = 0


@dataclass(frozen=True)
class ImageShape:
    """An image as the model sees it.

    Attributes:
        size: (height, width) in pixels.
        tiles: tiles that the vision tower sees.
        tokens: image tokens.
    """

    size: tuple[int, int]
    tiles: int
    tokens: int


class TokenLayout(Protocol):
    """Where on their images a checkpoint's image tokens lie."""

    def grids(self, sizes: Sequence[tuple[int, int]]) -> list[Grid]:
        """Return the grids of images of (width, height), whose tokens follow each other in order."""


class Family:
    """A bare decoder with a language-model head; the caller says which columns are image tokens.

    Attributes:
        name: the `model_type` of its transformers config; the file's name.
        model_class: its class in transformers.
        text_types: the `model_type`s of the text models that it works with; the first is the usual one.
        multimodal: whether it takes images.
        can_renumber: whether the gaps in position ids may be closed; false for M-RoPE, whose ids say where on
            an image a token lies.
        lowest_transformers: the first release of transformers that it works with; "" where each supported
            one does.
        architecture: its name in records and in `conf/model`.
        display_name: its name in tables and figures.
    """

    name: ClassVar[str]
    model_class: ClassVar[str]
    text_types: ClassVar[tuple[str, ...]]
    multimodal: ClassVar[bool] = False
    can_renumber: ClassVar[bool] = True
    lowest_transformers: ClassVar[str] = ""
    architecture: ClassVar[str] = ""
    display_name: ClassVar[str] = ""

    def check_version(self) -> None:
        """Refuse an installed transformers that is too old for the family. Imports nothing large.

        Raises:
            UserError: with the release to install.
        """
        if not self.lowest_transformers:
            return
        from importlib.metadata import version

        from packaging.version import Version

        found = version("transformers")
        if Version(found) < Version(self.lowest_transformers):
            raise UserError(
                f"{self.display_name or self.name} needs transformers {self.lowest_transformers} or newer, "
                f"and {found} is installed: pip install 'transformers>={self.lowest_transformers}'."
            )

    def load_class(self) -> Any:
        """Return the model's class."""
        import transformers

        return getattr(transformers, self.model_class)

    def decoder(self, model: Any) -> Any:
        """Return the text model, with its `layers` and `rotary_emb`."""
        return model.get_decoder()

    def parts(self, model: Any) -> dict[str, nn.Module]:
        """Return the modules whose FLOPs are counted apart, by name: head, and vision and projector."""
        return {"head": model.get_output_embeddings()}

    def image_mask(self, config: Any, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return [b, n] bool, true on image tokens, or None where these inputs can't tell.

        Args:
            config: the model's transformers config.
            inputs: of a forward, by name.
        """
        return None

    def has_images(self, inputs: Mapping[str, Any]) -> bool:
        """Tell whether these forward (or generate) inputs bring images."""
        return False

    def rotary_positions(self, position_ids: Tensor) -> Tensor:
        """Return the position ids [..., b or 1, n] that `rotary_emb` takes, of those given to the decoder."""
        return position_ids

    def added_features(
        self, inputs: dict[str, Any], before: Sequence[int]
    ) -> tuple[Tensor, Sequence[Tensor]] | None:
        """Take out of the decoder's inputs what it would add to image tokens between its first layers.

        Qwen3-VL does (DeepStack): its mask has the columns of the full prompt, so after a drop the decoder
        can't do so itself.

        Args:
            inputs: of the decoder's forward, by name; changed where features are returned.
            before: the layers before which tokens are dropped.

        Returns:
            ([b, n] bool: the tokens that they are added to; for each of the first layers, features
            [tokens, d] that are added to its output), or None where the decoder can do it itself.
        """
        return None

    def query_key(
        self, layer: Any, hidden: Tensor, columns: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor, float]:
        """Project the queries of some columns and the keys of all columns, with positions.

        As Llama's layers do; a norm of each head's queries and keys, as Qwen3 has it, comes before the
        rotation.

        Args:
            layer: a decoder layer.
            hidden: [b, n, d], entering the layer.
            columns: [b, t], those whose queries are projected.
            cos: [b or 1, n, e].
            sin: [b or 1, n, e].

        Returns:
            (query [b, h, t, e], key [b, g, n, e], scaling of q·k).
        """
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        query = attention.q_proj(gather_columns(normed, columns)).unflatten(-1, (-1, attention.head_dim))
        key = attention.k_proj(normed).unflatten(-1, (-1, attention.head_dim))
        if hasattr(attention, "q_norm"):
            query, key = attention.q_norm(query), attention.k_norm(key)
        query = rotate(query.transpose(1, 2), gather_columns(cos, columns), gather_columns(sin, columns))
        return query, rotate(key.transpose(1, 2), cos, sin), attention.scaling

    def vision_sizes(self, config: Any) -> VisionSizes:
        """Return the sizes of the vision tower and the projector."""
        return VisionSizes()


class MultimodalFamily(Family, ABC):
    """A vision-language model whose images become tokens of the decoder.

    Every image token is a placeholder id in `input_ids`, which the features of the image replace.

    Attributes:
        vision_types: the `model_type`s of the vision towers whose image tokens lie as is known here; the
            first is the usual one.
        processor_inputs: what of a processor's output the vision tower takes.
        pads_images: whether `model.image_processing=pad` is possible: the image becomes one square.
        parameter_parts: how the names of the parameters of each of `PARTS` begin; empty if training isn't
            supported.
        size_names: how the settings of its vision config are called that others call `hidden_size` and so on.
        lmms_system: the system message of its chat class in lmms-eval; None: it gives none.
        bounds: the settings of `ImageBounds` that its processor has.
        unevaluated: why its checkpoints can't be evaluated, only used as models; "" where they can.
        unreduced: why strategies before the decoder can't be used; "" where they can.
        reduced_by: the strategies before the decoder that are defined for its tower; None: all whose needs it
            can meet.
        published: sizes of published text models, by size; `published_config` builds their configs.
        published_prefix: what stands before the size in the name of a published model.
    """

    multimodal = True
    vision_types: ClassVar[tuple[str, ...]]
    processor_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    pads_images: ClassVar[bool] = False
    size_names: ClassVar[Mapping[str, str]] = {}
    lmms_system: ClassVar[str | None] = None
    bounds: ClassVar[tuple[str, ...]] = ()
    unevaluated: ClassVar[str] = ""
    unreduced: ClassVar[str] = ""
    reduced_by: ClassVar[tuple[str, ...] | None] = None
    parameter_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    published_prefix: ClassVar[str] = ""

    def parts(self, model: Any) -> dict[str, nn.Module]:
        """Return head, vision tower and projector."""
        return {
            **super().parts(model),
            "vision": self.vision_tower(model),
            "projector": self.projector(model),
        }

    def vision_tower(self, model: Any) -> Any:
        """Return the vision tower."""
        return model.model.vision_tower

    def vision_layers(self, model: Any) -> Any:
        """Return the vision tower's layers, first to last, each with its attention as `self_attn`."""
        tower = self.vision_tower(model)
        return getattr(tower, "vision_model", tower).encoder.layers

    def text_settings(self, config: Mapping[str, Any]) -> Any:
        """Return what a checkpoint's config.json says of its text model, or None where it says nothing.

        Args:
            config: the whole of config.json.
        """
        return config.get("text_config")

    def part_of(self, parameter: str) -> str:
        """Return which of `PARTS` a parameter belongs to, by its name in the model.

        Raises:
            UserError: none of them.
        """
        for part, starts in self.parameter_parts.items():
            if parameter.startswith(starts):
                return part
        raise UserError(
            f"The parameter {parameter} belongs to no known part of {self.display_name}: {', '.join(PARTS)}."
        )

    def check_tower(self, pretrained: str, config: Mapping[str, Any]) -> None:
        """Refuse a vision tower of which it isn't known where its image tokens lie.

        Args:
            pretrained: the checkpoint as the user named it.
            config: its config.json.

        Raises:
            UserError: with the towers that are known.
        """
        kind = (config.get("vision_config") or {}).get("model_type", self.vision_types[0])
        if kind not in self.vision_types:
            raise UserError(
                f"The checkpoint {pretrained} has a vision tower of type {kind!r}, and how its image tokens "
                f"stand in a prompt of {self.display_name} isn't known here. Towers of these types can be "
                f"evaluated: {', '.join(self.vision_types)}."
            )

    def processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return what a processor has to know of the model to count its image tokens, by attribute.

        Args:
            config: the model's transformers config.
        """
        return {}

    def image_processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return what an image processor has to know of the model, by attribute."""
        return {}

    def projector(self, model: Any) -> Any:
        """Return the projector from the tower's features to the decoder's width."""
        return model.model.multi_modal_projector

    def image_mask(self, config: Any, inputs: Mapping[str, Any]) -> Tensor | None:
        """Return [b, n] bool, true on tokens of images and videos; None where there are no `input_ids`."""
        ids = inputs.get("input_ids")
        if ids is None:
            return None
        image: Tensor = ids == config.image_token_id
        video = getattr(config, "video_token_id", None)
        return image if video is None else image | (ids == video)

    def has_images(self, inputs: Mapping[str, Any]) -> bool:
        """Tell whether these inputs bring pixels, or images that `generate` has already encoded."""
        encoded = inputs.get("mm_encoder_outputs") or {}
        pixels = any(inputs.get(name) is not None for name in ("pixel_values", "pixel_values_videos"))
        return pixels or any(output is not None for output in encoded.values())

    def placeholder(self, processor: Any, tokens: int) -> str:
        """Return the text that stands for an image of so many tokens in a prompt."""
        return str(processor.image_token) * tokens

    def count_tokens(self, model: Any, pixels: Mapping[str, Tensor]) -> int:
        """Return how many tokens the model makes of an image, without computing them.

        Args:
            model: one without weights, on the device that knows only shapes.
            pixels: the `processor_inputs` of the image; image sizes keep their numbers.
        """
        import torch

        shapes = {
            name: tensor.to("meta", model.dtype) if tensor.is_floating_point() else tensor
            for name, tensor in pixels.items()
        }
        with torch.no_grad():
            return len(self.encode(model, shapes))

    def check_bounds(self, bounds: ImageBounds) -> None:
        """Refuse settings of the size of pictures that the family's processor doesn't have.

        Raises:
            UserError: with the setting to use.
        """
        check_bounds(bounds, self.bounds, self.display_name)

    def set_bounds(self, bounds: ImageBounds, config: Any, image_processor: Any) -> None:
        """Put settings of the size of pictures into a processor.

        Args:
            bounds: what the user sets.
            config: the model's transformers config.
            image_processor: the checkpoint's.

        Raises:
            UserError: settings that can't be.
        """
        self.check_bounds(bounds)

    def check_picture(self, size: tuple[int, int], image_processor: Any, pad: bool) -> None:
        """Refuse a picture that the processor can't take, or that would take too much memory on its way.

        Args:
            size: (width, height) in pixels.
            image_processor: the checkpoint's.
            pad: the picture is padded to a square first.

        Raises:
            PictureError: with what is wrong.
        """
        from pdrop_eval.models.images import check_processed_size

        check_processed_size(size, image_processor, pad)

    def encode(self, model: Any, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return the features [image tokens, d] of one image.

        Args:
            model: on the device of the pixels.
            pixels: the `processor_inputs` of the image.
        """
        import torch

        return torch.cat(list(model.get_image_features(**pixels, return_dict=True).pooler_output))

    def encode_image(self, model: Any, pixels: Mapping[str, Tensor]) -> EncodedImage:
        """Return one image with all that a prompt needs of it, and nothing of the tower.

        Args:
            model: on the device of the pixels.
            pixels: the `processor_inputs` of the image.
        """
        from pdrop_eval.models.encoded import EncodedImage

        return EncodedImage(self.encode(model, pixels))

    def encode_images(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, ids: Tensor | None = None
    ) -> list[EncodedImage]:
        """Return each of one or several images with what a strategy before the decoder needs of it.

        Args:
            model: on the device of the pixels.
            pixels: the `processor_inputs` of the images.
            needs: what to hold of the vision tower.
            ids: [b, n] of the prompts, where images can't be told apart without; None: there is one image.
        """
        from pdrop_eval.models.tower import encode

        return encode(self, model, pixels, needs)

    def class_tokens(self, config: Any) -> int:
        """Return the class tokens that the vision tower puts before the patches of a tile."""
        return 0

    def pixels_of_image(
        self, pixels: Mapping[str, Tensor], number: int, places: Sequence[Places | None]
    ) -> Tensor:
        """Return the pixels of one of several images; tiles that fill up a batch aren't the image's.

        Args:
            pixels: the `processor_inputs` of all images.
            number: of the image, in order.
            places: of all images' tokens.
        """
        values, own = pixels["pixel_values"][number], places[number]
        return values[: own.tiles] if own is not None and values.dim() > 3 else values

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return where the tokens of each image come from.

        Args:
            model: the model.
            pixels: the `processor_inputs` of the images.
        """
        raise NotImplementedError(f"{self.display_name} doesn't say where its image tokens come from.")

    def image_lengths(self, model: Any, inputs: Mapping[str, Any]) -> Callable[[], Sequence[int] | None]:
        """Return what gives the tokens of each image of a forward, in the order of the rows.

        It gives None where nobody knows, may have to wait for the device, and keeps no pixels.

        Args:
            model: the model.
            inputs: of its forward, by name.
        """
        encoded = (inputs.get("mm_encoder_outputs") or {}).get("image")
        if encoded is not None:  # by generate
            found = [len(features) for features in encoded.pooler_output]
            return lambda: found
        if inputs.get("pixel_values") is None:
            return lambda: None
        fixed = self.fixed_image_tokens(model.config)
        if fixed is not None:
            alike = [fixed] * len(inputs["pixel_values"])
            return lambda: alike
        names = [name for name in self.processor_inputs if name != "pixel_values"]
        sizes = {name: inputs[name] for name in names if inputs.get(name) is not None}
        return lambda: [len(image.sources) for image in self.places(model, sizes)]

    def nominal_shape(self, config: Any) -> TokenShape:
        """Return the shape of an image of `nominal_image_tokens`."""
        from pdrop_eval.models.encoded import TokenShape

        return TokenShape.of(self.nominal_image_tokens(config), self.vision_sizes(config).tile_tokens)

    def newline(self, model: Any) -> Tensor | None:
        """Return the embedding [d] that ends a row of image tokens, or None where there is none."""
        return None

    def position_ids(
        self, model: Any, ids: Tensor, mask: Tensor | None, images: Sequence[EncodedImage]
    ) -> Tensor | None:
        """Return the position ids [..., b, n] of prompts, where they don't just count the tokens; else None.

        Args:
            model: the model.
            ids: [b, n] token ids, the image token once for each token of an image.
            mask: [b, n], false on padding, or None.
            images: of the prompts, in the order of the rows.
        """
        return None

    def generate_inputs(
        self, model: Any, ids: Tensor, images: Sequence[EncodedImage], position_ids: Tensor | None = None
    ) -> dict[str, Any]:
        """Return what `generate` takes for prompts whose images are encoded already.

        Args:
            model: the model that will generate.
            ids: [b, n] token ids, the image token once for each token of an image.
            images: as `encode_image` gave them, in the order of the rows.
            position_ids: as `position_ids` gave them, at the columns of `ids`.

        Raises:
            ValueError: other than one feature for each image token.
        """
        import torch

        embeddings = model.get_input_embeddings()(ids)
        if images:
            image = ids == model.config.image_token_id
            rows = torch.cat([one.tokens.to(embeddings) for one in images])
            if len(rows) != int(image.sum()):
                raise ValueError(f"the images have {len(rows)} features for {int(image.sum())} image tokens")
            embeddings = embeddings.masked_scatter(image[..., None], rows)
        given = {} if position_ids is None else {"position_ids": position_ids}
        return {"input_ids": ids, "inputs_embeds": embeddings, **given}

    @abstractmethod
    def nominal_image_tokens(self, config: Any) -> int:
        """Return the image tokens of one image by the config: what the theoretical figures stand on."""

    def fixed_image_tokens(self, config: Any) -> int | None:
        """Return the tokens of every image, or None where they depend on its size."""
        return None

    @abstractmethod
    def largest_image(self, config: Any) -> ImageShape:
        """Return the image with the most tokens, which the benches measure with."""

    @abstractmethod
    def random_pixels(
        self, config: Any, shape: ImageShape, images: int, random: Generator
    ) -> dict[str, Tensor]:
        """Return random `processor_inputs` of so many images of one shape, on the CPU in float32."""

    def prompt_inputs(self, config: Any, ids: Tensor) -> dict[str, Tensor]:
        """Return what a forward with pixels takes beside ids [b, n], as the processor would give it."""
        return {}

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Put sizes right that follow from others which a bench has replaced.

        Args:
            config: a transformers config as a dict; changed.
        """

    @abstractmethod
    def token_layout(
        self, config: Any, image_processor: Any, pad: bool, downsample: int | None
    ) -> TokenLayout | None:
        """Return where image tokens lie, or None where a processor's settings don't say it.

        Args:
            config: the model's transformers config.
            image_processor: the checkpoint's.
            pad: the image is padded to a square first.
            downsample: a factor by which each image is shrunk first, or None.
        """

    @abstractmethod
    def image_preparation(self, processor_config: Mapping[str, Any], pad: bool) -> str:
        """Return in one word what becomes of an image that is no square, for the record."""

    def resolutions(self, config: Any) -> list[list[int]] | None:
        """Return the resolutions [height, width] that an image may be cut to, or None if it isn't cut."""
        return None

    def patches(self, config: Any) -> int:
        """Return the most tiles of an image, its overview included: "#patches" of the PyramidDrop paper."""
        return 1

    def default_patches(self) -> int:
        """Return `patches` of the published checkpoints."""
        return 1

    def check_anyres(self, anyres: Any, config: Mapping[str, Any]) -> None:
        """Check `model.anyres` against a checkpoint's config.json.

        Raises:
            UserError: a family that has no tiles, or grids that can't be.
        """
        if anyres is not None:
            raise UserError(
                f"model.anyres={anyres} is for LLaVA-NeXT; a checkpoint of type {self.name} takes an image "
                "as one tile. Use model.anyres=null."
            )

    def set_anyres(self, anyres: Any, config: Any, image_processor: Any = None) -> None:
        """Put the grids of `model.anyres`, unless it is None, into a transformers config and a processor."""

    @abstractmethod
    def make_config(self, text: Any, vision: Any, image_token: int, anyres: Any = None) -> Any:
        """Return a transformers config of a text config, a vision config and the id of the image token.

        Args:
            text: of one of `text_types`.
            vision: of the kind of tower that the family has.
            image_token: id of the placeholder.
            anyres: grids of tiles (see `models.tiling`); None: the published ones.
        """

    def published_config(self, size: str, anyres: Any = None) -> Any:
        """Return the transformers config of a published model, by its size in `published`."""
        raise NotImplementedError(f"{self.display_name} has no published sizes.")

    def make_processor(self, config: Any, tokenizer: Any, images: Mapping[str, Any], **settings: Any) -> Any:
        """Return a new checkpoint's processor, for training from parts.

        Args:
            config: the new model's.
            tokenizer: its tokenizer.
            images: the tower's image processor config.
            **settings: further ones of the processor, such as its chat template.
        """
        raise NotImplementedError(f"{self.display_name} can't be trained from parts here.")
