"""The state of one forward on a filled cache: each layer continues from its own shortened length."""

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pdrop_eval.engine.before_decoder.reduce import Shortened
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.engine.stages import ops
from pdrop_eval.utils.errors import UserError


@dataclass
class CachedStage:
    """What one drop left in the caches of the layers from `layer` on.

    Attributes:
        layer: the first layer that sees the shortened sequence.
        columns: cached columns after prefill.
        valid: [b, columns] bool, or None when none is padding.
        removed: [b] tokens removed, by which later position ids move down, or None when they keep their
            numbers.
    """

    layer: int
    columns: int
    valid: Tensor | None
    removed: Tensor | None


@dataclass
class CacheRecord:
    """Rides on a cache object (`cache.pdrop_record`).

    Attributes:
        columns: of the prompt, before any drop.
        stages: the drops.
        prompt: the prompt's shortening before the decoder, or None.
        padded: whether the last forward's mask had padding behind the prompt.
    """

    columns: int
    stages: list[CachedStage] = field(default_factory=list)
    prompt: Shortened | None = None
    padded: bool = False


class Continuation:
    """One forward on a filled cache: decoding, or more text without new images.

    Args:
        record: of the cache.
        past: tokens seen.
        rotary: the decoder's rotary embedding.
        attention: the attention implementation.
        generated: `generate` made the new tokens, after an earlier forward on this cache: they are none of
            them padding. To look at the mask would make the processor wait for the GPU in each step.
    """

    def __init__(
        self, record: CacheRecord | None, past: int, rotary: nn.Module, attention: str,
        generated: bool = False,
    ) -> None:  # fmt: skip
        self.record = record
        self.generated = generated
        self.past = past
        self.rotary = rotary
        self.attention = attention
        self.inputs: list[tuple[Tensor | None, tuple[Tensor, Tensor]]] = []

    def begin(self, attention_mask: Tensor | None, position_ids: Tensor | None, tokens: Tensor) -> None:
        """Start from the decoder's inputs.

        Args:
            attention_mask: [b, past + q], false on padding, or None.
            position_ids: [b or 1, q], or None for the q numbers after `past`.
            tokens: [b, q, ...] ids or embeddings.

        Raises:
            UserError: a cache that was cut into its prompt, or a mask of another length.
        """
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
            if not self.generated:
                self.record.padded = not bool(new.all())
            self.new_valid = new if self.record.padded else None

    def enter_layer(self, number: int, layer: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Replace the inputs of layer `number` in `kwargs` where tokens were dropped before it."""
        stages = self.record.stages if self.record is not None else []
        if not stages or number < stages[0].layer:
            return hidden
        if not self.inputs:
            with torch.no_grad():
                masks = [self._stage_mask(stage, hidden) for stage in stages]
                places = self._stage_positions(stages, hidden, kwargs["position_embeddings"])
            self.inputs = list(zip(masks, places, strict=True))
            self.layers = [stage.layer for stage in stages]
        given = self.inputs[bisect_right(self.layers, number) - 1]
        kwargs["attention_mask"], kwargs["position_embeddings"] = given
        kwargs["position_ids"] = None
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Return the decoder's output unchanged."""
        return hidden

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

    def _stage_positions(
        self, stages: list[CachedStage], hidden: Tensor, given: tuple[Tensor, Tensor]
    ) -> list[tuple[Tensor, Tensor]]:
        """Return cos and sin of every stage; `given` are those of the layers that saw every token.

        One call for the new tokens of all stages takes no longer than one for those of a single stage.
        """
        removed = [stage.removed for stage in stages if stage.removed is not None]
        if not removed:
            return [given] * len(stages)
        moved = self.position_ids - torch.stack(removed)[:, :, None]  # [stages, b, q]
        if getattr(self.rotary, "rope_type", None) == "default":
            cos, sin = self.rotary(hidden, position_ids=moved.flatten(0, 1))
            rows = moved.shape[1]
            found = iter(list(zip(cos.split(rows), sin.split(rows), strict=True)))
        else:  # other scalings look at the longest position, which is to be the stage's own
            found = iter([self.rotary(hidden, position_ids=positions) for positions in moved])
        return [given if stage.removed is None else next(found) for stage in stages]
