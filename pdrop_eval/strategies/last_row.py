"""The attention of the last prompt token without positions, by which FEATHER and a form of FastV rank."""

from typing import TYPE_CHECKING

from pdrop_eval.engine.interface import SelectionContext

if TYPE_CHECKING:
    from torch import Tensor


def image_attention(context: SelectionContext) -> "Tensor":
    """Return [b, n]: how much the last token of each row attends to each image token, without RoPE.

    The softmax runs over the image tokens alone, in float32; mean over heads.
    """
    import torch

    from pdrop_eval.engine.stages import ops

    last = torch.zeros_like(context.valid).scatter(1, ops.last_column(context.valid), True)
    weights, _ = context.attention_rows(last, rope=False, over="image", heads="mean")
    return weights[:, 0]
