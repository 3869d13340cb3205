"""Which of a row's image tokens belong to which of its images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

from torch import Tensor

from pdrop_eval.engine.before_decoder.reduce import Shortened, images_of_rows
from pdrop_eval.models.towers.encoded import Places


@dataclass(frozen=True)
class Lengths:
    """How many tokens each image of a forward has, in the order of the rows.

    Attributes:
        full: gives those of the prompts as they were given, or None where nobody knows; it may have to wait
            for the device, and is asked when a report is.
        short: those that a strategy before the decoder has left; None where there is none.
    """

    full: Callable[[], Sequence[int] | None]
    short: Sequence[int] | None = None


def lengths_of_prompt(prompt: Shortened) -> Lengths:
    """Return those of prompts whose images are reduced."""
    return Lengths(lambda: prompt.full_lengths, [len(image) for image in prompt.images])


def lengths_of_inputs(family: Any, model: Any, inputs: Mapping[str, Any]) -> Lengths:
    """Return those of a forward's images; no pixels are kept.

    Args:
        family: the model's.
        model: a multimodal model.
        inputs: of the forward, by name.
    """
    return Lengths(family.image_lengths(model, inputs))


def of_rows(lengths: Sequence[int], counts: Sequence[int]) -> list[list[int]]:
    """Return the lengths of each row's images; beam search and num_return_sequences repeat every row.

    Args:
        lengths: of the images, in the order of the rows.
        counts: image tokens of each row.

    Raises:
        UserError: they don't add up.
    """
    times = max(1, sum(counts) // max(1, sum(lengths)))
    rows = images_of_rows(lengths, counts[::times])
    return [[lengths[number] for number in row] for row in rows for _ in range(times)]


def seeds_of_rows(seeds: Sequence[int] | None, rows: int) -> list[int]:
    """Return a number a row; beam search and num_return_sequences repeat every row.

    Args:
        seeds: those that were given, or None.
        rows: how many there are.
    """
    given = seeds or (0,)
    return [seed for seed in given for _ in range(max(1, rows // len(given)))][:rows]


def places_of_rows(places: Sequence[Places], counts: Sequence[int]) -> list[list[Places] | None]:
    """Return where the tokens of each row's images come from, or None for a row where it isn't known.

    Args:
        places: of all images that are known, in the order of the rows.
        counts: image tokens of each row.
    """
    left, rows = list(places), list[list[Places] | None]()
    for count in counts:
        mine: list[Places] = []
        while left and sum(len(one.sources) for one in mine) < count:
            mine.append(left.pop(0))
        rows.append(mine if sum(len(one.sources) for one in mine) == count else None)
    return rows


def runs(mask: Sequence[bool]) -> list[int]:
    """Return the length of each run of image tokens in a row."""
    return [len(list(run)) for value, run in groupby(mask) if value]


def split(ids: Tensor, order: Tensor, entering: Sequence[int], full: Sequence[int]) -> list[Tensor]:
    """Return the ids of one row by image, counted within it; -1 stays.

    Args:
        ids: [t], within the row.
        order: [t], numbers of the same tokens within what enters the decoder.
        entering: tokens of each image that enter the decoder.
        full: tokens of each image.
    """
    ends = list(accumulate(entering, initial=0))
    parts = []
    for start, first, last in zip(accumulate(full, initial=0), ends, ends[1:], strict=False):
        own = ids[(order >= first) & (order < last)]
        parts.append((own - start).where(own >= 0, own))
    return parts
