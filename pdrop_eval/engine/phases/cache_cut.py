"""Cuts caches after the prefill to the tokens that reached its end, for methods whose official code does."""

from collections.abc import Sequence
from typing import Any

import torch

from pdrop_eval.engine.phases.decode import CachedStage, CacheRecord
from pdrop_eval.engine.stages.stage import Stage


@torch.no_grad()
def cut_caches(
    cache: Any,
    record: CacheRecord,
    stages: Sequence[Stage],
    layers: Sequence[int],
    first: int,
    renumber: bool,
) -> None:
    """Leave the last stage's tokens alone in the caches of the layers from `first` on.

    They keep the positions that their layer gave them, while later tokens go on as after the last drop: with
    positions renumbered, a query may stand before its keys. So does the official code of these methods.

    Args:
        cache: a DynamicCache after the prefill.
        record: what decoding knows of it; changed.
        stages: of the prefill, the first one undropped.
        layers: the drops' layers.
        first: a layer from 1 on: layer 0 says how many tokens were seen.
        renumber: whether position ids were renumbered.
    """
    last = stages[-1]
    if last.made is not None:
        raise ValueError(
            "Made tokens are in no cache of the layers before them: caches can't be cut to them."
        )
    columns = torch.arange(last.index.shape[1], device=last.index.device).expand_as(last.index)
    stage = len(stages) - 1
    for number in reversed(range(first, len(cache.layers))):
        while stage > sum(at <= number for at in layers):
            gather = stages[stage].gather
            columns = columns if gather is None else gather.gather(1, columns)
            stage -= 1
        cached = cache.layers[number]
        index = columns[:, None, :, None].to(cached.keys.device)
        cached.keys = cached.keys.gather(2, index.expand(*cached.keys.shape[:2], -1, cached.keys.shape[3]))
        cached.values = cached.values.gather(
            2, index.expand(*cached.values.shape[:2], -1, cached.values.shape[3])
        )
    cut = CachedStage(
        layer=first,
        columns=last.index.shape[1],
        valid=last.valid if last.padded else None,
        removed=last.removed if renumber else None,
    )
    record.stages = [*(known for known in record.stages if known.layer < first), cut]
