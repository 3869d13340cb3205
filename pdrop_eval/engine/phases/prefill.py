"""The state of one prefill: ranks, drops and hands every later layer its shortened inputs.

It travels in the layers' keyword arguments, so that two forwards may be in flight before one backward. Each
stage is computed once and replayed when a checkpointed layer runs again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pdrop_eval.engine.before_decoder.added import AddedFeatures
from pdrop_eval.engine.before_decoder.reduce import Shortened
from pdrop_eval.engine.checks import mask_kind
from pdrop_eval.engine.interface import (
    Drop,
    Selection,
    SelectionContext,
    TokenSelector,
    resolve_scoring_layer,
)
from pdrop_eval.engine.per_image import places_of_rows, seeds_of_rows
from pdrop_eval.engine.phases.cache_cut import cut_caches
from pdrop_eval.engine.phases.decode import CachedStage, CacheRecord
from pdrop_eval.engine.phases.filling import drop_record, fill_report, only_last
from pdrop_eval.engine.prefix.sharing import Sharing
from pdrop_eval.engine.prefix.suffix import Suffix
from pdrop_eval.engine.report import Report
from pdrop_eval.engine.stages import ops
from pdrop_eval.engine.stages.counts import RetainedCounts
from pdrop_eval.engine.stages.scoring import ScoringLayer
from pdrop_eval.engine.stages.stage import Present, Stage, retained, shortened, with_made
from pdrop_eval.models.family import Family
from pdrop_eval.models.kv_cache import cache_in
from pdrop_eval.models.rotary import gather_columns
from pdrop_eval.models.towers.encoded import Places
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
    final_norm: Callable[[Tensor], Tensor]
    positions: str = "keep"
    seeds: Sequence[int] | None = None
    cache_cut: int | None = None


class Prefill:
    """One forward that starts a sequence."""

    def __init__(
        self, setup: Setup, report: Report, image: Tensor, labels: Tensor | None,
        prompt: Shortened | None = None, places: Callable[[], Sequence[Places]] | None = None,
    ) -> None:  # fmt: skip
        self.setup = setup
        self.report = report
        self.image = image
        self.labels = labels
        self.prompt = prompt
        self.places = places
        self.embeddings: Tensor | None = None
        self.memory: dict[str, Any] = {}
        self.stages: list[Stage] = []
        self.selections: dict[int, Selection] = {}
        self.inputs: dict[int, tuple[Tensor | None, tuple[Tensor, Tensor]]] = {}
        self.record: CacheRecord | None = None
        self.cache: Any = None
        self.added: AddedFeatures | None = None
        self.sharing: Sharing | None = None
        self.suffix: Suffix | None = None

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
        self.counts = RetainedCounts(self.setup.selector, self.setup.num_layers, images, self.droppable)
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
        if number == 0:
            self.cache = cache_in(kwargs)
            if self.cache is not None:
                self.cache.pdrop_record = self.record
            if getattr(self.setup.selector, "needs_embeddings", False):
                self.embeddings = hidden.detach()
            if self.sharing is not None:
                self.suffix = self.sharing.start(self.stages[0], hidden, kwargs, self.added)
        hidden = self._with_added(number, hidden)
        behind = self.suffix if self.suffix is not None and number < self.suffix.layers else None
        if self.suffix is not None and number == self.suffix.layers:
            hidden = self.suffix.whole(number, hidden)
        for d, drop in enumerate(self.setup.drops):
            due = resolve_scoring_layer(drop, self.setup.num_layers) == number
            if due and drop.layer == number:
                self._rank(d, layer, hidden, kwargs["position_embeddings"])
            if drop.layer == number:
                hidden = self._drop(d, hidden)
            if drop.layer <= number:
                self._replace_inputs(d, hidden, kwargs)
            if due and drop.layer > number:
                whole = hidden if behind is None or number == 0 else behind.whole(number, hidden)
                self._rank(d, layer, whole, kwargs["position_embeddings"])
        return hidden if behind is None else behind.cut(number, hidden, kwargs)

    def _with_added(self, number: int, hidden: Tensor) -> Tensor:
        """Add what the layer before `number` is followed by, to the tokens that it had."""
        if self.added is None:
            return hidden
        stage = self.stages[sum(drop.layer < number for drop in self.setup.drops)]
        return self.added.after(number - 1, hidden, stage.sources[:, -hidden.shape[1] :])

    def finish(self, hidden: Tensor) -> Tensor:
        """Drop after the last layer where asked for, and fill the report. hidden: [b, n, d]."""
        hidden = self._with_added(self.setup.num_layers, hidden)
        if self.suffix is not None and self.suffix.layers == self.setup.num_layers and self.setup.drops:
            hidden = self.suffix.whole(self.setup.num_layers, hidden)
        for d, drop in enumerate(self.setup.drops):
            if drop.layer == self.setup.num_layers:
                hidden = self._drop(d, hidden)
        layers = [drop.layer for drop in self.setup.drops]
        cut = self.setup.cache_cut if self.stages[-1].changed else None
        if cut is not None and self.cache is not None and self.record is not None:
            renumber = self.setup.positions == "renumber"
            cut_caches(self.cache, self.record, self.stages, layers, cut, renumber)
        fill_report(
            self.report, self.stages, layers, self.setup.num_layers, self.image.shape[1], self.prompt, cut
        )
        if hidden.shape[1] < self.stages[-1].index.shape[1]:
            only_last(self.report, self.stages[-1], hidden.shape[1])
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

        text = stage.valid & ~stage.image
        scoring = ScoringLayer(self.setup.family, layer, hidden, rotary, stage.valid, stage.image)
        with ops.choosing():
            self.selections[d] = self.setup.selector.select(
                SelectionContext(
                    drop=d,
                    num_layers=self.setup.num_layers,
                    hidden=hidden,
                    image=stage.image,
                    text=text,
                    image_tokens=self.stages[0].images,
                    alive=stage.images,
                    attention=partial(scoring.last_token, index=stage.index, starts=self.starts),
                    seeds=seeds_of_rows(self.setup.seeds, len(self.image)),
                    present=Present(
                        stage,
                        self.stages[0].image,
                        self.image_ids,
                        self.embeddings,
                        None if self.prompt is None else self.prompt.marks,
                    ),
                    rotary=rotary,
                    scoring=scoring,
                    final_norm=self.setup.final_norm,
                    places=self._row_places,
                    memory=self.memory,
                )
            )

    def _row_places(self) -> list[list[Places] | None]:
        places = [] if self.places is None or self.prompt is not None else self.places()
        return places_of_rows(places, self.stages[0].images)

    def _drop(self, d: int, hidden: Tensor) -> Tensor:
        selection = self.selections[d]
        while selection.then is not None:
            with ops.choosing():
                selection = self.selections[d] = selection.then(hidden.detach())
        if selection.hidden_update is not None:
            hidden = selection.hidden_update(hidden)
        merged = None if selection.merge is None else selection.merge(hidden)
        if len(self.stages) == d + 1:
            self.stages.append(self._next_stage(d, selection, None if merged is None else merged.counts))
        stage = self.stages[d + 1]
        if merged is not None and any(merged.counts):
            hidden = torch.cat((hidden, merged.tokens[:, : max(merged.counts)].to(hidden.dtype)), dim=1)
        return hidden if stage.gather is None else gather_columns(hidden, stage.gather)

    @torch.no_grad()
    def _next_stage(self, d: int, selection: Selection, made: Sequence[int] | None = None) -> Stage:
        before = self.stages[-1]
        chosen, images = retained(selection, before, self.droppable, self.counts)
        made = list(made) if made is not None else [0] * len(images)
        self._check_made(d, before.images, images, made)
        lengths = [
            length - (had - has - more)
            for length, had, has, more in zip(before.lengths, before.images, images, made, strict=True)
        ]
        self._check_rows(d, before.lengths, lengths)
        order = self.stages[0].image.cumsum(1) - 1
        self.report.records.append(drop_record(selection, before, self.image_ids, order, chosen, made))
        renumber = self.setup.positions == "renumber"
        if any(made):
            stage = with_made(before, chosen, made, renumber, right_aligned=self.labels is None)
        elif lengths == before.lengths:
            stage = replace(before, gather=None)
        else:
            stage = shortened(before, chosen, images, lengths, renumber, right_aligned=self.labels is None)
        self._remember(d, stage)
        return stage

    def _check_made(self, d: int, had: list[int], has: list[int], made: list[int]) -> None:
        """Refuse a strategy that makes more tokens of a row than it dropped: prompts would grow."""
        for row, (before, after, new) in enumerate(zip(had, has, made, strict=True)):
            if not 0 <= new <= before - after:
                raise ValueError(
                    f"The drop before layer {self.setup.drops[d].layer} made {new} tokens of row {row}, of "
                    f"which it dropped {before - after}."
                )

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
        if not stage.changed:
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
        if not stage.changed:
            return
        renumber = self.setup.positions == "renumber"
        self.record.stages.append(
            CachedStage(
                layer=self.setup.drops[d].layer,
                columns=stage.index.shape[1],
                valid=stage.valid if stage.padded else None,
                removed=stage.removed if renumber else None,
            )
        )

    def output_labels(self) -> Tensor | None:
        """Return the labels [b, m] of the output's columns, -100 on padding."""
        last = self.stages[-1]
        if self.labels is None or not last.changed:
            return self.labels
        return last.known(self.labels, -100).masked_fill(~last.valid, -100)
