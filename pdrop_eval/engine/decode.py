"""The state of one forward on a filled cache: each layer goes on from its own shortened length."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pdrop_eval.engine import ops
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.errors import UserError


@dataclass
class CachedStage:
    """What one drop left in the caches of the layers from `layer` on.

    columns: cached columns after prefill. valid: [b, columns] bool, or None when none is padding.
    removed: [b] tokens removed, by which later position ids move down, or None when they keep their numbers.
    """

    layer: int
    columns: int
    valid: Tensor | None
    removed: Tensor | None


@dataclass
class CacheRecord:
    """Rides on a cache object (`cache.pdrop_record`): `columns` of the undropped prompt, and the drops."""

    columns: int
    stages: list[CachedStage] = field(default_factory=list)


class Continuation:
    """One forward on a filled cache: decoding, or more text without new images."""

    def __init__(self, record: CacheRecord | None, past: int, rotary: nn.Module, attention: str):
        self.record = record
        self.past = past
        self.rotary = rotary
        self.attention = attention
        self.inputs: dict[int, tuple[Tensor | None, tuple[Tensor, Tensor]]] = {}
        self.rotated: list[tuple[Tensor, Tensor]] | None = None

    def begin(self, attention_mask: Tensor | None, position_ids: Tensor | None, tokens: Tensor) -> None:
        """Start from the decoder's inputs: tokens [b, q, ...], attention_mask [b, past + q] or None."""
        if self.record is None or not self.record.stages:
            return
        q = tokens.shape[1]
        self.added = self.past + q - self.record.columns
        if self.added < q:
            raise UserError(
                f"The cache was cut to {self.past} tokens, into the {self.record.columns} of its prompt, of "
                "which some were dropped: start again from an empty cache."
            )
        if position_ids is None:
            position_ids = torch.arange(self.past, self.past + q, device=tokens.device)[None]
        self.position_ids = position_ids
        self.new_valid: Tensor | None = None
        if attention_mask is not None:
            if attention_mask.shape[1] != self.past + q:
                raise UserError(
                    f"attention_mask has {attention_mask.shape[1]} columns: give one for each of the "
                    f"{self.past} tokens seen (dropped ones included) and the {q} new ones, {self.past + q} "
                    "in all."
                )
            new = attention_mask[:, self.record.columns :].bool()
            self.new_valid = None if bool(new.all()) else new

    def enter_layer(self, number: int, layer: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Replace the inputs of layer `number` in `kwargs` where tokens were dropped before it."""
        stages = self.record.stages if self.record is not None else []
        passed = [i for i, stage in enumerate(stages) if stage.layer <= number]
        if passed:
            i = passed[-1]
            if i not in self.inputs:
                given = kwargs["position_embeddings"]
                self.inputs[i] = self._stage_mask(stages[i], hidden), self._stage_positions(i, hidden, given)
            kwargs["attention_mask"], kwargs["position_embeddings"] = self.inputs[i]
            kwargs["position_ids"] = None
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Return the decoder's output unchanged."""
        return hidden

    @torch.no_grad()
    def _stage_mask(self, stage: CachedStage, hidden: Tensor) -> Tensor | None:
        """Return the mask of one stage, or None where the kernel needs none."""
        b, q = hidden.shape[:2]
        valid = None
        if stage.valid is not None or self.new_valid is not None:
            old = hidden.new_ones(b, stage.columns, dtype=torch.bool) if stage.valid is None else stage.valid
            new = (
                hidden.new_ones(b, self.added, dtype=torch.bool) if self.new_valid is None else self.new_valid
            )
            if old.shape[0] != b:
                raise UserError(f"The cache was filled with {old.shape[0]} rows, but this forward has {b}.")
            valid = torch.cat((old, new), dim=1)
        return ops.layer_mask(mask_kind(self.attention), valid, q, stage.columns + self.added, hidden)

    @torch.no_grad()
    def _stage_positions(self, i: int, hidden: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return cos and sin of stage i; `given` are those of the layers that saw every token.

        A call takes as long for one new token as for the tokens of all stages, so it is made once.
        """
        assert self.record is not None
        removed = [stage.removed for stage in self.record.stages]
        if removed[i] is None:
            return given
        if self.rotated is None:
            moved = [self.position_ids - gone[:, None] for gone in removed if gone is not None]
            # Some scalings look at the longest position, which is then to be the stage's own.
            together = getattr(self.rotary, "rope_type", None) == "default"
            calls = [torch.cat(moved)] if together else moved
            found = [self.rotary(hidden, position_ids=positions) for positions in calls]
            cos, sin = (torch.cat(part).split(len(moved[0])) for part in zip(*found, strict=True))
            self.rotated = list(zip(cos, sin, strict=True))
        return self.rotated[sum(gone is not None for gone in removed[:i])]
