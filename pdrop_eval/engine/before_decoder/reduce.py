"""Reduces the tokens of images before the decoder, and shortens the prompts to match.

Each image becomes T tokens, and its T placeholders take the place of its n in the prompt; then the decoder
runs as always. A drop inside the engine, before layer 0, would need no new prompt, but every layer and the
cache would be shorter than what transformers counts, for ever: masks, position ids and cache lengths would
have to be put right at each step, as they are for drops in the decoder. A prompt that is short from the start
has none of this. Position ids then run without gaps, as in the official code of all methods of this kind;
every kind of cache, beam search and batches work; and what is dropped in the decoder later is dropped from
the short prompt. The price is that the columns of the output are those of the short prompt: the report's
`index` and `sources` say which they are.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pdrop_eval.engine.before_decoder.fits import check_reducer
from pdrop_eval.engine.before_decoder.interface import ImageReducer, ImageView, Reduced
from pdrop_eval.models.family import Family, MultimodalFamily
from pdrop_eval.models.towers.encoded import EncodedImage, Places
from pdrop_eval.models.transfer import upload
from pdrop_eval.utils.errors import UserError


@dataclass(frozen=True)
class Shortened:
    """Prompts whose images are reduced: b rows, m columns; the full prompts have n columns.

    Attributes:
        ids: [b, m] token ids, the image token once for each token that an image became.
        mask: [b, m] false on padding, of the given mask's kind; None where none was given and none is needed.
        image: [b, m] bool, true on image tokens.
        index: [b, m] column in the full prompt; -1 for tokens that were made, and on padding.
        source: [b, m] number within the row's image tokens; -1 for tokens that were made, and for all else.
        images: each with the tokens [T, d] that are left, in the order of the rows.
        position_ids: [..., b, m], those of the full prompt, where its family's don't just count tokens; None:
            they count those of the short prompt.
        image_tokens: per row, the image tokens of the full prompt.
        full_ids: [b, n].
        full_mask: [b, n] bool.
        full_image: [b, n] bool, true on image tokens.
        full_lengths: the image tokens of each image of the full prompts, in the order of the rows.
        marks: [b, m] bool, the image tokens that the strategy marked, or None where it marks none.
    """

    ids: Tensor
    mask: Tensor | None
    image: Tensor
    index: Tensor
    source: Tensor
    images: list[EncodedImage]
    image_tokens: list[int]
    full_ids: Tensor
    full_mask: Tensor
    full_image: Tensor
    full_lengths: list[int]
    position_ids: Tensor | None = None
    marks: Tensor | None = None

    @property
    def valid(self) -> Tensor:
        """[b, m] bool, false on padding."""
        return torch.ones_like(self.image) if self.mask is None else self.mask.bool()

    def repeated(self, rows: int) -> "Shortened":
        """Return it for `rows` rows: beam search and num_return_sequences repeat every row."""
        times = rows // len(self.ids)
        if times == 1:
            return self
        more = partial(torch.repeat_interleave, repeats=times, dim=0)
        names = ("ids", "image", "index", "source", "full_ids", "full_mask", "full_image")
        changes: dict[str, Any] = {name: more(getattr(self, name)) for name in names}
        changes["marks"] = None if self.marks is None else more(self.marks)
        mask = None if self.mask is None else more(self.mask)
        counts = [count for count in self.image_tokens for _ in range(times)]
        places = self.position_ids
        if places is not None:
            places = places.repeat_interleave(times, dim=-2)
        return replace(self, **changes, mask=mask, image_tokens=counts, position_ids=places)

    def gathered(self, values: Tensor, fill: int) -> Tensor:
        """Return values [b, n] of the full columns at the short ones; `fill` where there is none."""
        return values.gather(1, self.index.clamp(min=0)).masked_fill(self.index < 0, fill)

    def positions(self, given: Tensor) -> Tensor:
        """Return position ids [b, m] that start where the given ones [b or 1, n] do, without gaps."""
        given = given.expand(self.full_mask.shape)
        start = torch.where(self.full_mask, given, given.amax()).amin(1, keepdim=True)
        return start + (self.valid.cumsum(1) - 1).clamp(min=0)

    def continued(self, inputs: dict[str, Any], past: int) -> dict[str, Any]:
        """Return the inputs of a forward on the prompt's cache, in the columns of the short prompt.

        A loop written for plain transformers goes on counting those of the full prompt: its attention mask is
        longer, or where it has none, its position ids are further on.
        """
        mask, places = inputs.get("attention_mask"), inputs.get("position_ids")
        short, full = self.ids.shape[1], self.full_ids.shape[1]
        tokens = inputs["input_ids"] if inputs.get("inputs_embeds") is None else inputs["inputs_embeds"]
        length = past + tokens.shape[1]
        if short == full or (mask is None and places is None):
            return inputs
        if mask is not None and not (
            isinstance(mask, Tensor) and mask.dim() == 2 and mask.shape[1] == length + full - short
        ):
            return inputs
        rows = self.repeated(len(tokens))
        valid = rows.valid.sum(1, keepdim=True)
        removed = rows.full_mask.sum(1, keepdim=True) - valid
        changes = {}
        if mask is not None:
            changes["attention_mask"] = torch.cat((rows.valid.to(mask), mask[:, full:]), dim=1)
        if rows.position_ids is not None:  # those of the full prompt, which go on: given ones are right
            if places is None:
                new = torch.arange(1, tokens.shape[1] + 1, device=tokens.device) + past - short
                changes["position_ids"] = rows.position_ids[1:].amax(-1, keepdim=True) + new
            return {**inputs, **changes}
        if mask is not None:
            of_full = torch.ones_like(removed, dtype=torch.bool)
        elif places is not None:
            of_full = places[:, -1:] >= valid + length - short - 1 + removed
        if places is not None:
            changes["position_ids"] = torch.where(of_full, places - removed, places)
        return {**inputs, **changes}


class BeforeStage:
    """One strategy before the decoder on one model.

    Args:
        family: the model's.
        model: the model.
        reducer: the strategy.

    Raises:
        UserError: a model without images, a tower that lacks what the strategy needs, and counts that an
            image of the model can't have.
    """

    def __init__(self, family: Family, model: Any, reducer: ImageReducer):
        if not isinstance(family, MultimodalFamily):
            raise UserError(
                f"{reducer.name} reduces images before the decoder, and {type(model).__name__} takes none: "
                "open it on the vision-language model itself, such as LlavaForConditionalGeneration."
            )
        self.family = family
        self.model = model
        self.reducer = reducer
        check_reducer(family, model.config, reducer)

    def from_inputs(
        self, inputs: Mapping[str, Any], questions: Sequence[str] | None, seeds: Sequence[int] | None
    ) -> Shortened:
        """Encode and reduce the images of a forward, or of generate.

        Args:
            inputs: by name: input_ids, the processor's outputs for the images, and attention_mask.
            questions: one a row, where the strategy needs them.
            seeds: of chance, one a row; None: the pixels decide.

        Raises:
            UserError: images that are encoded already, or no `input_ids`.
        """
        if inputs.get("input_ids") is None or inputs.get("inputs_embeds") is not None:
            raise UserError(
                f"{self.reducer.name} puts new placeholders into the prompt: pass input_ids and "
                "pixel_values, not inputs_embeds."
            )
        if inputs.get("pixel_values") is None:
            raise UserError(
                f"{self.reducer.name} looks into the vision tower: pass pixel_values, not images that are "
                "encoded already."
            )
        pixels = {name: inputs[name] for name in self.family.processor_inputs if inputs.get(name) is not None}
        encoded = self.family.encode_images(self.model, pixels, self.reducer.needs, inputs["input_ids"])
        places = [image.places for image in encoded]
        digests = [partial(digest, self.family, pixels, i, places) for i in range(len(places))]
        return self.shorten(
            inputs["input_ids"], inputs.get("attention_mask"), encoded, questions, seeds, digests,
            left_aligned=inputs.get("labels") is not None,
        )  # fmt: skip

    def shorten(
        self,
        ids: Tensor,
        mask: Tensor | None,
        encoded: Sequence[EncodedImage],
        questions: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
        digests: Sequence[Callable[[], int]] | None = None,
        left_aligned: bool = False,
    ) -> Shortened:
        """Reduce images, and put their tokens' placeholders into the prompts.

        Args:
            ids: [b, n] token ids, the image token once for each token of an image.
            mask: [b, n], false on padding, or None.
            encoded: the images, in the order of the rows.
            questions: one a row, where the strategy needs them.
            seeds: of chance, one a row; None: `digests` decide.
            digests: a number that tells each image from others.
            left_aligned: padding goes to the right.

        Raises:
            UserError: prompts and images that don't belong together, or a question that is missing.
        """
        if self.reducer.needs.question and (questions is None or len(questions) != len(ids)):
            raise UserError(
                f"{self.reducer.name} chooses by the question: give questions=[...], one text for each of "
                f"the {len(ids)} rows, when you open it on the model."
            )
        full = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        image = self.family.image_mask(self.model.config, {"input_ids": ids})
        assert image is not None
        image = image & full
        there = torch.stack((full, image)).cpu()  # the one read-back: which columns are of what
        counts = there[1].sum(1).tolist()
        rows, reduced = [], []
        lengths = [len(one) for one in encoded]
        for row, numbers in enumerate(images_of_rows(lengths, counts)):
            own = []
            for place, number in enumerate(numbers):
                chance = digests[number] if digests is not None else int
                given = None if seeds is None else seeds[row]
                seed = partial(self._seed, given, chance, place)
                question = None if questions is None else questions[row]
                own.append(self._reduced(encoded[number], question, seed))
            reduced += own
            rows.append(_row(ids[row], image[row], there[:, row], [lengths[i] for i in numbers], own))
        images = [
            EncodedImage(one.tokens, added=_added(encoded[number], one)) for number, one in enumerate(reduced)
        ]
        places = self.family.position_ids(self.model, ids, mask, encoded)
        found = _packed(ids, mask, full, image, there[0], counts, lengths, rows, images, left_aligned, places)
        return replace(found, marks=_marks(found.image, reduced))

    def _reduced(self, encoded: EncodedImage, question: str | None, seed: Callable[[], int]) -> Reduced:
        encoded = encoded.to(self.model.get_input_embeddings().weight.device)
        view = ImageView(
            encoded,
            self.family.projector(self.model),
            newline=self.family.newline(self.model),
            question=question,
            seed=seed,
        )
        for_image = getattr(self.reducer, "for_image", None)
        reducer = self.reducer if for_image is None else for_image(view.shape)
        found: Reduced = reducer.reduce(view)
        if not len(found.tokens) or len(found.tokens) != len(found.source):
            raise ValueError(
                f"{self.reducer.name} gave {len(found.tokens)} tokens with {len(found.source)} sources: at "
                "least one token of an image has to stay, and each has a source."
            )
        return found

    def _seed(self, row: int | None, digest: Callable[[], int], place: int) -> int:
        """Mix the strategy's seed, the sample's and the image's place in it."""
        sample = digest() if row is None else row
        words = json.dumps([getattr(self.reducer, "seed", 0), sample, place])
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


