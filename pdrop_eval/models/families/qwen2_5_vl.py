"""Qwen2.5-VL: as Qwen2-VL, with a gated tower whose patches mostly attend within windows of 112 pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pdrop_eval.models.families.qwen2_vl import QWEN2_7B, QWEN2_72B, Qwen2VL

if TYPE_CHECKING:
    from torch import Tensor

QWEN2_5_3B = {
    "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
    "num_key_value_heads": 2, "vocab_size": 151936, "tie": True,
}  # fmt: skip
QWEN2_5_32B = {
    "hidden_size": 5120, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 40,
    "num_key_value_heads": 8, "vocab_size": 152064, "vision": {"intermediate_size": 3456},
}  # fmt: skip


class Qwen25VL(Qwen2VL):
    """Qwen2.5-VL in transformers' own format.

    All blocks of the tower but four attend within windows; patches travel through it in window order, and
    come back to raster order behind the merger.
    """

    name = "qwen2_5_vl"
    model_class = "Qwen2_5_VLForConditionalGeneration"
    unshared = ""
    text_types = ("qwen2_5_vl_text",)
    vision_types = ("qwen2_5_vl_vision", "qwen2_5_vl")
    architecture = "qwen2.5-vl"
    display_name = "Qwen2.5-VL"
    lmms_name = "qwen2_5_vl"
    published: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "3b": QWEN2_5_3B,
        "7b": QWEN2_7B,
        "32b": QWEN2_5_32B,
        "72b": {**QWEN2_72B, "vision": {"intermediate_size": 3456}},
    }
    size_names: ClassVar[Mapping[str, str]] = {
        "num_hidden_layers": "depth",
        "num_attention_heads": "num_heads",
    }
    published_prefix = "qwen2_5_vl"

    def raster_order(self, config: Any, side: tuple[int, int]) -> Tensor:
        """Return where tokens that go through the tower in windows stand, row by row."""
        from pdrop_eval.models.towers.salience import window_order

        vision = config.vision_config
        window = vision.window_size // vision.spatial_merge_size // vision.patch_size
        return window_order(*side, window).argsort()

    def fit_sizes(self, config: dict[str, Any]) -> None:
        """Let the last block attend to all patches, too."""
        super().fit_sizes(config)
        vision = config["vision_config"]
        full = [block for block in vision["fullatt_block_indexes"] if block < vision["depth"]]
        vision["fullatt_block_indexes"] = full or [vision["depth"] - 1]

    def _further_sizes(self, vision: Any) -> dict[str, int]:
        side = vision.window_size // vision.spatial_merge_size // vision.patch_size
        window = (side * vision.spatial_merge_size) ** 2
        return {"vision_maps": 3, "vision_window": window, "vision_full": len(vision.fullatt_block_indexes)}

    def _width(self, vision: Any) -> int:
        return int(vision.hidden_size)

    def _feed_forward(self, vision: Any) -> int:
        return int(vision.intermediate_size)

    def _published_vision(self, width: int) -> dict[str, Any]:
        return {"hidden_size": 1280, "out_hidden_size": width}


FAMILY = Qwen25VL()
