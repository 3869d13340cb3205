"""Whether a number is a mean, where all questions earned the same: from what it is of other items.

A mean of equal scores is their score, and so is a minimum, a corpus's BLEU of 0 or a correlation. One item is
changed until it earns something else; then a mean moves by its share, and everything else shows itself.
"""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from statistics import fmean
from typing import Any

_ITEMS = 6  # of those that there are
_PROBES = 24
_DIGITS = range(1, 5)  # to which lmms-eval's tasks round


def refuted(
    items: Sequence[Any], score: float, aggregate: Callable[[list[Any]], Any],
    probing: Callable[[], AbstractContextManager[Any]],
) -> bool:  # fmt: skip
    """Whether a function shows itself to be no mean of what it makes of each item alone.

    Args:
        items: All of which earned the same.
        score: What each of them earned.
        aggregate: lmms-eval's function.
        probing: within it, the function is called.
    """
    few = list(items[:_ITEMS])
    if len(few) < 2:
        return False
    for count, changed in enumerate(_changed(few[0])):
        if count == _PROBES:
            break
        with contextlib.suppress(Exception), probing():  # a probe may be of a wrong kind
            whole, single = aggregate([changed, *few[1:]]), aggregate([changed])
            if isinstance(changed, (bool, int, float)):
                single = float(changed)
            if whole is None or single is None or (same_number(whole, score) and same_number(single, score)):
                continue
            mean = fmean([single, *[score] * (len(few) - 1)])
            return not any(same_number(whole, factor * mean) for factor in (1, 100))
    return False


def _changed(item: Any) -> Iterator[Any]:
    """The item with one of its values changed, in turn."""
    if isinstance(item, (bool, int, float)):
        yield 0.0 if item else 1.0
        return
    if not isinstance(item, (dict, list, tuple)):
        return
    places = list(item) if isinstance(item, dict) else list(range(len(item)))
    for place in places:
        for value in _others(item, place, places):
            yield _with(item, place, value)


def _others(item: Any, place: Any, places: Sequence[Any]) -> Iterator[Any]:
    """Other values for one of an item's: a mark turned round; of a text, the item's other texts."""
    value = item[place]
    if isinstance(value, (bool, int, float)):
        yield type(value)(not value)
    elif isinstance(value, str):
        for other in places:
            texts = item[other] if isinstance(item[other], (list, tuple)) else [item[other]]
            if other != place and texts and isinstance(texts[0], str) and texts[0] != value:
                yield texts[0]


def _with(item: Any, place: Any, value: Any) -> Any:
    if isinstance(item, tuple):
        return (*item[:place], value, *item[place + 1 :])
    made = copy.deepcopy(item)
    made[place] = value
    return made


def same_number(given: float, made: float) -> bool:
    """Whether a function's number is one that was made here, or that one rounded; 0 is no rounded number."""
    if math.isclose(given, made, rel_tol=1e-6, abs_tol=1e-12):
        return True
    rounded = {round(made, digits) for digits in _DIGITS} - {0.0}
    return any(math.isclose(given, one, rel_tol=1e-9) for one in rounded)
