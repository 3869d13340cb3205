"""Values that anyone may have written, in JSON or on a command line: read with care. Needs no torch."""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from pdrop_eval.utils.errors import UserError

# Without so many digits, or such an exponent, no number is beyond what a float holds. An exponent ends its
# number; in a hash, whose letters look alike, more of it or a quotation mark follows.
_EXPONENT = re.compile(r"[eE]\+?[0-9]{3,}(?:[\s,\]}]|$)")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")
_HUNDRED = re.compile(r"[0-9]{100}")
_TENTHS = re.compile(r"[0-9]{10,}")


def parse(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for all that can't be written again as it is.

    That is NaN and infinities (as words or as 1e999), halves of characters, and lists nested without end.
    """
    try:
        floats = _finite if _may_be_large(text) else None  # to look at each one takes half of the time
        found = json.loads(text, parse_constant=_refuse, parse_float=floats)
        if "\\u" in text:  # only so can half a surrogate pair come in
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("it holds half a character (a lone surrogate)") from None
    return found


def _may_be_large(text: str) -> bool:
    """Whether a number may be larger than a float holds: one with an exponent, or of a hundred digits."""
    return _EXPONENT.search(text) is not None or any(map(_HUNDRED.search, _dense(text)))


def _dense(text: str) -> Iterator[str]:
    """Where a hundred digits in a row may be: every tenth character is one, ten times in a row."""
    for found in _TENTHS.finditer(text[::10]):
        yield text[max(0, 10 * found.start() - 9) : 10 * found.end()]


def is_plain_name(name: str) -> bool:
    """Whether a text names a file in a folder on any system, and nothing above, below or elsewhere."""
    if _PLAIN.fullmatch(name):  # nearly all, without making paths of them
        return name not in (".", "..")
    return (
        name not in ("", ".", "..")
        and PurePosixPath(name).name == name == PureWindowsPath(name).name
        and name.isprintable()
    )


def is_inner_path(path: str) -> bool:
    """Whether a text names a file beneath a folder, by plain names parted by slashes."""
    return all(is_plain_name(part) for part in path.split("/"))


def shortened(value: Any, most: int = 60) -> str:
    """A value for a message: as Python writes it (control characters escaped), not too much of it."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    if not is_finite_number(found):
        raise ValueError(f"{shortened(digits)} is too large for a number")
    return found


def check_whole(name: str, value: Any, least: int, hint: str = "") -> None:
    """Raises UserError unless the value is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(
            f"{name}={value} is not allowed: it must be a whole number of at least {least}. {hint}".rstrip()
        )


def check_truth(name: str, value: Any) -> None:
    """Raises UserError unless the value is true or false: a text such as "no" would count as true."""
    if not isinstance(value, bool):
        shown = "null" if value is None else value
        raise UserError(f"{name}={shown} is not allowed: use true or false.")


def truth_of(name: str, value: Any) -> bool:
    """The truth value that a value is, or that a text names: True, true. Raises UserError for any other."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    check_truth(name, value)
    return bool(value)


def check_choice(what: str, value: Any, allowed: Iterable[str], fix: str = "") -> None:
    """Raises UserError with the value, the allowed ones and the nearest of them, if it is none of them."""
    allowed = list(allowed)
    if value in allowed:
        return
    near = difflib.get_close_matches(str(value), allowed, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = f"Allowed: {', '.join(allowed)}." if allowed else "There is none."
    raise UserError(f"Unknown {what}: {value!r}. {there}{hint}{' ' + fix if fix else ''}")


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


def check_setting(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raises UserError unless the value of a setting is one of `allowed`, which the message lists."""
    if value not in allowed:
        raise UserError(f"{name}={value!r} is unknown: use one of {', '.join(map(repr, allowed))}.")


def check_number(name: str, value: Any, low: float, high: float) -> None:
    """Raises UserError unless the value is a number in [low, high]."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not low <= value <= high:
        raise UserError(f"{name}={value!r} is not allowed: use a number in [{low}, {high}].")
