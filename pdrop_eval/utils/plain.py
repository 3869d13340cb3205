"""Values of the scientific stack as plain JSON values."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def to_plain(value: Any) -> Any:
    """The same value in what JSON knows: NumPy and torch numbers and arrays unpacked, paths as text.

    NaN and infinities become None, because JSON has no word for them; dates become ISO text.
    Raises TypeError for anything else (bytes and images among it: they do not belong in a record).
    """
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [to_plain(item) for item in items]
    if isinstance(value, Path):
        return str(value)
    # tolist() is what NumPy scalars, NumPy arrays and torch tensors share; neither needs to be imported here.
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return to_plain(getattr(value, method)())
    raise TypeError(f"a {type(value).__name__} can't be stored in a record")


def is_finite_number(value: Any) -> bool:
    """Whether the value is a number that is neither NaN nor infinite (a truth value is no number here)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
