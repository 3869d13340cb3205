"""The tokens alive between two drops, and the step from one stage to the next."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdrop_eval.engine.interface import Selection
from pdrop_eval.engine.stages import ops
from pdrop_eval.engine.stages.counts import RetainedCounts
from pdrop_eval.models.rotary import gather_columns


@dataclass(frozen=True)
class Stage:
    """The tokens alive between two drops; b rows, n columns.

    Attributes:
        gather: [b, n] column in the stage before, its made tokens behind its own columns; None where the
            stage drops nothing.
        index: [b, n] column in the full sequence; of a made token, that of the image token before it.
        valid: [b, n] bool, false on padding.
        padded: whether there is any padding.
        image: [b, n] bool, the image tokens alive.
        positions: [..., b or 1, n] position ids; M-RoPE has three rows of them.
        removed: [b] tokens removed so far, less those made.
        lengths: per row, the tokens alive.
        images: per row, the image tokens alive; 0 where the row has none, or lost all.
        made: [b, n] bool, tokens that drops have made, or None where there are none.
        changed: whether anything was dropped so far.
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
    made: Tensor | None = None
    changed: bool = False

    def known(self, values: Tensor, fill: int) -> Tensor:
        """Return `values` [b, N] of the full sequence at this stage's columns; `fill` on made tokens."""
        found = values.gather(1, self.index)
        return found if self.made is None else found.masked_fill(self.made, fill)

    @property
    def sources(self) -> Tensor:
        """[b, n] column in the full sequence; -1 on made tokens."""
        return self.index if self.made is None else self.index.masked_fill(self.made, -1)


@dataclass(frozen=True)
class Present:
    """What is known of the columns of a stage, by what is known of the full prompt's N columns.

    Attributes:
        stage: the stage.
        image: [b, N] bool, the image tokens before any drop.
        ids: [b, N] which of its row's image tokens a column is; what it is elsewhere doesn't matter.
        inputs: [b, N, d] the decoder's inputs, or None where the strategy doesn't need them.
        marks: [b, N] bool, what a strategy before the decoder marked, or None.
    """

    stage: Stage
    image: Tensor
    ids: Tensor
    inputs: Tensor | None = None
    marks: Tensor | None = None

    @property
    def merged(self) -> Tensor:
        """[b, n] bool, true on made tokens."""
        made = self.stage.made
        return torch.zeros_like(self.stage.image) if made is None else made

    @property
    def marked(self) -> Tensor:
        """[b, n] bool, the tokens that a strategy before the decoder marked."""
        if self.marks is None:
            return torch.zeros_like(self.stage.image)
        return self.stage.known(self.marks, 0) & self.stage.image

    @property
    def image_ids(self) -> Tensor:
        """[b, n] the image token that a column is, else -1."""
        return self.stage.known(self.ids, -1).masked_fill(~self.stage.image, -1)

    @property
    def embeddings(self) -> Tensor | None:
        """[b, n, d] the decoder's inputs, 0 on made tokens."""
        if self.inputs is None:
            return None
        found = gather_columns(self.inputs, self.stage.index)
        return found if self.stage.made is None else found.masked_fill(self.stage.made[..., None], 0)

    @property
    def behind(self) -> Tensor:
        """[b, n] bool, the columns behind the row's last image token; none in rows without images."""
        numbers = torch.arange(self.image.shape[1], device=self.image.device)
        last = torch.where(self.image, numbers, -1).amax(1, keepdim=True)
        return (self.stage.index > last) & (last >= 0)


def retained(
    selection: Selection, stage: Stage, droppable: list[bool], uploaded: RetainedCounts
) -> tuple[Tensor, list[int]]:
    """Return ([b, n] bool, the image tokens retained; per row, how many); rows not droppable retain all."""
    device = stage.image.device
    if selection.keep is not None:
        if all(droppable):
            chosen = stage.image & selection.keep
            return chosen, chosen.sum(1).tolist()
        free = ops.on_device(droppable, device)[:, None]
        chosen = stage.image & (selection.keep | ~free)
        return chosen, chosen.sum(1).tolist()
    if selection.scores is None or selection.counts is None:
        raise ValueError("A Selection needs either keep, or scores and counts.")
    counts = [
        min(int(count), have) if free else have
        for count, have, free in zip(selection.counts, stage.images, droppable, strict=True)
    ]
    return ops.top_mask(selection.scores, stage.image, uploaded.on(device, counts)), counts


