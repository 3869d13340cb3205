"""LLaVA's training data: a JSON array, or JSON lines, of conversations, each with its images or none.

    [{"id": "1", "image": "coco/1.jpg", "conversations": [
        {"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]}, ...]

Files are parsed an entry at a time from blocks of a million characters, and images are looked up in the
listing of their folder, made once a folder: memory is what the conversations themselves take, and half a
million images cost no half a million calls to the file system. Needs neither torch nor transformers.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TextIO

from pdrop_eval.errors import UserError

IMAGE = "<image>"
_BLOCK = 1 << 20  # characters
_SPACE = re.compile(r"[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Turn:
    """A question, with "<image>" where the data have it, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """One entry of a data file; `line` is where it begins, `images` are in the order of the data."""

    id: str
    file: Path
    line: int
    images: tuple[Path, ...]
    turns: tuple[Turn, ...]

    @property
    def where(self) -> str:
        """For messages: data.json, line 123 (id abc)."""
        return _where(self.file, self.line, self.id)


class _UnusableError(Exception):
    """What is wrong with an entry: a short name to count it by, what is there, and the fix."""

    def __init__(self, name: str, text: str, fix: str):
        super().__init__(f"{text}. {fix}")
        self.name = name


def read_conversations(
    files: Sequence[Path], images: Path | None, on_error: str = "stop"
) -> tuple[list[Conversation], dict[str, int]]:
    """The conversations of the files in order, and how many entries were left out, by problem.

    `images` is the folder that image paths start from. With `on_error="stop"` an entry that can't be used is
    a UserError with its file, line, id and fix, and the number of all such entries; with "skip" it is left
    out and counted. A file that is no JSON, and an image folder that isn't there, always are a UserError.
    """
    if on_error not in ("stop", "skip"):
        raise UserError(f"on_error={on_error!r}: 'stop' or 'skip' is allowed.")
    if not files:
        raise UserError("No data file is named. Name at least one JSON file in LLaVA's format.")
    folder = _Folder(images)
    found: list[Conversation] = []
    problems: Counter[str] = Counter()
    first = ""
    for file in map(Path, files):
        before = len(found), problems.total()
        for line, entry in _entries(file):
            try:
                found.append(_conversation(file, line, entry, folder))
            except _UnusableError as problem:
                problems[problem.name] += 1
                first = first or f"{_where(file, line, _name(entry))}: {problem}"
        if (len(found), problems.total()) == before:
            raise UserError(f"{file} holds no conversation. Name another file, or leave it out.")
    if first and (on_error == "stop" or not found):
        raise UserError(first + _others(problems, len(found), folder.missing))
    return found, dict(problems)


def _where(file: Path, line: int, name: str) -> str:
    return f"{file}, line {line}" + (f" (id {name})" if name else "")


def _name(entry: Any) -> str:
    """The entry's id, "" without one; it is for messages only."""
    name = entry.get("id") if isinstance(entry, dict) else None
    return "" if name is None else str(name)


def _others(problems: Counter[str], usable: int, missing: dict[str, None]) -> str:
    """The end of the message: all problems by name, the missing images, and that they can be left out."""
    text = ""
    if missing:
        named = ", ".join(list(missing)[:3]) + (", ..." if len(missing) > 3 else "")
        text += f" {len(missing)} images are missing in all: {named}." if len(missing) > 1 else ""
    counted = ", ".join(f"{name} ({number})" for name, number in problems.most_common())
    total = problems.total()
    if not usable:
        return f"{text} None of the {total} entries can be used: {counted}."
    what = "1 entry has a problem" if total == 1 else f"{total} entries have a problem"
    return f"{text} {what} in all: {counted}; on_error=skip leaves them out of the other {usable}."


