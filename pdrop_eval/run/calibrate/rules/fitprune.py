"""FitPrune's recipe: how many image tokens each layer removes, so that attention stays what it was.

The rule of the official code (github.com/ywh187/FitPrune, commit d28e418), on the attention that image tokens
get in a model where nothing is removed: cross mass, of the text behind the image, and self mass, of the image
itself. For a threshold alpha, a layer removes the tokens that are among the lowest of both masses, as many as
leave at least (1 - alpha) of each layer's whole mass; removing ends where what was spent and what is left to
spend reach the budget. Alpha is the smallest that reaches it, by bisection.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pdrop_eval.efficiency.architecture import Decoder
from pdrop_eval.utils.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

STEP = 0.01  # to which alpha is found
_ROUNDING = 1e-12  # of sums, relative


@dataclass(frozen=True)
class Masses:
    """The attention that a sample's image tokens get, where nothing is removed.

    Attributes:
        cross: [layers, n] sums over the text rows behind the image, of the largest weight of any head.
        self: [layers, n] the same over the image's own rows.
    """

    cross: "Tensor"
    self: "Tensor"


@dataclass(frozen=True)
class Found:
    """What the bisection found.

    Attributes:
        alpha: the smallest threshold that reaches the budget, to `STEP`.
        means: the image tokens that each layer removes, in the mean over the samples.
        recipe: the same, rounded down: what the strategy removes.
        cost: multiply-adds of the recipe, as a share of those without removal.
        tried: each alpha that was tried, with the share that it costs.
    """

    alpha: float
    means: tuple[float, ...]
    recipe: tuple[int, ...]
    cost: float
    tried: tuple[tuple[float, float], ...]


def layer_cost(decoder: Decoder, entering: float, leaving: float) -> float:
    """Return the multiply-adds of a layer that removes image tokens after its attention.

    In the method's own count, image tokens only: queries, keys, values and attention for all that enter, the
    output projection and the feed-forward for those that stay.

    Args:
        decoder: the model's sizes.
        entering: image tokens that enter the layer.
        leaving: those that it leaves.
    """
    attention = entering * (decoder.d * decoder.q + 2 * decoder.d * decoder.kv)
    attention += 2 * entering * entering * decoder.q
    return attention + leaving * (decoder.q * decoder.d + 3 * decoder.d * decoder.m)


def recipe_cost(decoder: Decoder, image_tokens: int, removed: Sequence[float]) -> float:
    """Return what a recipe costs, as a share of the same model without removal."""
    spent, alive = 0.0, float(image_tokens)
    for count in removed:
        spent += layer_cost(decoder, alive, alive - count)
        alive -= count
    return spent / (decoder.layers * layer_cost(decoder, image_tokens, image_tokens))


def lowest(masses: "Tensor", alive: "Tensor", alpha: float) -> "Tensor":
    """Return which tokens are the lowest that can go and leave at least (1 - alpha) of all mass.

    Args:
        masses: [n] of all tokens of the layer, removed ones among them.
        alive: [n] bool, those that are still there.
        alpha: the share of the mass that may be lost.

    Returns:
        [n] bool.
    """
    import torch

    values = masses.double()
    total, left = values.sum(), values[alive].sum()
    order = torch.where(alive, values, math.inf).argsort(stable=True)[: int(alive.sum())]
    may_go = values[order].cumsum(0) <= left - (1 - alpha) * total + _ROUNDING * total
    gone = torch.zeros_like(alive)
    gone[order[: int(may_go.sum())]] = True
    return gone


def removals(
    samples: Sequence[Masses], alpha: float, ratio: float, decoder: Decoder
) -> tuple[tuple[float, ...], float]:
    """Return the tokens that each layer removes at a threshold, in the mean over the samples, and their cost.

    Args:
        samples: the masses of each, all with as many tokens.
        alpha: the threshold, in [0, 1].
        ratio: the share of the multiply-adds that is to go; removing ends where it is reached.
        decoder: the model's sizes.

    Returns:
        (means, one a layer; the cost as a share of that without removal, mean over the samples).
    """
    import torch

    tokens = samples[0].cross.shape[1]
    full = decoder.layers * layer_cost(decoder, tokens, tokens)
    alive = [torch.ones(tokens, dtype=torch.bool) for _ in samples]
    spent, means, counts = 0.0, list[float](), [tokens] * len(samples)
    for layer in range(decoder.layers):
        left = decoder.layers - layer
        ahead = sum(left * layer_cost(decoder, count, count) for count in counts) / len(samples)
        if spent + ahead <= (1 - ratio) * full:
            return (*means, *[0.0] * left), (spent + ahead) / full
        before = counts
        for number, sample in enumerate(samples):
            both = lowest(sample.cross[layer], alive[number], alpha)
            alive[number] &= ~(both & lowest(sample.self[layer], alive[number], alpha))
        counts = [int(one.sum()) for one in alive]
        pairs = list(zip(before, counts, strict=True))
        spent += sum(layer_cost(decoder, was, now) for was, now in pairs) / len(samples)
        means.append(sum(was - now for was, now in pairs) / len(samples))
    return tuple(means), spent / full


def find_recipe(samples: Sequence[Masses], ratio: float, decoder: Decoder) -> Found:
    """Return the recipe of the smallest alpha that reaches the budget.

    Args:
        samples: the masses of each, all with as many tokens.
        ratio: the share of the multiply-adds that is to go, in (0, 1).
        decoder: the model's sizes.

    Raises:
        UserError: a ratio that even alpha=1 doesn't reach: it removes all image tokens in the first layer.
    """
    tokens = samples[0].cross.shape[1]
    most = 1 - recipe_cost(decoder, tokens, [tokens, *[0] * (decoder.layers - 1)])
    if ratio > most:
        raise UserError(
            f"ratio={ratio * 100:g} can't be reached: with {decoder.layers} layers and {tokens} image "
            f"tokens, the attention of the first layer alone costs {1 - most:.1%} of all. Use at most "
            f"ratio={int(most * 100)}."
        )
    low, high, tried = 0.0, 1.0, list[tuple[float, float]]()
    while high - low > STEP:
        middle = (low + high) / 2
        _, cost = removals(samples, middle, ratio, decoder)
        tried.append((middle, cost))
        low, high = (low, middle) if cost <= 1 - ratio else (middle, high)
    means, _ = removals(samples, high, ratio, decoder)
    recipe = tuple(math.floor(mean + 1e-9) for mean in means)
    return Found(high, means, recipe, recipe_cost(decoder, tokens, recipe), tuple(tried))
