"""A vision-language family: its checkpoints and configs, beside what its bases say of its images."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.family.processing import PictureProcessing
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTS = ("vision", "projector", "decoder")  # what training may choose from


class MultimodalFamily(PictureProcessing):
    """A vision-language model whose images become tokens of the decoder.

    Every image token is a placeholder id in `input_ids`, which the features of the image replace.

    Attributes:
        vision_types: the `model_type`s of the vision towers whose image tokens lie as is known here; the
            first is the usual one.
        parameter_parts: how the names of the parameters of each of `PARTS` begin; empty if training isn't
            supported.
        size_names: how the settings of its vision config are called that others call `hidden_size` and so on.
        lmms_name: the name of its chat class in lmms-eval, by which tasks choose their prompts; "" for none.
        lmms_system: the system message of its chat class in lmms-eval; None: it gives none.
        unevaluated: why its checkpoints can't be evaluated, only used as models; "" where they can.
        published: sizes of published text models, by size; `published_config` builds their configs.
        published_prefix: what stands before the size in the name of a published model.
    """

    vision_types: ClassVar[tuple[str, ...]]
    size_names: ClassVar[Mapping[str, str]] = {}
    lmms_name: ClassVar[str] = ""
    lmms_system: ClassVar[str | None] = None
    unevaluated: ClassVar[str] = ""
    parameter_parts: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    published_prefix: ClassVar[str] = ""

    def text_settings(self, config: Mapping[str, Any]) -> Any:
        """Return what a checkpoint's config.json says of its text model, or None where it says nothing.

        Args:
            config: the whole of config.json.
        """
        return config.get("text_config")

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
