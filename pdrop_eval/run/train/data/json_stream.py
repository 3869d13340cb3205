"""The entries of a JSON array, or of JSON lines, one after the other and with their lines.

Blocks of a million characters are parsed entry by entry: memory is what a block and an entry take, however
large the file is and whether it has one line or many.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import check_regular

BLOCK = 1 << 20  # characters
_CUT = 16  # an error so close to the end of a block may come from the end: the longest token that can be cut
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


def read_entries(file: Path) -> Iterator[tuple[int, Any]]:
    """The line on which each entry begins, from 1, and the entry.

    Raises:
        UserError: With file and line if it can't be read, is not UTF-8 or is no JSON.
    """
    try:
        check_regular(file)
        with open(file, encoding="utf-8-sig") as stream:
            yield from _Values(file, stream).all()
    except OSError as error:
        raise UserError(
            f"The data file {file} can't be read: {error.strerror or error}. "
            "Name a JSON file in LLaVA's format that you can read."
        ) from error
    except UnicodeDecodeError as error:
        line = _undecodable(file)
        raise UserError(f"{file}, line {line}: not UTF-8 ({error.reason}). Save the file as UTF-8.") from None


def _undecodable(file: Path) -> int:
    """The first line that is not UTF-8."""
    number = 1
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return number


class _Values:
    """A position in a file: `text` from `at` on was read and not parsed yet; `line` is its line."""

    def __init__(self, file: Path, stream: TextIO):
        self.file, self.stream = file, stream
        self.text, self.at, self.line = "", 0, 1
        self.ended = False

    def all(self) -> Iterator[tuple[int, Any]]:
        """Each value with the line on which it begins."""
        mark = self._peek()
        if mark == "[":
            yield from self._array()
        elif mark == "{":
            while self._peek():
                yield self.line, self._value()
        elif mark:
            self._invalid(f"{mark!r} where an array or an object should begin")

    def _array(self) -> Iterator[tuple[int, Any]]:
        self._move(self.at + 1)
        mark = self._peek()
        while mark != "]":
            if not self._peek():
                self._invalid("the array has no end")
            yield self.line, self._value()
            mark = self._peek()
            if mark not in (",", "]"):
                self._invalid(f"{mark!r} where ',' or ']' should be" if mark else "the array has no end")
            if mark == ",":
                self._move(self.at + 1)
        self._move(self.at + 1)
        if mark := self._peek():
            self._invalid(f"{mark!r} after the end of the array")

    def _peek(self) -> str:
        """The next character that is no blank, which is then at `at`; "" at the end of the file."""
        while True:
            space = _SPACE.match(self.text, self.at)
            assert space
            self._move(space.end())
            if self.at < len(self.text):
                return self.text[self.at]
            if self.ended:
                return ""
            self._more()

    def _value(self) -> Any:
        """The value that begins at `at`."""
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _CUT
                if self.ended or not cut:
                    self._move(error.pos)
                    self._invalid(error.msg)
            except (RecursionError, ValueError) as error:  # nested too deeply, or a number of too many digits
                self._invalid(str(error))
            else:
                if end < len(self.text) or self.ended:
                    self._move(end)
                    return value
            self._more()

    def _more(self) -> None:
        """Reads on: a block, or as much again as an entry has taken so far."""
        rest = self.text[self.at :]
        block = self.stream.read(max(BLOCK, len(rest)))
        self.text, self.at, self.ended = rest + block, 0, not block

    def _move(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def _invalid(self, what: str) -> NoReturn:
        raise UserError(
            f"{self.file}, line {self.line}: not valid JSON: {what}. Fix the file, or download it again."
        )
