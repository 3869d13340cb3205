"""Which rule the numbers of a task of lmms-eval's follow, found from the numbers themselves.

A registered benchmark says how its score is made. Of any other task, lmms-eval gives an item for each
question and a function that makes one number of them. Where that number is the mean of what it makes of each
item alone, the questions have scores, and an interval; elsewhere there is one number.
"""

import copy
import inspect
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pdrop_eval.benchmarks.installed.probes import refuted, same_number
from pdrop_eval.utils.validation import is_finite_number, shortened

PERCENT, OWN = "percent", "own"
_MOST = 2000  # entries of a module's own list or dict that is put back

Number = Callable[[list[Any]], float | None]


class NoNumberError(ValueError):
    """lmms-eval's function makes no number of the items; the message says what it gives."""


@dataclass(frozen=True)
class Numbers:
    """What a metric's items come to.

    Attributes:
        rule: The scoring rule: "mean", "own_mean" or "whole".
        scale: "percent" (0 to 100), or "own": lmms-eval's.
        scores: What each question earned, 0 to 1, or on the own scale; None where there is only one number.
        value: The number of all, on the scale.
    """

    rule: str
    scale: str
    scores: list[float] | None
    value: float


def numbers_of(
    items: Sequence[Any], aggregate: Number, field: str | None = None, plain: bool = False,
    probing: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Numbers:  # fmt: skip
    """What items come to.

    Args:
        items: lmms-eval's, one for each question.
        aggregate: lmms-eval's own function, see `on_its_own`.
        field: the field of an item that holds what the question earned, where that is known.
        plain: the function is known to be the mean.
        probing: within it, the function is called with items that nobody has answered.

    Raises:
        NoNumberError: it gives no number.
    """
    whole = aggregate(list(items))
    single = [_number(item[field]) if field else _single(item, aggregate) for item in items]
    scores = [score for score in single if score is not None]
    if len(scores) < len(items):
        return _only(whole, aggregate)
    top, mean = max(scores), fmean(scores)
    inside = min(scores) >= 0 and top <= 1
    known = plain or field is not None
    is_mean = known or (whole is not None and same_number(whole, mean))
    if not known and len(set(scores)) == 1 and refuted(items, scores[0], aggregate, probing):
        return _only(whole, aggregate)
    in_percent = inside and whole is not None and same_number(whole, 100 * mean)
    if inside and (is_mean or in_percent):
        return Numbers("mean", PERCENT, scores, 100 * mean)
    if is_mean and min(scores) >= 0 and top == 100:
        return Numbers("mean", PERCENT, [score / 100 for score in scores], mean)
    if is_mean:
        return Numbers("own_mean", OWN, scores, mean)
    return _only(whole, aggregate)


class on_its_own:  # noqa: N801 - it is called like a function
    """One of lmms-eval's functions that make a number of items, so that one call leaves nothing to the next.

    Some change the items, some add to a list of their module, some read again what a call before has written.

    Attributes:
        said: What it gave last.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.said: Any = None

    def __call__(self, items: list[Any]) -> float | None:
        """The number of items; None where it gives none."""
        function = self._function
        with tempfile.TemporaryDirectory() as folder, _put_back(function):
            paths = Namespace(output_path=folder, process_with_media=False, reasoning_tags=None)
            extra = {"args": paths} if "args" in _parameters(function) else {}
            self.said = function(copy.deepcopy(items), **extra)
            return _number(self.said)


def _only(whole: float | None, aggregate: Number) -> Numbers:
    if whole is None:
        given = f": it gives {shortened(aggregate.said)}" if isinstance(aggregate, on_its_own) else ""
        raise NoNumberError(f"lmms-eval's function gives no number{given}")
    return Numbers("whole", OWN, None, whole)


def _single(item: Any, aggregate: Number) -> float | None:
    return _number(item) if not isinstance(item, (dict, list, tuple)) else aggregate([item])


def _number(value: Any) -> float | None:
    value = value.item() if hasattr(value, "item") and not isinstance(value, dict) else value
    value = float(value) if isinstance(value, (bool, int, float)) else value
    return value if is_finite_number(value) else None


def _parameters(function: Callable[..., Any]) -> Sequence[str]:
    try:
        return list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []


@contextmanager
def _put_back(function: Callable[..., Any]) -> Iterator[None]:
    """Puts back what a function's module keeps in lists and dicts of its own."""
    inner: Any = inspect.unwrap(getattr(function, "func", function))
    kept = {
        name: (value, copy.deepcopy(value))
        for name, value in getattr(inner, "__globals__", {}).items()
        if isinstance(value, (dict, list, set)) and not name.startswith("__") and len(value) <= _MOST
    }
    try:
        yield
    finally:
        for value, before in kept.values():
            if value != before:
                value.clear()
                value.extend(before) if isinstance(value, list) else value.update(before)