def digest(
    family: MultimodalFamily, pixels: Mapping[str, Tensor], number: int, places: Sequence[Places | None]
) -> int:
    """Return a number that only an image with the same pixels has."""
    values = family.pixels_of_image(pixels, number, places).detach().float().cpu().contiguous()
    return int.from_bytes(hashlib.sha256(values.numpy().tobytes()).digest()[:8], "big") >> 1


def images_of_rows(lengths: Sequence[int], counts: Sequence[int]) -> Iterator[list[int]]:
    """Yield the numbers of each row's images: as many as its image tokens are.

    Args:
        lengths: tokens of each image, in order.
        counts: image tokens of each row.

    Raises:
        UserError: they don't add up.
    """
    number = 0
    for row, count in enumerate(counts):
        own: list[int] = []
        while count > 0 and number < len(lengths):
            own.append(number)
            count -= lengths[number]
            number += 1
        if count:
            raise UserError(
                f"The image tokens of row {row} are not those of whole images, which have {list(lengths)} "
                "tokens: make prompt and pixels with the model's own processor."
            )
        yield own
    if number < len(lengths):
        raise UserError(
            f"There are {len(lengths)} images, but the prompts have image tokens for {number}: make prompt "
            "and pixels with the model's own processor."
        )


def _row(
    ids: Tensor, image: Tensor, there: Tensor, lengths: Sequence[int], reduced: Sequence[Reduced]
) -> tuple[Tensor, ...]:
    """Return the ids, image flags, full columns and sources of one short row [m], without padding.

    The fifth is the full column whose position a token has, made ones too. `there` is [2, n] bool in the
    host's memory: false on padding, and true on image tokens.
    """
    valid, pictured = there.unbind()
    text = upload((valid & ~pictured).nonzero().flatten(), ids.device)
    columns = upload(pictured.nonzero().flatten(), ids.device)
    nothing = torch.full_like(text, -1)
    parts = [(ids[text], image[text], text, nothing, text, text)]
    start = 0
    for length, one in zip(lengths, reduced, strict=True):
        own, source = columns[start : start + length], one.source.to(ids.device)
        made = source < 0
        placeholder = own[:1].expand(len(source))  # all stand where the image began
        column = own[source.clamp(min=0)].masked_fill(made, -1)
        number = (source + start).masked_fill(made, -1)
        standing = own[one.standing.to(ids.device)]
        parts.append((ids[placeholder], image[placeholder], column, number, standing, placeholder))
        start += length
    *values, order = (torch.cat(some) for some in zip(*parts, strict=True))
    order = order.argsort(stable=True)
    return tuple(value[order] for value in values)


