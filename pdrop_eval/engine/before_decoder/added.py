"""What a decoder adds to its image tokens between its first layers, for prompts that have become shorter."""

from collections.abc import Sequence
from copy import copy

import torch
from torch import Tensor


class AddedFeatures:
    """Features of the vision tower that are added to the outputs of the first layers (DeepStack).

    The decoder itself adds them by the columns of the full prompt, which a drop moves.

    Args:
        mask: [b, n] bool, the tokens of the full prompt that they are added to.
        features: for each of the first layers, [tokens, d].
    """

    def __init__(self, mask: Tensor, features: Sequence[Tensor]):
        self.mask = mask
        self.features = features
        self.row = (mask.flatten().cumsum(0) - 1).view(mask.shape)

    def of_rows(self, numbers: Sequence[int]) -> "AddedFeatures":
        """Return what is added to some rows of the batch."""
        own = copy(self)
        own.mask = torch.stack([self.mask[number] for number in numbers])
        own.row = torch.stack([self.row[number] for number in numbers])
        return own

    def content(self, number: int) -> bytes:
        """Return the bytes of what is added to one row of the batch."""
        rows = self.row[number][self.mask[number]]
        values = torch.stack([one.to(rows.device)[rows] for one in self.features]).detach().cpu()
        return values.contiguous().view(torch.uint8).numpy().tobytes()

    def after(self, layer: int, hidden: Tensor, index: Tensor) -> Tensor:
        """Return the output of a layer with what is to be added.

        Args:
            layer: its index; where nothing is added, the output is returned.
            hidden: [b, m, d], its output.
            index: [b, m], the column in the full prompt of each of its tokens; -1 for one that was made.
        """
        if not 0 <= layer < len(self.features):
            return hidden
        columns = index.to(self.mask.device).clamp(min=0)
        chosen = (self.mask.gather(1, columns) & (index >= 0).to(self.mask.device)).to(hidden.device)
        rows = self.row.gather(1, columns).to(hidden.device)[chosen]
        added = self.features[layer].to(hidden.device, hidden.dtype)
        hidden = hidden.clone()
        hidden[chosen] = hidden[chosen] + added[rows]
        return hidden
