"""Which questions run together, and their token ids as one tensor."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from lmms_eval.api.instance import Instance
from torch import Tensor

from pdrop_eval.efficiency.architecture import nominal_image_tokens
from pdrop_eval.run.lmms.inputs.preprocess import Prepared

_MANY, _FEW = 32, 8
_MOST_TOKENS = 1024  # of an image, in a large batch
_SMALL_WIDTH = 1024  # of a decoder that a processor gives a large batch


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


def in_order(questions: Sequence[Prepared]) -> list[int]:
    """The places of questions in the order in which they are answered.

    Questions of one image follow one another, the longest first, and so do images, by their longest question:
    with little padding, and what doesn't fit fails at once.
    """
    longest: dict[str, int] = {}
    for question in questions:
        key = question.images_sha256
        longest[key] = max(longest.get(key, 0), len(question.ids))

    def place(number: int) -> tuple[int, str, int]:
        question = questions[number]
        return -longest[question.images_sha256], question.images_sha256, -len(question.ids)

    return sorted(range(len(questions)), key=place)


def first_batch_size(device: str, config: Any) -> int:
    """Where `batch_size=auto` begins: what a GPU of 80 GB, or a processor, takes at once of a usual model.

    32 questions of 600 tokens are what fills a GPU's kernels; of LLaVA-NeXT's 3,000 tokens, their keys and
    values alone are 50 GB. A processor gains from more than 8 only where the model is small.

    Args:
        device: its type, "cuda", "mps" or "cpu".
        config: the model's transformers config.
    """
    long = nominal_image_tokens(config) > _MOST_TOKENS
    if long or device == "mps":
        return _FEW
    if device == "cuda":
        return _MANY
    return _MANY if config.get_text_config().hidden_size <= _SMALL_WIDTH else _FEW
