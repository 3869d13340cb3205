"""Qwen3-VL: patches of 16 pixels, interleaved M-RoPE, and DeepStack: tower features added in the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.families.qwen2_vl import Qwen2VL
from pdrop_eval.models.towers.encoded import EncodedImage

if TYPE_CHECKING:
    from torch import Tensor

_SMALL_TOWER = {
    "depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]
}  # fmt: skip
QWEN3_1_7B = {
    "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "vocab_size": 151936, "tie": True, "vision": _SMALL_TOWER,
}  # fmt: skip
QWEN3_4B = {
    "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 151936, "tie": True, "vision": _SMALL_TOWER,
}  # fmt: skip
QWEN3_8B = {
    "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36, "num_attention_heads": 32,
    "num_key_value_heads": 8, "vocab_size": 151936,
}  # fmt: skip


class Qwen3VL(Qwen2VL):
    """Qwen3-VL in transformers' own format.

    DeepStack: mergers of three further blocks of the tower make features that are added to the image tokens
    after the decoder's layers 0, 1 and 2. What is dropped before layer 1 or 2 misses the later ones, and what
    is retained gets its own.
    """

    name = "qwen3_vl"
    model_class = "Qwen3VLForConditionalGeneration"
    unshared = ""
    text_types = ("qwen3_vl_text",)
    vision_types = ("qwen3_vl_vision", "qwen3_vl")
    architecture = "qwen3-vl"
    display_name = "Qwen3-VL"
    lmms_name = "qwen3_vl"
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "2b": QWEN3_1_7B, "4b": QWEN3_4B, "8b": QWEN3_8B,
    }  # fmt: skip
    size_names: ClassVar[Mapping[str, str]] = {
        "num_hidden_layers": "depth",
        "num_attention_heads": "num_heads",
    }
    published_prefix = "qwen3_vl"
    rope: ClassVar[Mapping[str, Any]] = {
        "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True,
    }  # fmt: skip
    lmms_system = "You are a helpful assistant."
    published_bounds = (256 * 256, 4096 * 4096)

    def added_features(
        self, inputs: dict[str, Any], before: Sequence[int]
    ) -> tuple[Tensor, Sequence[Tensor]] | None:
        """Take DeepStack's features out where a drop comes before the last of them is added."""
        features = inputs.get("deepstack_visual_embeds")
        if not features or min(before, default=len(features)) >= len(features):
            return None
        mask: Tensor = inputs.pop("visual_pos_masks")
        del inputs["deepstack_visual_embeds"]
        return mask, features

    def encode_image(self, model: Any, pixels: Mapping[str, Tensor]) -> EncodedImage:
        """Return one picture with its grid and DeepStack's features."""
        import torch

        output = model.get_image_features(**pixels, return_dict=True)
        added = torch.stack([torch.cat(list(one)) for one in output.deepstack_features])
        frames, rows, columns = pixels["image_grid_thw"][0].tolist()
        return EncodedImage(torch.cat(list(output.pooler_output)), grid=(frames, rows, columns), added=added)

    def generate_inputs(
        self, model: Any, ids: Tensor, images: Sequence[EncodedImage], position_ids: Tensor | None = None
    ) -> dict[str, Any]:
        """Return ids, position ids and images in the form of the tower's output.

        `inputs_embeds`, which the other families take, would lose DeepStack's features.
        """
        given = super().generate_inputs(model, ids, [], position_ids)
        del given["inputs_embeds"]
        if not images:
            return given
        tokens, places = sum(map(len, images)), int((ids == model.config.image_token_id).sum())
        if tokens != places:
            raise ValueError(f"the images have {tokens} features for {places} image tokens")
        from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

        layers: Any = list(zip(*(one.added for one in images if one.added is not None), strict=True))
        pooled: Any = tuple(one.tokens for one in images)
        output = BaseModelOutputWithDeepstackFeatures(pooler_output=pooled, deepstack_features=layers)
        return {**given, "mm_encoder_outputs": {"image": output}}

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Take DeepStack's features from blocks that there are."""
        super().fit_sizes(config)
        vision = config["vision_config"]
        taken, depth = vision["deepstack_visual_indexes"], vision["depth"]
        if max(taken) >= depth:
            vision["deepstack_visual_indexes"] = list(range(min(len(taken), depth)))

    def _further_sizes(self, vision: Any) -> dict[str, int]:
        return {"more_projectors": len(vision.deepstack_visual_indexes)}

    def _width(self, vision: Any) -> int:
        return int(vision.hidden_size)

    def _feed_forward(self, vision: Any) -> int:
        return int(vision.intermediate_size)

    def _published_vision(self, width: int) -> dict[str, Any]:
        return {"out_hidden_size": width}


FAMILY = Qwen3VL()
