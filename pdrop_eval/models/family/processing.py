"""What a family's processor does to a picture, and what it has to know of the model."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family.encoding import ImageEncoding
from pdrop_eval.models.pictures.image_bounds import ImageBounds, check_bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from pdrop_eval.models.family.sizes import TokenLayout


class PictureProcessing(ImageEncoding):
    """The way of a picture through the processor.

    Attributes:
        pads_images: whether `model.image_processing=pad` is possible: the image becomes one square.
        bounds: the settings of `ImageBounds` that its processor has.
    """

    pads_images: ClassVar[bool] = False
    bounds: ClassVar[tuple[str, ...]] = ()

    def placeholder(self, processor: Any, tokens: int) -> str:
        """Return the text that stands for an image of so many tokens in a prompt."""
        return str(processor.image_token) * tokens

    def processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return what a processor has to know of the model to count its image tokens, by attribute.

        Args:
            config: the model's transformers config.
        """
        return {}

    def image_processor_values(self, config: Any) -> Mapping[str, Any]:
        """Return what an image processor has to know of the model, by attribute."""
        return {}

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
        from pdrop_eval.models.pictures.images import check_processed_size

        check_processed_size(size, image_processor, pad)

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
