"""Tiny models of further families: the settings of their configs, and the ids and pixels of their images.

Every image size is a multiple of what a tile or token covers, so no processor is needed: shapes by hand.
"""

import torch

IMAGE_ID, TILE = 60, 20
# Positions of three dimensions share the 4 frequencies of a head of 8 out; of Qwen3-VL's head of 12, 6.
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}
TEXT = {
    "qwen2_vl_text": {"rope_parameters": _ROPE},
    "qwen2_5_vl_text": {"rope_parameters": _ROPE},
    "qwen3_vl_text": {
        "rope_parameters": {**_ROPE, "mrope_section": [2, 2, 2], "mrope_interleaved": True},
        "head_dim": 12,
    },
    "qwen3": {"head_dim": 12},
    "mistral": {"sliding_window": None},
}
_QWEN = {"num_heads": 2, "patch_size": 2, "spatial_merge_size": 2, "temporal_patch_size": 2}
VISION = {
    # A window is 4x4 patches: 2x2 tokens. The second block attends to the whole picture.
    "qwen2_5_vl": {
        **_QWEN, "depth": 2, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32,
        "window_size": 8, "fullatt_block_indexes": [1],
    },
    "qwen2_vl": {**_QWEN, "depth": 2, "embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
    "qwen3_vl": {
        **_QWEN, "depth": 3, "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32,
        "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2],
    },
    "llava_onevision": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": TILE, "patch_size": 4, "vision_use_head": False,
    },
    "internvl": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": [TILE, TILE], "patch_size": [2, 2],
    },
    "smolvlm": {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": TILE, "patch_size": 2,
    },
}  # fmt: skip


def sliced(values, number):
    """The pixels of one image, of those that have one entry each."""
    return {name: tensor[number : number + 1] for name, tensor in values.items()}


class QwenImages:
    """A token covers 4x4 pixels; patches of 2x2 pixels and two frames have 24 values."""

    @staticmethod
    def ids(size):
        return torch.full((size[0] // 4 * (size[1] // 4),), IMAGE_ID)

    @staticmethod
    def pixels(size, random):
        rows, columns = size[0] // 4 * 2, size[1] // 4 * 2
        return torch.randn(rows * columns, 24, generator=random), (1, rows, columns)

    @staticmethod
    def inputs(rows, ids):
        images = [image for row in rows for image in row]
        grids = torch.tensor([grid for _, grid in images])
        pixels = torch.cat([values for values, _ in images])
        return {"pixel_values": pixels, "image_grid_thw": grids}

    @staticmethod
    def one(values, number):
        counts = values["image_grid_thw"].prod(1).tolist()
        pixels = values["pixel_values"].split(counts)[number]
        return {"pixel_values": pixels, "image_grid_thw": values["image_grid_thw"][number : number + 1]}

    @staticmethod
    def always(ids):
        return {"mm_token_type_ids": (ids == IMAGE_ID).int()}


def _tiles(size):
    """Tiles of 20 pixels, and one more where there are several."""
    tiles = size[0] // TILE * (size[1] // TILE)
    return tiles + (tiles > 1)


class InternImages:
    """A tile has 25 tokens; a thumbnail comes last."""

    @staticmethod
    def ids(size):
        return torch.full((25 * _tiles(size),), IMAGE_ID)

    @staticmethod
    def pixels(size, random):
        return torch.randn(_tiles(size), 3, TILE, TILE, generator=random)

    @staticmethod
    def inputs(rows, ids):
        return {"pixel_values": torch.cat([image for row in rows for image in row])}

    @staticmethod
    def one(values, number):
        """Of the second row of the contract's batch: images of 40x25 and 40x40 pixels."""
        return {"pixel_values": values["pixel_values"].split([3, 5])[number]}


class SmolImages:
    """A tile has 25 tokens, with a marker, id 5, before it; all tiles of a row of the batch are together."""

    @staticmethod
    def ids(size):
        one = torch.cat((torch.tensor([5]), torch.full((25,), IMAGE_ID)))
        return one.repeat(_tiles(size))

    pixels = InternImages.pixels

    @staticmethod
    def inputs(rows, ids):
        tiles = [torch.cat(row) if row else torch.zeros(0, 3, TILE, TILE) for row in rows]
        most = max(map(len, tiles))
        padded = [torch.nn.functional.pad(one, (0, 0, 0, 0, 0, 0, 0, most - len(one))) for one in tiles]
        mask = torch.ones(len(rows), most, TILE, TILE, dtype=torch.long)
        return {"pixel_values": torch.stack(padded), "pixel_attention_mask": mask}

    @staticmethod
    def one(values, number):
        return {name: tensor.split([3, 5], dim=1)[number] for name, tensor in values.items()}


IMAGES = {
    "qwen2_5_vl": QwenImages, "qwen2_vl": QwenImages, "qwen3_vl": QwenImages,
    "internvl": InternImages, "smolvlm": SmolImages,
}  # fmt: skip
