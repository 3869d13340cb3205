"""Encodes the pictures of several questions in few calls of the vision tower, each as it is alone.

The sums of a picture are its own, so that in float32 on a processor only their last bits may differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pdrop_eval.models.towers.encoded import EncodedImage, Needs

if TYPE_CHECKING:
    from torch import Tensor

    from pdrop_eval.models.family.encoding import ImageEncoding

# Values of pixels in one call, about 32 tiles of 336 pixels: a tower holds the output of each of its layers.
MOST_VALUES = 11_000_000


def encode_together(
    family: ImageEncoding,
    model: Any,
    pictures: Sequence[Mapping[str, Tensor]],
    needs: Needs | None,
    device: Any,
    most_values: int = MOST_VALUES,
) -> list[EncodedImage]:
    """Return each picture, encoded.

    Args:
        family: the model's.
        model: the model.
        pictures: the `processor_inputs` of each.
        needs: what to hold of the tower; None: nothing but the tokens.
        device: that of the tower.
        most_values: of pixels in one call; a larger picture has its own.
    """
    import torch

    from pdrop_eval.models.transfer import upload

    found: dict[int, EncodedImage] = {}
    for numbers in _calls(family, pictures, most_values):
        own = [pictures[number] for number in numbers]
        placed = {
            name: upload(torch.cat([one[name] for one in own]), device, _dtype(values, model))
            for name, values in own[0].items()
        }
        if len(own) == 1 and needs is None:
            images = [family.encode_image(model, placed)]
        else:
            images = family.encode_joined(model, placed, needs or Needs(), own)
        found.update(zip(numbers, images, strict=True))
    return [found[number] for number in range(len(pictures))]


def _dtype(values: Tensor, model: Any) -> Any:
    """Return the model's dtype for pixels, and None for whole numbers, which keep their own."""
    return model.dtype if values.is_floating_point() else None


def _calls(
    family: ImageEncoding, pictures: Sequence[Mapping[str, Tensor]], most_values: int
) -> Iterator[list[int]]:
    """Yield the numbers of the pictures of each call: of one shape, and together not too large."""
    if not family.encodes_together:
        yield from ([number] for number in range(len(pictures)))
        return
    shapes: dict[Any, list[int]] = {}
    for number, pixels in enumerate(pictures):
        kind = tuple((name, tensor.shape[1:], tensor.dtype) for name, tensor in pixels.items())
        shapes.setdefault(kind, []).append(number)
    for numbers in shapes.values():
        call: list[int] = []
        values = 0
        for number in numbers:
            more = pictures[number]["pixel_values"].numel()
            if call and values + more > most_values:
                yield call
                call, values = [], 0
            call.append(number)
            values += more
        yield call
