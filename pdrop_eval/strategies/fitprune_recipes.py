"""FitPrune's official recipes, of LLaVA-1.5-7B, and those between them. Needs no torch.

From github.com/ywh187/FitPrune, commit d28e418: image tokens removed after each of 32 layers, of 576. A
recipe is named by the share of FLOPs that it takes away, in percent, by the paper's count.
"""

from itertools import accumulate, pairwise

LAYERS, TOKENS = 32, 576
OFFICIAL = {
    40: (
        0, 1, 21, 13, 14, 11, 41, 53, 29, 15, 14, 5, 1, 4, 5, 1,
        26, 1, 13, 28, 6, 27, 2, 1, 0, 0, 1, 1, 2, 0, 0, 0,
    ),
    50: (
        3, 7, 49, 24, 29, 17, 59, 41, 26, 8, 10, 6, 2, 5, 7, 2,
        30, 3, 13, 27, 5, 23, 2, 1, 0, 0, 1, 1, 2, 0, 0, 0,
    ),
    60: (
        14, 33, 89, 36, 36, 20, 55, 21, 18, 4, 7, 5, 2, 5, 7, 4,
        26, 5, 11, 24, 4, 18, 2, 1, 0, 0, 1, 0, 1, 0, 0, 0,
    ),
    70: (
        48, 79, 118, 41, 33, 17, 36, 9, 9, 2, 3, 2, 1, 3, 4, 8,
        18, 7, 8, 20, 4, 13, 2, 1, 0, 0, 1, 0, 1, 0, 0, 0,
    ),
    80: (
        128, 127, 118, 35, 26, 8, 13, 3, 2, 1, 0, 0, 0, 2, 1, 8,
        7, 8, 5, 11, 2, 6, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0,
    ),
    90: (
        262, 153, 80, 19, 13, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        1, 2, 1, 2, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0,
    ),
}  # fmt: skip


def left_by(ratio: int) -> tuple[float, ...]:
    """Return the shares of the image tokens that are left after 0 to 32 layers of an official recipe."""
    return tuple(left / TOKENS for left in accumulate(OFFICIAL[ratio], lambda a, b: a - b, initial=TOKENS))


def between(share: float) -> tuple[float, ...]:
    """Return the shares that are left after 0 to 32 layers, interpolated between two official recipes.

    Beyond the mildest one towards no removal at all, beyond the harshest towards all of it after one layer.

    Args:
        share: of the image tokens that a layer processes, in the mean over the layers; in (0, 1].
    """
    curves = [(1.0,) * (LAYERS + 1), *map(left_by, OFFICIAL), (1.0,) + (0.0,) * LAYERS]
    for more, less in pairwise(curves):
        high, low = _mean(more), _mean(less)
        if share >= low:
            weight = min(1.0, (share - low) / (high - low))
            return tuple(weight * a + (1 - weight) * b for a, b in zip(more, less, strict=True))
    return curves[-1]


def removed(left: tuple[float, ...], num_layers: int, image_tokens: int) -> tuple[int, ...]:
    """Return how many image tokens go after each layer of a model; at least one is never removed.

    Args:
        left: shares that are left after 0 to 32 layers.
        num_layers: L; after its layer l, as much is left as after l·32/L layers.
        image_tokens: before any drop.
    """
    counts = [image_tokens]
    for layer in range(1, num_layers + 1):
        place = layer * LAYERS / num_layers
        under = min(int(place), LAYERS - 1)
        share = left[under] + (place - under) * (left[under + 1] - left[under])
        counts.append(min(counts[-1], max(min(1, image_tokens), round(image_tokens * share))))
    return tuple(before - after for before, after in pairwise(counts))


def _mean(left: tuple[float, ...]) -> float:
    return sum(left[:LAYERS]) / LAYERS
