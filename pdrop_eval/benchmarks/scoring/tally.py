"""A run's samples added up by unit: by what is resampled together. No torch, no pandas."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Sample = Mapping[str, Any]


@dataclass(frozen=True)
class Tally:
    """A run's samples, added up by unit. All arrays have an entry for each unit.

    Attributes:
        sums: What each unit adds, float64 [units, k].
        combine: Maps sums [..., k] to scores [...], on the record's scale.
        weights: The points of the score that each unit carries; they add up to the range.
        sizes: The questions of each unit; copies of a question are one.
        influences: What each unit moves the score by (`linearise`); the sum of their squares is the score's
            variance.
        freedom: Degrees of freedom of that variance.
        strata: Indices of the units that are drawn among themselves, where the benchmark's design fixes how
            many there are of each; empty: all units are drawn together.
    """

    sums: np.ndarray
    combine: Callable[[np.ndarray], np.ndarray]
    weights: np.ndarray
    sizes: np.ndarray
    influences: np.ndarray
    freedom: float
    strata: tuple[np.ndarray, ...] = ()

    @property
    def value(self) -> float:
        """The score of all samples."""
        return float(self.combine(self.sums.sum(axis=0)))


def unit_numbers(samples: Sequence[Sample]) -> np.ndarray:
    """The number of the unit of each sample: as recorded, else by its pictures. int64 [samples]."""
    return number([sample.get("cluster", sample.get("images_sha256")) for sample in samples])


def number(labels: Sequence[Any]) -> np.ndarray:
    """Labels as consecutive integers in order of appearance: int64 [len(labels)]."""
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels])


def by_unit(units: np.ndarray, *columns: np.ndarray) -> np.ndarray:
    """Sums over units of some columns: float64 [units, len(columns)]."""
    size = units.max() + 1
    return np.stack([np.bincount(units, column, size) for column in columns], axis=1)


def linearise(
    values: np.ndarray, weights: np.ndarray, units: np.ndarray, parts: Sequence[np.ndarray]
) -> tuple[np.ndarray, float]:
    """What each unit moves a weighted mean of values by, and the degrees of freedom of its variance.

    A question moves the score by its weight times its value's distance from the mean of its part; a unit by
    what its questions do (the linearised estimate's sums over first-stage units: Wolter, Introduction to
    Variance Estimation, 2007, chapter 6), times the root of the part's n / (n - 1), n its units. Parts of a
    single unit are collapsed into one (Cochran, Sampling Techniques, 1977, section 5A.12), because the
    variance of a single one can't be seen; that errs on the wide side.
    """
    total, freedom = np.zeros(units.max() + 1), 0
    for rows in _collapsed(parts, units):
        n = _count(units[rows])
        mean = np.average(values[rows], weights=weights[rows])
        moved = weights[rows] * (values[rows] - mean) * np.sqrt(n / max(n - 1, 1))
        total += np.bincount(units[rows], moved, len(total))
        freedom += n - 1
    return total, float(max(1, min(freedom, len(total) - 1)))


def _collapsed(parts: Sequence[np.ndarray], units: np.ndarray) -> list[np.ndarray]:
    """Parts of at least two units, where there are two."""
    alone = [rows for rows in parts if _count(units[rows]) == 1]
    others = [rows for rows in parts if _count(units[rows]) > 1]
    if len(alone) == 1 and others:
        smallest = min(range(len(others)), key=lambda place: _count(units[others[place]]))
        alone.append(others.pop(smallest))
    return [*others, np.any(alone, axis=0)] if alone else others


def _count(units: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(units)))
