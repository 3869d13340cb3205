r"""LLaVA's training data: a JSON array, or JSON lines, of conversations with their images.

    [{"id": "1", "image": "coco/1.jpg", "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A cat."}]}, ...]

`image` may be a list, or absent. Files are parsed an entry at a time (`entries`), and images are looked up in
listings of their folders: memory is about twice the texts', and half a million images cost no half a million
calls to the file system. Needs neither torch nor transformers.
"""

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdrop_eval.run.train.data.json_stream import read_entries
from pdrop_eval.utils.errors import UserError

IMAGE = "<image>"
ROLES = ("human", "gpt")
# What other formats name pictures and other media by: without them, a conversation would be of text alone.
_NOT_READ = (
    "images", "image_path", "image_paths", "image_file", "image_files", "img", "imgs", "video", "videos",
    "video_path", "audio", "audios", "audio_path",
)  # fmt: skip


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


class UnusableError(Exception):
    """What is wrong with an entry, and the fix; `name` is a short one to count it by."""

    def __init__(self, name: str, text: str, fix: str):
        super().__init__(f"{text}. {fix}")
        self.name = name


def read_conversations(
    files: Sequence[Path], images: Path | None, on_error: str = "stop"
) -> tuple[list[Conversation], dict[str, int]]:
    """The conversations of the files in order, and how many entries were left out, by problem.

    `images` is the folder that image paths start from. With `on_error="stop"` an entry that can't be used is
    a UserError with its file, line, id and fix, and the number of all such entries; with "skip" it is left
    out and counted. A file that is no JSON, an image folder that isn't there, and data of which nothing can
    be used always are a UserError.
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
        line = 0
        for line, entry in read_entries(file):
            try:
                found.append(_conversation(file, line, entry, folder))
            except UnusableError as problem:
                problems[problem.name] += 1
                first = first or f"{_where(file, line, _id(entry))}: {problem}"
        if not line:
            raise UserError(f"{file} holds no conversation. Name another file, or leave it out.")
    if problems and (on_error == "stop" or not found):
        raise UserError(" ".join([first, *folder.missing_in_all(), _in_all(problems, len(found))]))
    return found, dict(problems)


def _where(file: Path, line: int, name: str) -> str:
    return f"{file}, line {line}" + (f" (id {name})" if name else "")


def _id(entry: Any) -> str:
    """The entry's id, "" without one: it is for messages only."""
    name = entry.get("id") if isinstance(entry, dict) else None
    return "" if name is None else str(name)


def _in_all(problems: Counter[str], usable: int) -> str:
    """The end of a message: how many entries can't be used, why, and what can be done about all of them."""
    total = problems.total()
    counted = ", ".join(f"{name} ({number})" for name, number in problems.most_common())
    if not usable:
        none = "The only entry can't" if total == 1 else f"None of the {total} entries can"
        return f"{none} be used: {counted}."
    what, them = ("1 entry", "it") if total == 1 else (f"{total} entries", "them")
    return f"{what} can't be used: {counted}; on_error=skip leaves {them} out and keeps {usable}."


def _conversation(file: Path, line: int, entry: Any, folder: "_Folder") -> Conversation:
    """An entry as a conversation. Raises UnusableError."""
    if not isinstance(entry, dict):
        raise UnusableError("no object", f"the entry is {_short(entry)}", 'Write {"conversations": [...]}.')
    names = _images(entry)
    turns = _turns(entry)
    _check_marks(turns, names)
    return Conversation(_id(entry), file, line, tuple(folder.find(name) for name in names), turns)


def _images(entry: dict[str, Any]) -> list[str]:
    """The names of an entry's images."""
    for key in _NOT_READ:
        if entry.get(key):
            raise UnusableError(
                "unknown key",
                f'"{key}" is not read: pictures stand under "image"',
                'Write the paths of pictures under "image", or remove the entry.',
            )
    named = entry.get("image")
    names = named if isinstance(named, list) else [] if named is None else [named]
    if not all(isinstance(name, str) and name.strip() for name in names):
        raise UnusableError(
            "image name", f'"image" is {_short(named)}', "Write a path, or a list of paths, or leave it out."
        )
    return names


def _turns(entry: dict[str, Any]) -> tuple[Turn, ...]:
    """The questions with their answers. Raises UnusableError unless human and gpt speak by turns."""
    listed = entry.get("conversations")
    if not isinstance(listed, list):
        what = f"is {_short(listed)}" if "conversations" in entry else "is missing"
        fix = 'Write a list of {"from": "human" or "gpt", "value": "..."}.'
        raise UnusableError("missing key", f'"conversations" {what}', fix)
    said = [_message(turn, place) for place, turn in enumerate(listed, 1)]
    if said and said[0][0] == "system" and said.pop(0)[1].strip():
        raise UnusableError(
            "system prompt",
            "the conversation begins with a system prompt of its own",
            "The model's template has one: remove the turn, or write it into the first question.",
        )
    if len(said) > 1 and said[0][0] == "gpt":
        said.pop(0)  # as LLaVA's own code leaves it out: some of its text-only data begin with an answer
    for place, (role, value) in enumerate(said):
        wanted, what = (ROLES[place % 2], ("question", "answer")[place % 2])
        if role != wanted:
            raise UnusableError(
                "turn order",
                f"{role!r} speaks where {wanted!r} should: {_short(value)}",
                "Let human and gpt speak by turns, human first.",
            )
        if not value.strip():
            fix = "Write it, or remove the question with its answer."
            raise UnusableError(f"empty {what}", f"{what} {place // 2 + 1} is empty", fix)
    if not said or len(said) % 2:
        text = f"the last question has no answer: {_short(said[-1][1])}" if said else "there is no question"
        raise UnusableError("no answer", text, "Write the answer, or remove the question.")
    values = [value for _, value in said]
    return tuple(map(Turn, values[::2], values[1::2]))


