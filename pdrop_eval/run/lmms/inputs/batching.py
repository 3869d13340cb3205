"""Which questions run together, and their token ids as one tensor."""

import hashlib
import json
from collections.abc import Sequence

import torch
from lmms_eval.api.instance import Instance
from torch import Tensor

from pdrop_eval.run.lmms.inputs.preprocess import Prepared


def left_padded(rows: Sequence[Tensor], fill: int) -> tuple[Tensor, Tensor]:
    """Rows of token ids as one tensor [b, n], and its mask: padding on the left, so that all end together."""
    n = max(map(len, rows))
    ids = torch.full((len(rows), n), fill)
    mask = torch.zeros(len(rows), n, dtype=torch.long)
    for row, tokens in enumerate(rows):
        ids[row, n - len(tokens) :] = tokens
        mask[row, n - len(tokens) :] = 1
    return ids, mask


def seed_of(seed: int, batch: Sequence[Prepared]) -> int:
    """A batch's own seed: what is sampled doesn't depend on how many batches were asked before it."""
    words = json.dumps([seed, [question.content_sha256 for question in batch]])
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big")


def groups_of(requests: Sequence[Instance]) -> list[list[int]]:
    """Indices of requests that may run together: one task, split and set of generation arguments."""
    groups: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        _, arguments, _, _, task, split = request.args
        kind = json.dumps([task, split, arguments], sort_keys=True, default=str)
        groups.setdefault(kind, []).append(index)
    return list(groups.values())


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error says that the device's memory is full."""
    # MPS and the CPU have no exception of their own for it
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError)
        and any(words in str(error) for words in ("out of memory", "can't allocate memory"))
    )
