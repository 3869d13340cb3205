"""What a family's config says of its images: tokens, tiles, and the images that the benches take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from pdrop_eval.models.family.decoder import Family
from pdrop_eval.models.family.sizes import ImageShape
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Generator, Tensor

    from pdrop_eval.models.towers.encoded import TokenShape


class ImageSizes(Family, ABC):
    """The sizes of images, by a model's config."""

    multimodal = True

    @abstractmethod
    def nominal_image_tokens(self, config: Any) -> int:
        """Return the image tokens of one image by the config: what the theoretical figures stand on."""

    def fixed_image_tokens(self, config: Any) -> int | None:
        """Return the tokens of every image, or None where they depend on its size."""
        return None

    def nominal_shape(self, config: Any) -> TokenShape:
        """Return the shape of an image of `nominal_image_tokens`."""
        from pdrop_eval.models.towers.encoded import TokenShape

        return TokenShape.of(self.nominal_image_tokens(config), self.vision_sizes(config).tile_tokens)

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

    def class_tokens(self, config: Any) -> int:
        """Return the class tokens that the vision tower puts before the patches of a tile."""
        return 0

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

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Put sizes right that follow from others which a bench has replaced.

        Args:
            config: a transformers config as a dict; changed.
        """