def _message(turn: Any, place: int) -> tuple[str, str]:
    """Who speaks, and what is said."""
    try:
        role, value = turn["from"], turn["value"]
    except (TypeError, KeyError):
        role = value = None
    if not isinstance(role, str) or not isinstance(value, str):
        fix = 'Write {"from": "human" or "gpt", "value": "..."}.'
        raise UnusableError("missing key", f"turn {place} is {_short(turn)}", fix)
    if role not in ROLES and (role, place) != ("system", 1):
        raise UnusableError(
            "unknown role", f"turn {place} is from {role!r}", "Allowed are 'human' and 'gpt'."
        )
    if not value.isascii() and not _is_text(value):
        fix = "Write it again: it has half of a pair of \\u escapes."
        raise UnusableError("broken character", f"turn {place} has a character that is none", fix)
    return role, value


def _is_text(value: str) -> bool:
    """Whether it has no lone surrogate, which no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_marks(turns: tuple[Turn, ...], names: list[str]) -> None:
    """Raises UnusableError unless the first question has an <image> for each image, and no other text has."""
    marks = turns[0].question.count(IMAGE)
    for turn in turns:
        if IMAGE in turn.answer:
            raise UnusableError("mark in answer", f"an answer contains {IMAGE}", "Remove it there.")
        if turn is not turns[0] and IMAGE in turn.question:
            fix = "Move it into the first question."
            raise UnusableError("mark in later turn", f"a later question contains {IMAGE}", fix)
    if names and not marks:
        raise UnusableError(
            "image without mark",
            f"there is an image, {names[0]!r}, and no {IMAGE} in the first question",
            f"Write {IMAGE} where the image belongs, or remove the image.",
        )
    if marks and not names:
        raise UnusableError(
            "mark without image",
            f"the first question contains {IMAGE}, and there is no image",
            f'Name it under "image", or remove {IMAGE}.',
        )
    if marks != len(names):
        raise UnusableError(
            "number of marks",
            f"the number of {IMAGE} is {marks}, that of images {len(names)}",
            f"Write {IMAGE} once for each image.",
        )


def _short(value: Any) -> str:
    """A value for a message, cut where it gets long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _Folder:
    """Finds images in listings of the folders beneath `root`, each made once."""

    def __init__(self, root: Path | None):
        self.root = root
        self.missing: dict[str, None] = {}
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, name: str) -> Path:
        """An image's path. Raises UnusableError if it isn't there, UserError without the whole folder."""
        if self.root is None:
            raise UserError(f"The data name images ({name}) and no folder of images is set. Set `images`.")
        if not self._listed and not self.root.is_dir():
            fix = "Unpack the images there, or name the folder that has them."
            raise UserError(f"The image folder {self.root} is not there; the data name {name} in it. {fix}")
        if name.startswith("/") or ".." in name.split("/"):
            fix = "Write a path that starts in the image folder and stays there."
            raise UnusableError("image path", f"the image {name!r} is outside of the image folder", fix)
        folder, _, file = name.rpartition("/")
        if file not in self._names(self.root, folder):
            self.missing[name] = None
            fix = "Put it there" if self._listed[folder] else f"Nothing is in {self.root / folder}: unpack it"
            fix += ", or remove the entry."
            raise UnusableError("missing image", f"the image {name!r} is not in {self.root}", fix)
        return self.root / name

    def missing_in_all(self) -> list[str]:
        """A sentence with the number of all missing images and the first three, if there are several."""
        if len(self.missing) < 2:
            return []
        first = ", ".join(list(self.missing)[:3]) + (", ..." if len(self.missing) > 3 else "")
        return [f"{len(self.missing)} images are missing: {first}."]

    def _names(self, root: Path, folder: str) -> frozenset[str]:
        """The files of a folder, none if it isn't there; broken links are no files."""
        if folder not in self._listed:
            try:
                with os.scandir(root / folder) as entries:
                    names = frozenset(entry.name for entry in entries if entry.is_file())
            except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: no possible name
                names = frozenset()
            except OSError as error:
                raise UserError(
                    f"The image folder {root / folder} can't be read: {error.strerror or error}. "
                    "Change its permissions, or name another folder."
                ) from error
            self._listed[folder] = names
        return self._listed[folder]
