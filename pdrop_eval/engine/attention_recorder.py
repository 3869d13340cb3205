"""How much attention image tokens get from the text, by layer, in a model's own forward.

The model computes what it computes anyway, with whatever attention it uses: hooks before its layers project
the keys of the layer and the queries of a few rows once more, so no [b, h, n, n] tensor is ever made.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from pdrop_eval.engine.stages.ops import last_column, query_scores
from pdrop_eval.models import families
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_choice

QUERIES = ("last", "text")
recording: WeakSet[nn.Module] = WeakSet()  # decoders of which all rows of every layer are looked at
_ROWS = 64  # query rows whose weights are in memory at once


class AttentionShares:
    """Records, while the context is open, what share of attention each token gets in the next prefill.

    `shares` then has, for each layer, [b, n] float32: softmax over everything that the query sees, mean over
    heads and query rows. Each row adds up to 1, but for the rounding of the model's dtype. Rows that beam
    search repeats count once.

    Args:
        model: a model of a registered family.
        image: [b, n] bool, true on image tokens of the prompts that will be run.
        layers: the indices of the layers to record.
        query: "last", from the last token of the prompt, by which image tokens are ranked; "text", the mean
            over all tokens behind the last image token.
        valid: [b, n] bool, false on padding; None: there is none.

    Raises:
        UserError: an unknown query, or layers that the model doesn't have.
    """

    def __init__(
        self, model: nn.Module, image: Tensor, layers: Sequence[int], query: str = "last",
        valid: Tensor | None = None,
    ) -> None:  # fmt: skip
        check_choice("query", query, QUERIES)
        self.family = families.of_model(model)
        self.decoder = self.family.decoder(model)
        self.decoder_layers = self.decoder.layers
        depth = len(self.decoder_layers)
        if wrong := [layer for layer in layers if not 0 <= layer < depth]:
            raise UserError(f"The model has no layer {wrong[0]}: its {depth} layers are 0 to {depth - 1}.")
        self.layers = tuple(layers)
        self.valid = torch.ones_like(image) if valid is None else valid
        self.columns, self.real = query_columns(image, self.valid, query)
        self.shares: dict[int, Tensor] = {}
        self._handles: list[Any] = []

    def __enter__(self) -> "AttentionShares":
        recording.add(self.decoder)
        for number in self.layers:
            hook, layer = partial(self._before_layer, number), self.decoder_layers[number]
            self._handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(self, *exception: object) -> None:
        recording.discard(self.decoder)
        while self._handles:
            self._handles.pop().remove()

    @torch.no_grad()
    def _before_layer(self, number: int, layer: nn.Module, args: Any, kwargs: Any) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        rows, columns = self.valid.shape
        if number in self.shares or hidden.shape[1] != columns or hidden.shape[0] % rows:
            return  # a later step, which decodes one token
        once = slice(None, None, hidden.shape[0] // rows)
        hidden = hidden[once]
        cos, sin = (part[once] if len(part) > 1 else part for part in kwargs["position_embeddings"])
        chosen, real, valid = (part.to(hidden.device) for part in (self.columns, self.real, self.valid))
        query, key, scaling = self.family.query_key(layer, hidden, chosen, cos, sin)
        seen = torch.arange(columns, device=hidden.device) <= chosen[:, :, None]
        visible = seen & valid[:, None]
        total = torch.zeros(rows, columns, device=hidden.device)
        for start in range(0, chosen.shape[1], _ROWS):
            part = slice(start, start + _ROWS)
            mean = query_scores(query[:, :, part], key, visible[:, part], real[:, part], scaling=scaling)
            total += mean * real[:, part].sum(1, keepdim=True)
        self.shares[number] = (total / real.sum(1, keepdim=True).clamp(min=1)).cpu()


def query_columns(image: Tensor, valid: Tensor, query: str) -> tuple[Tensor, Tensor]:
    """Return the columns whose queries are asked.

    Args:
        image: [b, n] bool, true on image tokens.
        valid: [b, n] bool, false on padding.
        query: see `AttentionShares`.

    Returns:
        (columns [b, t], real [b, t] bool, false on padding).
    """
    if query == "last":
        columns = last_column(valid)
        return columns, torch.ones_like(columns, dtype=torch.bool)
    numbers = torch.arange(image.shape[1], device=image.device)
    last_image = torch.where(image, numbers, -1).amax(1, keepdim=True)
    text = valid & (numbers > last_image)
    most = max(1, int(text.sum(1).max()))
    columns = text.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :most]
    return columns, text.gather(1, columns)


def default_layers(depth: int) -> list[int]:
    """Return the first and the last layer, and those of the paper's Figure 1: 2, 8, 16 and 24 of 32.

    In a model of fewer than 16 layers, the paper's shallowest is layer 1, as in the left of its Figure 1.
    """
    shallow = min(max(1, depth // 16), depth - 1)
    return sorted({0, shallow, depth // 4, depth // 2, depth * 3 // 4, depth - 1})