def shortened(
    before: Stage, chosen: Tensor, images: list[int], lengths: list[int], renumber: bool, right_aligned: bool
) -> Stage:
    """Return the stage in which of all image tokens only those `chosen` [b, n] are left.

    Args:
        before: the stage that drops.
        chosen: the image tokens retained.
        images: per row, how many.
        lengths: per row, all tokens that are left.
        renumber: closes the gaps in the position ids.
        right_aligned: pads on the left.
    """
    keep = before.valid & (chosen | ~before.image)
    gone = (before.valid & ~keep).long()
    positions = before.positions
    if renumber:
        positions = (positions - gone.cumsum(1)).clamp(min=0)
    positions = positions.expand(*positions.shape[:-2], *keep.shape)
    columns, valid = ops.compact(keep, max(lengths), right_aligned)
    return Stage(
        gather=columns,
        index=before.index.gather(1, columns),
        valid=valid,
        padded=min(lengths) < max(lengths),
        image=chosen.gather(1, columns) & valid,
        positions=positions.gather(-1, columns.expand(*positions.shape[:-2], *columns.shape)),
        removed=before.removed + gone.sum(1),
        lengths=lengths,
        images=images,
        made=None if before.made is None else before.made.gather(1, columns) & valid,
        changed=True,
    )


def _anchor(before: Stage, chosen: Tensor) -> Tensor:
    """Return the column [b, 1] of each row's last image token chosen; of none, of the last that was there."""
    numbers = torch.arange(chosen.shape[1], device=chosen.device)
    some = chosen.any(1, keepdim=True)
    return torch.where(torch.where(some, chosen, before.image), numbers, 0).amax(1, keepdim=True)


def with_made(
    before: Stage, chosen: Tensor, made: Sequence[int], renumber: bool, right_aligned: bool
) -> Stage:
    """Return the stage in which made tokens stand behind the last retained image token of their row.

    Args:
        before: the stage that drops.
        chosen: [b, n] bool, the image tokens retained.
        made: per row, how many tokens were made; `before`'s columns n and on stand for them in `gather`.
        renumber: closes the gaps in the position ids.
        right_aligned: pads on the left.
    """
    b, n = chosen.shape
    device, most = chosen.device, max(made)
    counts = ops.on_device(list(made), device)[:, None]
    numbers, new = torch.arange(n, device=device), torch.arange(most, device=device)
    anchor = _anchor(before, chosen)
    is_new = new < counts
    keep = before.valid & (chosen | ~before.image)
    gone = (before.valid & ~keep).long()
    # Columns are spread out, so that the made tokens find room behind their anchor.
    places = torch.cat((numbers.expand(b, n) * (most + 1), anchor * (most + 1) + 1 + new), 1)
    order = places.argsort(1)
    flags = torch.cat((keep, is_new), 1).gather(1, order)
    lengths, images = torch.stack((flags.sum(1), chosen.sum(1) + counts[:, 0])).tolist()
    packed, valid = ops.compact(flags, max(lengths), right_aligned)
    columns = order.gather(1, packed)

    def packed_from(old: Tensor, of_new: Tensor) -> Tensor:
        joined = torch.cat((old, of_new.expand(*old.shape[:-1], most)), -1)
        return joined.gather(-1, columns.expand(*old.shape[:-2], *columns.shape))

    positions = before.positions.expand(*before.positions.shape[:-2], b, n)
    at = anchor.expand(*positions.shape[:-1], 1)
    if renumber:
        positions = positions - gone.cumsum(1)
        of_new = positions.gather(-1, at) + 1 + new
        positions = (positions + counts * (numbers > anchor)).clamp(min=0)
    else:
        of_new = positions.gather(-1, at)
    old_made = torch.zeros_like(chosen) if before.made is None else before.made
    return Stage(
        gather=columns,
        index=packed_from(before.index, before.index.gather(1, anchor)),
        valid=valid,
        padded=min(lengths) < max(lengths),
        image=packed_from(chosen, is_new) & valid,
        positions=packed_from(positions, of_new),
        removed=before.removed + gone.sum(1) - counts[:, 0],
        lengths=lengths,
        images=images,
        made=packed_from(old_made, is_new) & valid,
        changed=True,
    )
