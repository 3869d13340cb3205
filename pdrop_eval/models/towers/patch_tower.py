"""Encodes pictures with a tower that takes patches of any number of them in one row, as Qwen-VL's does.

What strategies before the decoder ask of it is taken from the attention of its last block, as published ports
do: it has no class token, so a token's attention is what its patches receive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from pdrop_eval.models.rotary import rotate
from pdrop_eval.models.towers.encoded import EncodedImage, Needs, Places
from pdrop_eval.models.towers.salience import mean_keys, received_attention

if TYPE_CHECKING:
    from torch import Tensor


class PatchTower(Protocol):
    """What is asked of the family."""

    def vision_layers(self, model: Any) -> Any:
        """Return the tower's blocks, each with its attention as `attn`."""

    def places(self, model: Any, pixels: Mapping[str, Tensor]) -> list[Places]:
        """Return where the tokens of each image come from."""

    def raster_order(self, config: Any, side: tuple[int, int]) -> Tensor:
        """Return where in the tower's order of tokens those of a picture stand, row by row."""


def encode(family: PatchTower, model: Any, pixels: Mapping[str, Tensor], needs: Needs) -> list[EncodedImage]:
    """Return each picture with the attention that its tokens receive in the tower's last block.

    Args:
        family: the model's.
        model: on the device of the pixels.
        pixels: pixel_values [patches, values of a patch] and image_grid_thw [pictures, 3].
        needs: what to hold of the tower.
    """
    import torch

    attention = family.vision_layers(model)[-1].attn
    noted: dict[str, Any] = {}
    handle = attention.register_forward_pre_hook(_note(noted), with_kwargs=True)
    try:
        output = model.get_image_features(**pixels, return_dict=True)
    finally:
        handle.remove()
    looks = bool(needs.layers or needs.of_class_token)
    query_key = _query_key(attention, noted) if looks else None
    merge = model.config.vision_config.spatial_merge_size**2
    added = getattr(output, "deepstack_features", None)
    found, start = [], 0
    for number, (tokens, place) in enumerate(
        zip(output.pooler_output, family.places(model, pixels), strict=True)
    ):
        grid = tuple(pixels["image_grid_thw"][number].tolist())
        held: dict[str, Any] = {"grid": grid}
        if added:
            held["added"] = torch.stack([layer[number] for layer in added])
        own = slice(start, start + grid[1] * grid[2])
        if query_key is not None:
            query, key = (one[:, own] for one in query_key)
            raster = family.raster_order(model.config, place.side).to(tokens.device)
            held["received"] = received_attention(query, key, merge)[raster]
            held["metric"] = mean_keys(key, merge)[raster]
        start = own.stop
        found.append(EncodedImage(tokens, place, needs, **held))
    return found


def _note(noted: dict[str, Any]) -> Any:
    """Return a hook that notes what enters a tower's attention."""

    def note(attention: Any, args: Any, kwargs: Any) -> None:
        noted["hidden"] = (args[0] if args else kwargs["hidden_states"]).detach()
        noted["rotary"] = kwargs["position_embeddings"]

    return note


def _query_key(attention: Any, noted: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the rotated queries and keys [heads, patches, e] of a tower's attention, in float32."""
    q, k, _ = attention.qkv(noted["hidden"]).unflatten(-1, (3, attention.num_heads, -1)).float().unbind(1)
    cos, sin = (part[None].float() for part in noted["rotary"])
    query, key = (rotate(part.transpose(0, 1)[None], cos, sin)[0] for part in (q, k))
    return query.detach(), key.detach()
