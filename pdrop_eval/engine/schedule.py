"""How many image tokens each layer processes: pure integers, the one source of drops, FLOPs and tables."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from numbers import Integral
from typing import Any

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.validation import check_number, check_setting

ROUNDINGS = ("floor", "progressive")


def stage_layers(num_layers: int, stages: int) -> tuple[int, ...]:
    """Return the layers before which `stages` equal stages of a model of `num_layers` layers are separated.

    Stage i ends after floor(i * num_layers / stages) layers: (8, 16, 24) for 32 layers and 4 stages, as in
    the PyramidDrop paper, section 4.1.

    Raises:
        UserError: the model has fewer layers than there are stages.
    """
    if stages > num_layers:
        raise UserError(
            f"stages={stages} does not fit a model of {num_layers} layers: use 1 to {num_layers} stages."
        )
    return tuple(i * num_layers // stages for i in range(1, stages))


def stage_ratios(ratio: float, stages: int) -> tuple[float, ...]:
    """Return the cumulative ratios (ratio, ratio^2, ...) of the `stages - 1` drops.

    The powers are exact in decimal (0.7 gives 0.49 and not 0.48999...), like the lists typed by hand for the
    official code.
    """
    exact = _exact(ratio)
    return tuple(float(exact**i) for i in range(1, stages))


def retained_counts(image_tokens: int, ratios: Sequence[float], rounding: str = "floor") -> tuple[int, ...]:
    """Return how many of `image_tokens` remain after each drop.

    Args:
        image_tokens: before any drop.
        ratios: cumulative: the share of the original image tokens that remains after each drop. From a ratio
            of 0 on, none remains.
        rounding: "floor" is the official code's way: int(image_tokens * ratio), always from the original
            count, in floats. "progressive" is the paper's (PyramidDrop, section 3.2): each drop removes
            ceil((1 - step) * alive), where step is the ratio to the drop before.

    Raises:
        UserError: an unknown rounding.
    """
    check_setting("rounding", rounding, ROUNDINGS)
    if rounding == "floor":
        return tuple(int(image_tokens * ratio) for ratio in ratios)
    counts, alive, before = [], image_tokens, Fraction(1)
    for ratio in ratios:
        step = _exact(ratio) / before if before else Fraction(0)
        alive -= math.ceil((1 - step) * alive)
        before = _exact(ratio)
        counts.append(alive)
    return tuple(counts)


def tokens_per_layer(
    num_layers: int, layers: Sequence[int], counts: Sequence[int], image_tokens: int
) -> tuple[int, ...]:
    """Return the image tokens that each of `num_layers` layers processes.

    Args:
        num_layers: the model's depth.
        layers: the drop layers; a drop at `num_layers` comes after the last layer.
        counts: `counts[i]` image tokens remain from layer index `layers[i]` on.
        image_tokens: before any drop.

    Raises:
        UserError: layers or counts that can't be (see `check_layers`), or counts that grow.
    """
    check_layers(layers, num_layers)
    if len(counts) != len(layers):
        raise UserError(f"{len(layers)} drop layers need as many counts, but there are {len(counts)}.")
    for before, after in zip((image_tokens, *counts), counts, strict=False):
        if not 0 <= after <= before:
            raise UserError(f"A drop can't go from {before} to {after} image tokens: counts may only shrink.")
    result = [image_tokens] * num_layers
    for layer, count in zip(layers, counts, strict=True):
        result[layer:] = [count] * (num_layers - layer)
    return tuple(result)


def check_layers(layers: Sequence[int], num_layers: int | None = None) -> None:
    """Check that drop layers are whole numbers from 1 that increase and, if the depth is known, fit it.

    A drop at layer k happens before layer index k, when k layers have seen all tokens; k = `num_layers` is a
    drop after the last layer.

    Raises:
        UserError: otherwise.
    """
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, Integral):
            raise UserError(f"Drop layer {layer!r} is not a whole number: use one from 1 to the depth.")
    if any(after <= before for before, after in itertools.pairwise(layers)):
        raise UserError(f"Drop layers {tuple(layers)} must increase, each named once.")
    last = (
        "the model's number of layers"
        if num_layers is None
        else f"{num_layers}, the model's number of layers"
    )
    if layers and (layers[0] < 1 or (num_layers is not None and layers[-1] > num_layers)):
        raise UserError(f"Drop layers {tuple(layers)} are outside the model: use values from 1 to {last}.")


def check_named_layers(name: str, given: Any, num_layers: int | None = None) -> tuple[int, ...]:
    """Return the drop layers of a setting, one or several; refuse wrong ones under the setting's name.

    Args:
        name: of the setting.
        given: its value, a layer or a tuple of layers.
        num_layers: the model's depth, if it is known.

    Raises:
        UserError: as `check_layers`.
    """
    layers = given if isinstance(given, tuple) and given else (given,)
    try:
        check_layers(layers, num_layers)
    except UserError as error:
        raise UserError(f"{name}={given!r} is not allowed. {error}") from None
    return layers


def check_ratios(ratios: Sequence[float]) -> None:
    """Check that cumulative ratios lie in [0, 1] and never grow.

    Raises:
        UserError: otherwise.
    """
    for ratio in ratios:
        check_number("ratios", ratio, low=0, high=1)
    if any(after > before for before, after in itertools.pairwise(ratios)):
        raise UserError(
            f"ratios={tuple(ratios)} grow: they are cumulative shares of the original image tokens, so give "
            "them in falling order, such as (0.5, 0.25, 0.125)."
        )


def complement(share: float) -> float:
    """Return 1 - share, exact in decimal: 0.1 for 0.9, where floats give 0.0999..."""
    return float(1 - _exact(share))


def _exact(share: float) -> Fraction:
    """Return the number that was meant: 7/10 for 0.7, and 1/3 for 0.3333333333333333."""
    return Fraction(str(share)).limit_denominator(10**12)