def _added(encoded: EncodedImage, reduced: Reduced) -> Tensor | None:
    """Return what the decoder adds to the tokens of a reduced image [layers, T, d]: that of their places."""
    if encoded.added is None or reduced.added is not None:
        return reduced.added
    return encoded.added[:, reduced.standing.to(encoded.added.device)]


def _marks(image: Tensor, reduced: Sequence[Reduced]) -> Tensor | None:
    """Return [b, m] bool, the marked ones of the image tokens [b, m], or None where none is."""
    if all(one.marks is None for one in reduced):
        return None
    each = [torch.zeros(len(r.tokens), dtype=torch.bool) if r.marks is None else r.marks for r in reduced]
    return torch.zeros_like(image).masked_scatter(image, torch.cat([one.to(image.device) for one in each]))


def _packed(
    ids: Tensor, mask: Tensor | None, full: Tensor, image: Tensor, there: Tensor, counts: list[int],
    lengths: list[int], rows: Sequence[tuple[Tensor, ...]], images: list[EncodedImage], left_aligned: bool,
    position_ids: Tensor | None,
) -> Shortened:  # fmt: skip
    """Return the short rows as one batch; where no row is shorter, its columns stay where they were.

    `there` is `full` in the host's memory.
    """
    sizes, before = [len(row[0]) for row in rows], there.sum(1).tolist()
    longest = max(sizes)
    keep_places = sizes == before
    m = ids.shape[1] if keep_places else longest
    places = torch.zeros(len(rows), m, dtype=torch.bool, device=ids.device)
    for row, length in enumerate(sizes):
        if keep_places:
            places[row] = full[row]
        else:
            places[row, slice(0, length) if left_aligned else slice(m - length, m)] = True

    def batch(part: int, fill: Tensor) -> Tensor:
        return fill.masked_scatter(places, torch.cat([row[part] for row in rows]))

    nothing = torch.full((len(rows), m), -1, dtype=torch.long, device=ids.device)
    padding = ids if keep_places else torch.zeros_like(nothing, dtype=ids.dtype)
    if not keep_places and not bool(there.all()):  # what stood on padding goes on standing there
        row, column = (~there).nonzero()[0].tolist()
        padding = padding + ids[row, column]
    short_mask = mask
    if not keep_places and (mask is not None or min(sizes) < longest):
        short_mask = places.to(torch.long if mask is None else mask.dtype)
    if position_ids is not None:
        standing = batch(4, torch.zeros_like(nothing))
        position_ids = position_ids.gather(-1, standing.expand(len(position_ids), -1, -1))
        position_ids[0] = (places.long().cumsum(1) - 1).clamp(min=0)  # the text's go on without gaps
    return Shortened(
        ids=batch(0, padding), mask=short_mask, image=batch(1, torch.zeros_like(places)),
        index=batch(2, nothing), source=batch(3, nothing), images=images, image_tokens=counts,
        full_ids=ids, full_mask=full, full_image=image, full_lengths=lengths, position_ids=position_ids,
    )  # fmt: skip