def _conversation(file: Path, line: int, entry: Any, folder: "_Folder") -> Conversation:
    """An entry as a conversation. Raises _UnusableError."""
    if not isinstance(entry, dict):
        raise _UnusableError(
            "no object", f"the entry is {_short(entry)}", 'Write {"conversations": [...], ...}.'
        )
    names = _images(entry)
    turns = _turns(entry)
    _check_marks(turns, names)
    return Conversation(_name(entry), file, line, tuple(folder.find(name) for name in names), turns)


def _images(entry: dict[str, Any]) -> list[str]:
    """The names of an entry's images."""
    named = entry.get("image")
    names = named if isinstance(named, list) else [] if named is None else [named]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise _UnusableError(
                "image name", f'"image" is {_short(named)}', "Write a path, a list of them, or none."
            )
    return names


def _turns(entry: dict[str, Any]) -> tuple[Turn, ...]:
    """The questions with their answers; human and gpt by turns."""
    listed = entry.get("conversations")
    if not isinstance(listed, list) or not listed:
        what = (
            f'"conversations" is {_short(listed)}'
            if "conversations" in entry
            else '"conversations" is missing'
        )
        raise _UnusableError(
            "missing key", what, 'Write a list of {"from": "human" or "gpt", "value": "..."}.'
        )
    said = [_message(turn, place) for place, turn in enumerate(listed, 1)]
    if said[0][0] == "system" and said.pop(0)[1].strip():
        raise _UnusableError(
            "system prompt",
            "the conversation begins with a system prompt of its own",
            "The model's template has one: remove the turn, or write it into the first question.",
        )
    for place, (role, value) in enumerate(said):
        wanted = ("human", "gpt")[place % 2]
        if role != wanted:
            raise _UnusableError(
                "turn order",
                f"turn {place + 1} is from {role!r} instead of {wanted!r}",
                "Let human and gpt speak by turns, human first.",
            )
        if not value.strip():
            what = "answer" if place % 2 else "question"
            raise _UnusableError(
                f"empty {what}", f"the {what} of turn {place + 1} is empty", f"Write the {what}."
            )
    if not said or len(said) % 2:
        raise _UnusableError(
            "no answer", "the last turn has no answer", "Write the answer, or remove the question."
        )
    values = [value for _, value in said]
    return tuple(map(Turn, values[::2], values[1::2]))


def _message(turn: Any, place: int) -> tuple[str, str]:
    """Who speaks, and what is said."""
    if (
        not isinstance(turn, dict)
        or not isinstance(turn.get("from"), str)
        or not isinstance(turn.get("value"), str)
    ):
        raise _UnusableError(
            "missing key", f"turn {place} is {_short(turn)}", 'Write {"from": "...", "value": "..."}.'
        )
    role = turn["from"]
    if role not in ("human", "gpt") and not (role == "system" and place == 1):
        raise _UnusableError(
            "unknown role", f"turn {place} is from {role!r}", "Allowed are 'human' and 'gpt'."
        )
    return role, turn["value"]


def _check_marks(turns: tuple[Turn, ...], names: list[str]) -> None:
    """An <image> in the first question for each image, and nowhere else."""
    marks = turns[0].question.count(IMAGE)
    if any(IMAGE in turn.answer for turn in turns):
        raise _UnusableError("mark in answer", f"an answer contains {IMAGE}", "Remove it there.")
    if any(IMAGE in turn.question for turn in turns[1:]):
        raise _UnusableError(
            "mark in later turn", f"a later question contains {IMAGE}", "Move it to the first one."
        )
    if names and not marks:
        fix = f"Write {IMAGE} into the first question, or remove the image."
        raise _UnusableError(
            "image without mark", f"there is an image, {names[0]!r}, and no {IMAGE} for it", fix
        )
    if marks and not names:
        raise _UnusableError(
            "mark without image",
            f"the first question contains {IMAGE} and there is no image",
            f'Name it under "image", or remove {IMAGE}.',
        )
    if marks != len(names):
        raise _UnusableError(
            "number of marks",
            f"the first question contains {IMAGE} {marks} times for {len(names)} images",
            "Write it once for each image.",
        )


