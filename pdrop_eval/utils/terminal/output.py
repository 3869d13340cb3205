"""What is printed, on every terminal and into every file: signs that an encoding lacks, and full disks."""

import codecs
import contextlib
import os
import sys
import unicodedata
from typing import TextIO

# Signs of our tables and messages, in ASCII; others lose their accents, or are shown by their number.
_PLAIN = {
    "λ": "lambda", "Δ": "Delta", "±": "+/-", "×": "x", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...",
    "→": "->", "←": "<-", "≤": "<=", "≥": ">=", "’": "'", "“": '"', "”": '"', "†": "+", "‡": "++", "█": "#",
}  # fmt: skip
_HANDLER = "pdrop_eval_plain"


def printable(text: str) -> str:
    """The text as standard output can show it; as it is, where it can show all of it."""
    if text.isascii():
        return text
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, _HANDLER).decode(encoding)
    return text


def never_refuse() -> None:
    """From now on, both outputs show a sign that their encoding lacks in other signs, as `printable` does."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # a stream of someone else's
            stream.reconfigure(errors=_HANDLER)  # type: ignore[union-attr]


def lost(failed: bool = False) -> str | None:
    """Why standard output took less than was printed; None if it took all, or its reader has left.

    Args:
        failed: Something couldn't be written; whether that was standard output, one more line tells.
    """
    try:
        if sys.stdout:
            sys.stdout.write("\n" if failed else "")
            sys.stdout.flush()
    except BrokenPipeError:
        discard()
    except OSError as error:
        _lead_nowhere(sys.stdout)  # what comes after it would fail again
        return f"the output can't be written: {error.strerror}. Free some space, or print to another place."
    except ValueError:  # it is closed
        return None
    return None


def discard() -> None:
    """Empties both outputs, into nothing where they can't be: Python would leave with another status."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            _lead_nowhere(stream)


def _lead_nowhere(stream: TextIO) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _in_plain_signs(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    if sign in _PLAIN:
        return _PLAIN[sign]
    letters = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return letters or sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(_HANDLER, _in_plain_signs)
