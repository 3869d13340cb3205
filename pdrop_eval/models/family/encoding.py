"""How a family encodes images, and what its decoder takes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family.image_sizes import ImageSizes

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places


class ImageEncoding(ImageSizes):
    """The vision tower, and its way into a prompt.

    Attributes:
        processor_inputs: what of a processor's output the vision tower takes.
        unreduced: why strategies before the decoder can't be used; "" where they can.
        reduced_by: the strategies before the decoder that are defined for its tower; None: all whose needs it
            can meet.
        encodes_together: whether pixels of several images, put behind one another, are what the tower takes
            of several, and `encode_joined` tells them apart again.
    """

    processor_inputs: ClassVar[tuple[str, ...]] = ("pixel_values",)
    unreduced: ClassVar[str] = ""
    reduced_by: ClassVar[tuple[str, ...] | None] = None
    encodes_together: ClassVar[bool] = True

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

    def projector(self, model: Any) -> Any:
        """Return the projector from the tower's features to the decoder's width."""
        return model.model.multi_modal_projector

    def newline(self, model: Any) -> Tensor | None:
        """Return the embedding [d] that ends a row of image tokens, or None where there is none."""
        return None

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
        from pdrop_eval.models.towers.encoded import EncodedImage

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
        from pdrop_eval.models.towers.tower import encode

        return encode(self, model, pixels, needs)

    def encode_joined(
        self, model: Any, pixels: Mapping[str, Tensor], needs: Needs, images: Sequence[Mapping[str, Tensor]]
    ) -> list[EncodedImage]:
        """Return each of several images whose pixels were put behind one another.

        Args:
            model: on the device of the pixels.
            pixels: the `processor_inputs` of all images.
            needs: what to hold of the vision tower.
            images: those of each, which tell how many tiles it has.
        """
        return self.encode_images(model, pixels, needs)

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return where the tokens of each image come from.

        Args:
            model: the model.
            pixels: the `processor_inputs` of the images.
        """
        raise NotImplementedError(f"{self.display_name} doesn't say where its image tokens come from.")

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