def _short(value: Any) -> str:
    """A value for a message, cut where it gets long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Folder:
    """The image folder: finds images in listings of its folders, each made once."""

    def __init__(self, root: Path | None):
        self.root = root
        self.missing: dict[str, None] = {}
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        """The path of an image. Raises _UnusableError if it isn't there, UserError if the whole folder isn't."""
        if self.root is None:
            raise UserError(
                f"The data name images ({name!r}) and no image folder is set. Set images=<folder>."
            )
        if not self._listed and not self.root.is_dir():
            raise UserError(
                f"The image folder {self.root} is not there. Unpack the images, or name their folder."
            )
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            fix = "Write a path that starts in the image folder and stays there."
            raise _UnusableError("image path", f"the image {name!r} is outside of the image folder", fix)
        if path.name not in self._names(str(path.parent)):
            self.missing[name] = None
            where = self.root / path.parent
            fix = f"Put it into {where}" + (
                "." if self._listed[str(path.parent)] else ", which is empty or missing."
            )
            raise _UnusableError("missing image", f"the image {name!r} is not in {self.root}", fix)
        return self.root / path

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            assert self.root is not None
            try:
                with os.scandir(self.root / folder) as entries:
                    self._listed[folder] = frozenset(entry.name for entry in entries if entry.is_file())
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = frozenset()
        return self._listed[folder]


def _entries(file: Path) -> Iterator[tuple[int, Any]]:
    """The entries of a file, each with the line on which it begins. Raises UserError if it can't be read."""
    try:
        with open(file, encoding="utf-8-sig") as stream:
            yield from _Values(file, stream).all()
    except OSError as error:
        raise UserError(f"The data file {file} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file}, line {_undecodable(file)}: not UTF-8 ({error.reason}). Save it as UTF-8."
        ) from None


def _undecodable(file: Path) -> int:
    """The first line that is not UTF-8."""
    with open(file, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


class _Values:
    """The values of a JSON array, or of JSON lines, one after the other."""

    def __init__(self, file: Path, stream: TextIO):
        self.file, self.stream = file, stream
        self.text, self.at, self.line = "", 0, 1
        self.ended = False

    def all(self) -> Iterator[tuple[int, Any]]:
        """Each value with its line."""
        mark = self._peek()
        if mark and mark not in "[{":
            self._invalid(f"{mark!r} where an array or an object should begin")
        array = mark == "["
        if array:
            self._move(self.at + 1)
        following = False
        while (mark := self._peek()) not in ("", "]" if array else ""):
            if array and following:
                if mark != ",":
                    self._invalid(f"{mark!r} where ',' should be")
                self._move(self.at + 1)
                self._peek()
            line = self.line
            yield line, self._value()
            following = True
        if array and not mark:
            self._invalid("the array is cut off")
        if array:
            self._move(self.at + 1)
            if mark := self._peek():
                self._invalid(f"{mark!r} after the end of the array")

    def _peek(self) -> str:
        """The next character that is no blank; "" at the end."""
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
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except json.JSONDecodeError as error:
                # at the end of the block it is cut off rather than wrong
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - 16
                if self.ended or not cut:
                    self._move(error.pos)
                    self._invalid(error.msg)
            except RecursionError:
                self._invalid("nested too deeply")
            else:
                if end < len(self.text) or self.ended:
                    self._move(end)
                    return value
            self._more()

    def _more(self) -> None:
        """Reads on: a block, or as much again as an entry has taken so far."""
        rest = self.text[self.at :]
        block = self.stream.read(max(_BLOCK, len(rest)))
        self.text, self.at, self.ended = rest + block, 0, not block

    def _move(self, to: int) -> None:
        self.line += self.text.count("\n", self.at, to)
        self.at = to

    def _invalid(self, what: str) -> NoReturn:
        raise UserError(
            f"{self.file}, line {self.line}: not valid JSON: {what}. Mend the file, or get it anew."
        )
