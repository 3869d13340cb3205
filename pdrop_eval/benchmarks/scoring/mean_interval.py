"""The spread of a mean over benchmarks, some of which may ask about the same pictures.

MMBench and MMBench-CN ask the same questions in two languages; benchmarks on COCO share photographs. What a
candidate loses on a picture it is likely to lose in both, so their differences vary together, and a mean of
them varies more than one of independent ones: the variance of a sum has the covariances too. They come from
what each picture adds to both differences (the linearised estimates' sums over first-stage units, as in
Wolter, Introduction to Variance Estimation, 2007, chapter 6). A negative covariance isn't counted: of few
shared pictures it would be noise that promises precision.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist

from pdrop_eval.benchmarks.scoring.interval import LEVEL, NORMAL, Spread

_NEAR = 1e-9  # a standard error of so small a part of the largest change is 0, but for rounding


def mean_spread(spreads: Sequence[Spread], difference: float) -> Spread:
    """The spread of a mean of differences; a single one's is its own.

    Degrees of freedom by Satterthwaite (Biometrics Bulletin 2, 1946, 110-114); what is shared counts once.
    """
    if len(spreads) == 1:
        return replace(spreads[0], difference=difference)
    k, known = len(spreads), [_known(spread) for spread in spreads]
    rows = [sum(_covariance(one, other) for other in known) for one in known]
    total = sum(rows)
    shares = sum(
        _overlap(one, other) * row * column / math.sqrt(one.freedom * other.freedom)
        for one, row in zip(known, rows, strict=True)
        for other, column in zip(known, rows, strict=True)
    )
    times = Counter(picture for spread in spreads for picture in spread.pictures)
    repeated = sum(times.values()) - len(times)
    return Spread(
        difference,
        math.sqrt(total) / k,
        sum(spread.moved for spread in spreads) / k,
        _largest(spreads, times) / k,
        max(1, sum(spread.questions for spread in spreads) - repeated),
        max(1, sum(spread.clusters for spread in spreads) - repeated),
        total**2 / shares if shares else max(1, sum(spread.freedom for spread in spreads) - repeated),
    )


def _known(spread: Spread) -> Spread:
    """A spread whose standard error is known: a single cluster says nothing of it, nor do equal changes.

    Then it is that of the interval, which isn't 0. Where nothing changed it stays 0: what could have changed
    unseen is bounded for all benchmarks together (`Spread.interval`).
    """
    alike = spread.moved > 0 and spread.error <= _NEAR * spread.most
    if spread.clusters > 1 and not alike:
        return spread
    low, high = spread.interval()
    return replace(spread, error=(high - low) / 2 / NormalDist().inv_cdf((1 + LEVEL) / 2), freedom=NORMAL)


def _covariance(one: Spread, other: Spread) -> float:
    """Of two differences: the products of what each shared picture adds to them."""
    if one is other:
        return one.error**2
    alike = sum(share * other.pictures[p] for p, share in one.pictures.items() if p in other.pictures)
    return min(max(alike, 0.0), 1.0) * one.error * other.error


def _overlap(one: Spread, other: Spread) -> float:
    """The share of pictures that two have in common, 0 to 1: of one and the same, all."""
    if one is other:
        return 1.0
    shared = len(one.pictures.keys() & other.pictures.keys())
    return shared / math.sqrt(len(one.pictures) * len(other.pictures)) if shared else 0.0


def _largest(spreads: Sequence[Spread], times: Counter[str]) -> float:
    """The largest change of the sum of all that the answers about one picture could make."""
    alone = max(spread.most for spread in spreads)
    shared = [picture for picture, number in times.items() if number > 1]
    sums = (sum(spread.most for spread in spreads if p in spread.pictures) for p in shared)
    return max(alone, *sums) if shared else alone
