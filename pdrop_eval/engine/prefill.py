"""The state of one prefill: ranks, drops and hands every later layer its shortened inputs.

It travels in the layers' keyword arguments, so that two forwards may be in flight before one backward. Each
stage is computed once and replayed when a checkpointed layer runs again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pdrop_eval.engine import ops
from pdrop_eval.engine.before import Shortened
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.engine.decode import CachedStage, CacheRecord
from pdrop_eval.engine.interface import (
    Drop,
    Selection,
    SelectionContext,
    TokenSelector,
    resolve_scoring_layer,
)
from pdrop_eval.engine.report import DropRecord, Report, report_rows
from pdrop_eval.models.family import Family
from pdrop_eval.models.kv_cache import cache_in
from pdrop_eval.models.rotary import gather_columns
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Setup:
    """What stays the same over all forwards of one context."""

    selector: TokenSelector
    drops: tuple[Drop, ...]
    num_layers: int
    rotary: nn.Module
    family: Family
    attention: str
    seeds: Sequence[int] | None = None


@dataclass(frozen=True)
class Stage:
    """The tokens alive between two drops; b rows, n columns.

    Attributes:
        gather: [b, n] column in the stage before, or None where the stage drops nothing.
        index: [b, n] column in the full sequence.
        valid: [b, n] bool, false on padding.
        padded: whether there is any padding.
        image: [b, n] bool, the image tokens alive.
        positions: [..., b or 1, n] position ids; M-RoPE has three rows of them.
        removed: [b] tokens removed so far.
        lengths: per row, the tokens alive.
        images: per row, the image tokens alive; 0 where the row has none, or lost all.
    """

    gather: Tensor | None
    index: Tensor
    valid: Tensor
    padded: bool
    image: Tensor
    positions: Tensor
    removed: Tensor
    lengths: list[int]
    images: list[int]


class Prefill:
    """One forward that starts a sequence."""

    def __init__(
        self, setup: Setup, report: Report, image: Tensor, labels: Tensor | None,
        prompt: Shortened | None = None,
    ) -> None:  # fmt: skip
        self.setup = setup
        self.report = report
        self.image = image
        self.labels = labels
        self.prompt = prompt
        self.stages: list[Stage] = []
        self.selections: dict[int, Selection] = {}
        self.inputs: dict[int, tuple[Tensor | None, tuple[Tensor, Tensor]]] = {}
        self.record: CacheRecord | None = None

    def begin(self, attention_mask: Tensor | None, position_ids: Tensor | None, tokens: Tensor) -> None:
        """Start from the decoder's inputs.

        Args:
            attention_mask: [b, n], false on padding, or None.
            position_ids: [b or 1, n], or None for 0 to n-1.
            tokens: [b, n, ...] ids or embeddings.
        """
        b, n = self.image.shape
        device = self.image.device
        # Masks of other forms come only where nothing is dropped; lengths then count padding too.
        valid = self.image.new_ones(b, n)
        if isinstance(attention_mask, Tensor) and attention_mask.shape == valid.shape:
            valid = attention_mask.to(device).bool()
        if self.prompt is not None:
            valid = self.prompt.valid
        image = self.image & valid
        if position_ids is None:
            position_ids = torch.arange(n, device=device)[None]
        position_ids = self.setup.family.rotary_positions(position_ids)
        self.image_ids = image.cumsum(1) - 1 if self.prompt is None else self.prompt.source
        if self.labels is None:
            self.starts = None
            has_query = torch.ones(b, dtype=torch.long, device=device)
        else:
            self.labels = self.labels.to(device)
            self.starts = ops.span_starts(self.labels, valid)
            has_query = (self.starts > 0).any(1).long()
        # The one read-back of a prefill: from here on, all lengths are host integers.
        lengths, images, queries = torch.stack((valid.sum(1), image.sum(1), has_query)).tolist()
        self.droppable = [bool(q) for q in queries]
        index = torch.arange(n, device=device).expand(b, n)
        removed = torch.zeros(b, dtype=torch.long, device=device)
        self.stages = [
            Stage(
                None, index, valid, min(lengths) < n, image, position_ids.to(device), removed, lengths, images
            )
        ]
        self.record = CacheRecord(columns=n, prompt=self.prompt)

    def enter_layer(self, number: int, layer: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> Tensor:
        """Rank and drop where it is due before layer `number`, and replace its inputs in `kwargs`."""
        if number == 0 and (cache := cache_in(kwargs)) is not None:
            cache.pdrop_record = self.record
        for d, drop in enumerate(self.setup.drops):
            due = resolve_scoring_layer(drop, self.setup.num_layers) == number
            if due and drop.layer == number:
                self._rank(d, layer, hidden, kwargs["position_embeddings"])
            if drop.layer == number:
                hidden = self._drop(d, hidden)
            if drop.layer <= number:
                self._replace_inputs(d, hidden, kwargs)
            if due and drop.layer > number:
                self._rank(d, layer, hidden, kwargs["position_embeddings"])
        return hidden

    def finish(self, hidden: Tensor) -> Tensor:
        """Drop after the last layer where asked for, and fill the report. hidden: [b, n, d]."""
        for d, drop in enumerate(self.setup.drops):
            if drop.layer == self.setup.num_layers:
                hidden = self._drop(d, hidden)
        self._fill_report()
        return hidden

    def _rank(self, d: int, layer: nn.Module, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> None:
        if d in self.selections:
            return
        stage = self.stages[-1]
        if not any(stage.images):  # text only: nothing to choose from, so nothing is computed
            scores = torch.zeros(stage.image.shape, device=hidden.device)
            self.selections[d] = Selection(scores=scores, counts=stage.images)
            return
        hidden = hidden.detach()

        def attention(kind: str) -> Tensor:
            if self.starts is None:
                queries = ops.last_column(stage.valid)
                real = torch.ones_like(queries, dtype=torch.bool)
            else:
                queries, real = ops.answer_queries(self.starts, stage.valid, stage.index)
            columns = torch.arange(stage.valid.shape[1], device=hidden.device)
            visible = stage.valid[:, None] & (columns <= queries[:, :, None])
            query, key, scaling = self.setup.family.query_key(layer, hidden, queries, *rotary)
            return ops.query_scores(query, key, visible, real, scaling=scaling, kind=kind)

        text = stage.valid & ~stage.image
        with torch.no_grad():
            self.selections[d] = self.setup.selector.select(
                SelectionContext(
                    drop=d,
                    num_layers=self.setup.num_layers,
                    hidden=hidden,
                    image=stage.image,
                    text=text,
                    image_tokens=self.stages[0].images,
                    alive=stage.images,
                    attention=attention,
                    seeds=self._seeds(),
                )
            )

    def _seeds(self) -> list[int]:
        """Return a number a row; beam search and num_return_sequences repeat every row."""
        rows, given = len(self.image), self.setup.seeds or (0,)
        return [seed for seed in given for _ in range(max(1, rows // len(given)))][:rows]

    def _drop(self, d: int, hidden: Tensor) -> Tensor:
        selection = self.selections[d]
        if len(self.stages) == d + 1:
            self.stages.append(self._next_stage(d, selection))
        stage = self.stages[d + 1]
        if selection.hidden_update is not None:
            hidden = selection.hidden_update(hidden)
        return hidden if stage.gather is None else gather_columns(hidden, stage.gather)

    @torch.no_grad()
    def _next_stage(self, d: int, selection: Selection) -> Stage:
        before = self.stages[-1]
        chosen, images = _retained(selection, before, self.droppable)
        self._note(d, selection, before, chosen)
        lengths = [
            length - (had - has)
            for length, had, has in zip(before.lengths, before.images, images, strict=True)
        ]
        self._check_rows(d, before.lengths, lengths)
        if lengths == before.lengths:
            stage = replace(before, gather=None)
        else:
            keep = before.valid & (chosen | ~before.image)
            gone = (before.valid & ~keep).long()
            positions = before.positions
            if self.setup.selector.positions == "renumber":
                positions = (positions - gone.cumsum(1)).clamp(min=0)
            positions = positions.expand(*positions.shape[:-2], *keep.shape)
            columns, valid = ops.compact(keep, max(lengths), right_aligned=self.labels is None)
            stage = Stage(
                gather=columns,
                index=before.index.gather(1, columns),
                valid=valid,
                padded=min(lengths) < max(lengths),
                image=chosen.gather(1, columns) & valid,
                positions=positions.gather(-1, columns.expand(*positions.shape[:-2], *columns.shape)),
                removed=before.removed + gone.sum(1),
                lengths=lengths,
                images=images,
            )
        self._remember(d, stage)
        return stage

    def _check_rows(self, d: int, before: list[int], lengths: list[int]) -> None:
        """Refuse a drop that leaves a row without any token."""
        emptied = [row for row, (had, has) in enumerate(zip(before, lengths, strict=True)) if had and not has]
        if emptied:
            raise UserError(
                f"Row {emptied[0]} has image tokens only, and the drop before layer "
                f"{self.setup.drops[d].layer} removes them all: give the row a text token, or retain at "
                "least one image token."
            )

    def _replace_inputs(self, d: int, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Give the layer the mask and position embeddings of the stage after drop d, if it is shorter."""
        stage = self.stages[d + 1]
        if stage.lengths == self.stages[0].lengths:
            return
        if d not in self.inputs:
            with torch.no_grad():
                valid = stage.valid if stage.padded else None
                n = stage.index.shape[1]
                mask = ops.layer_mask(mask_kind(self.setup.attention), valid, n, n, hidden)
                self.inputs[d] = (mask, self.setup.rotary(hidden, position_ids=stage.positions))
        kwargs["attention_mask"], kwargs["position_embeddings"] = self.inputs[d]
        # Position ids are spent in the embeddings; gaps in them would be read as packed sequences.
        kwargs["position_ids"] = None

    def _remember(self, d: int, stage: Stage) -> None:
        """Note on the cache what decoding needs; the record is shared with the cache from layer 0 on."""
        assert self.record is not None
        if stage.lengths == self.stages[0].lengths:
            return
        renumber = self.setup.selector.positions == "renumber"
        self.record.stages.append(
            CachedStage(
                layer=self.setup.drops[d].layer,
                columns=stage.index.shape[1],
                valid=stage.valid if stage.padded else None,
                removed=stage.removed if renumber else None,
            )
        )

    def _note(self, d: int, selection: Selection, before: Stage, chosen: Tensor) -> None:
        """Note drop d for the report."""
        ids = self.image_ids.gather(1, before.index)
        self.report.records.append(DropRecord(ids, before.image, chosen, selection.scores))

    def _fill_report(self) -> None:
        layers = [drop.layer for drop in self.setup.drops]
        per_layer = [self.stages[sum(at <= i for at in layers)] for i in range(self.setup.num_layers)]
        report, last = self.report, self.stages[-1]
        report.columns = self.image.shape[1]
        report.image_tokens = self.stages[0].images
        report.image_tokens_per_layer = [stage.images for stage in per_layer]
        report.kv_lengths = [stage.lengths for stage in per_layer]
        if last.lengths != self.stages[0].lengths:
            report.index, report.attention_mask = last.index, last.valid
        if self.prompt is not None:
            self._fill_full_prompt(report, last)

    def _fill_full_prompt(self, report: Report, last: Stage) -> None:
        """Say it in the columns and image tokens of the prompt as it was given."""
        prompt = self.prompt
        assert prompt is not None
        report.columns = prompt.full_ids.shape[1]
        report.image_tokens = prompt.image_tokens
        report.sources = report_rows(prompt.source, self.stages[0].image)
        report.index, report.attention_mask = prompt.index.gather(1, last.index), last.valid

    def output_labels(self) -> Tensor | None:
        """Return the labels [b, m] of the output's columns, -100 on padding."""
        last = self.stages[-1]
        if self.labels is None or last.lengths == self.stages[0].lengths:
            return self.labels
        return self.labels.gather(1, last.index).masked_fill(~last.valid, -100)


def _retained(selection: Selection, stage: Stage, droppable: list[bool]) -> tuple[Tensor, list[int]]:
    """Return ([b, n] bool, the image tokens retained; per row, how many); rows not droppable retain all."""
    device = stage.image.device
    if selection.keep is not None:
        free = torch.tensor(droppable, device=device)[:, None]
        chosen = stage.image & (selection.keep | ~free)
        return chosen, chosen.sum(1).tolist()
    if selection.scores is None or selection.counts is None:
        raise ValueError("A Selection needs either keep, or scores and counts.")
    counts = [
        min(int(count), have) if free else have
        for count, have, free in zip(selection.counts, stage.images, droppable, strict=True)
    ]
    return ops.top_mask(selection.scores, stage.image, torch.tensor(counts, device=device)), counts
