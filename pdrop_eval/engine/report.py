"""What a context yields: which tokens the last prefill retained, and why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from pdrop_eval.engine.per_image import Lengths, of_rows, runs, split


@dataclass
class DropRecord:
    """One drop, as tensors; ids count within the row's image tokens.

    Attributes:
        ids: [b, n] id of each column.
        order: [b, n] number of each column among the row's image tokens that enter the decoder; -1 on those
            that a drop has made.
        before: [b, n] bool, image tokens alive before the drop.
        after: [b, n] bool, image tokens alive after it.
        scores: [b, n] or None.
        made: per row, the tokens that the drop made of others.
    """

    ids: Tensor
    order: Tensor
    before: Tensor
    after: Tensor
    scores: Tensor | None
    made: Sequence[int] = ()

    @property
    def retained(self) -> list[Tensor]:
        """Per row: the ids that remain, and -1 for each token made (CPU)."""
        rows = report_rows(self.ids, self.after)
        if not any(self.made):
            return rows
        return [torch.cat((row, row.new_full((n,), -1))) for row, n in zip(rows, self.made, strict=True)]


@dataclass(repr=False)
class Report:
    """The outcome of the last prefill (a forward that starts a sequence), replaced by the next one.

    Printed, it is a summary: image tokens and cached tokens per row, at the layers where they change.

    Rows are the rows of that forward: beam search and `num_return_sequences` repeat each prompt's row.

    Attributes:
        image_tokens: per row, the number of image tokens before any drop.
        image_tokens_per_layer: per layer, per row, the image tokens processed.
        kv_lengths: per layer, per row, the cached tokens after prefill, padding not counted.
        index: [b, m] column in the full sequence of each column of the output, or None where nothing was
            shortened. Columns where `attention_mask` is false are padding; -1 is a token that was made.
        attention_mask: [b, m], that of the output, or None where nothing was shortened.
        labels: [b, m], those of the output, or None where nothing was shortened or the forward got none.
        columns: n, of the full sequence.
        records: the drops, as tensors.
        sources: per row, LongTensor (CPU): which of the row's image tokens enter the decoder, in their order,
            and -1 for tokens that were made. None where no strategy before the decoder has reduced images.
        image_mask: [b, columns] bool, where the image tokens are in the full sequence.
    """

    image_tokens: list[int] = field(default_factory=list)
    image_tokens_per_layer: list[list[int]] = field(default_factory=list)
    kv_lengths: list[list[int]] = field(default_factory=list)
    index: Tensor | None = None
    attention_mask: Tensor | None = None
    labels: Tensor | None = None
    columns: int = 0
    records: list[DropRecord] = field(default_factory=list)
    sources: list[Tensor] | None = None
    image_mask: Tensor | None = None
    lengths: Lengths | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        if not self.kv_lengths:
            return "Report(no prefill yet)"
        drops = len(self.records)
        lines = [f"Report: {len(self.kv_lengths)} layers, {drops} drop{'s' if drops != 1 else ''}"]
        for row, before in enumerate(self.image_tokens):
            images = _summary(before, (rows[row] for rows in self.image_tokens_per_layer))
            lengths = _summary(None, (rows[row] for rows in self.kv_lengths))
            lines.append(f"  row {row}: image tokens {images}; KV lengths {lengths}")
        return "\n".join(lines)

    @property
    def retained(self) -> list[list[Tensor]]:
        """Per drop, per row: ascending LongTensor (CPU) of the ids of the retained image tokens.

        Ids count within the row's image tokens, from 0, over all its images. Those that a strategy has made,
        before the decoder or in it, are -1; what a drop makes stands behind what it retains.
        """
        return [record.retained for record in self.records]

    @property
    def images(self) -> list[list[int]]:
        """Per row, how many image tokens each of its images has before any drop, in the prompt's order.

        Where the forward got no pixels (`inputs_embeds`, a bare decoder), an image is a run of image tokens:
        images with no text between them count as one.

        Raises:
            UserError: pixels of other images than those of the prompts.
        """
        full = None if self.lengths is None else self.lengths.full()
        if full is not None:
            return of_rows(full, self.image_tokens)
        return [] if self.image_mask is None else [runs(row) for row in self.image_mask.cpu().tolist()]

    @property
    def retained_per_image(self) -> list[list[list[Tensor]]]:
        """Per drop, per row, per image of the row: as `retained`, with ids counted within the image.

        Tokens that a drop makes of others are left out: they are of no one image.

        Raises:
            UserError: as for `images`.
        """
        full, entering = self.images, self._entering
        return [
            [
                split(ids, order, ends, lengths)
                for ids, order, ends, lengths in zip(
                    report_rows(record.ids, record.after), report_rows(record.order, record.after),
                    entering, full, strict=True,
                )
            ]
            for record in self.records
        ]  # fmt: skip

    @property
    def sources_per_image(self) -> list[list[Tensor]] | None:
        """Per row, per image of the row: as `sources`, with ids counted within the image.

        Raises:
            UserError: as for `images`.
        """
        if self.sources is None:
            return None
        return [
            split(ids, torch.arange(len(ids)), entering, full)
            for ids, entering, full in zip(self.sources, self._entering, self.images, strict=True)
        ]

    @property
    def _entering(self) -> list[list[int]]:
        """Per row, how many image tokens of each image enter the decoder."""
        if self.lengths is None or self.lengths.short is None:
            return self.images
        return of_rows(self.lengths.short, [len(ids) for ids in self.sources or ()])

    @property
    def scores(self) -> list[list[Tensor] | None]:
        """Per drop, per row: float tensor (CPU), the score of each image token alive just before the drop.

        In rising order of id. None for a drop whose strategy gave no scores.
        """
        return [None if r.scores is None else report_rows(r.scores.float(), r.before) for r in self.records]

    def scatter(self, output: Tensor, fill: float = 0.0) -> Tensor:
        """Put an output of the shortened sequence back to the columns of the full one.

        Args:
            output: [b, m, ...], such as the logits.
            fill: the value where a token was dropped, or merged into others.

        Returns:
            [b, columns, ...].
        """
        if self.index is None or self.attention_mask is None:
            return output
        full = output.new_full((output.shape[0], self.columns, *output.shape[2:]), fill)
        rows, places = (self.attention_mask & (self.index >= 0)).nonzero(as_tuple=True)
        return full.index_put((rows, self.index[rows, places]), output[rows, places])


def _summary(before: int | None, per_layer: Iterable[int]) -> str:
    """Numbers with the layers that have them: `576 (layers 0-7), 288 (layers 8-31)`.

    Args:
        before: The number before the first layer, told where the first layer has another; None: not told.
        per_layer: One number for each layer.
    """
    words, first = [], 0
    for number, layers in groupby(per_layer):
        last = first + len(list(layers)) - 1
        words.append(f"{number} (layer{f's {first}-{last}' if last > first else f' {first}'})")
        if first == 0 and before not in (None, number):
            words.insert(0, f"{before} (before the decoder)")
        first = last + 1
    return ", ".join(words)


def report_rows(values: Tensor, mask: Tensor) -> list[Tensor]:
    """Split `values` [b, n] into one CPU tensor per row, of the places where `mask` [b, n] is true."""
    values, mask = values.detach().cpu(), mask.cpu()
    return [row[chosen] for row, chosen in zip(values, mask, strict=True)]
