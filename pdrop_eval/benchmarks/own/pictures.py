"""The pictures of a user's folder: that they are there, inside of it, and whole. Needs no torch."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from unittest import mock

from PIL import ImageFile

from pdrop_eval.benchmarks.own.rows import Fault, Row, refuse
from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS
from pdrop_eval.models.pictures.images import open_picture
from pdrop_eval.utils.validation import shortened

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
INSIDE = (
    "Write paths that begin in the folder; pictures elsewhere may be linked into it: "
    "ln -s /data/pictures images."
)
_OBJECT = re.compile(r" ?<[^<>]*>")  # how Python writes an opened file


def check_paths(file: Path, rows: Sequence[Row]) -> None:
    """Refuses pictures that aren't there, and paths that leave the folder.

    Raises:
        UserError: With the line, the id and the path.
    """
    known: dict[str, str | None] = {}
    outside: list[Fault] = []
    missing: list[Fault] = []
    for row in rows:
        for path in row.images or ():
            if path not in known:
                known[path] = _fault(file.parent, path)
            if fault := known[path]:
                (outside if fault.startswith("leaves") else missing).append(
                    (row.line, row.id, _said(path, fault))
                )
    refuse(file, outside, INSIDE)
    refuse(file, missing, "Copy the picture there, mend the path, or remove the row.")


def _said(path: str, fault: str) -> str:
    return f"image={shortened(path)} {fault.removeprefix('leaves: ')}"


def _fault(folder: Path, path: str) -> str | None:
    """What is wrong with a path, in words after "image=..."; None if a file is there."""
    if _ADDRESS.match(path) or path.startswith("data:"):
        return "is an address, and only files are read: download the picture"
    leaves = ".." in PurePosixPath(path).parts or ".." in PureWindowsPath(path).parts
    if leaves or PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute():
        return "leaves: leads out of the folder, which has to be whole in itself"
    try:
        if (folder / path).is_file():
            return None
        kind = "is a folder, not a picture" if (folder / path).is_dir() else "isn't there"
    except (OSError, ValueError):  # too long for a name, or a zero in it
        return "is no path of a file"
    return kind + _near(folder, path)


def _near(folder: Path, path: str) -> str:
    """The file of a name like the one that was asked for, if there is one."""
    turned = path.replace("\\", "/")
    if turned != path and (folder / turned).is_file():
        return f" (write {turned}, with slashes)"
    place = (folder / path).parent
    if not place.is_dir():
        return f" (there is no folder {place})"
    there = {one.name.casefold(): one.name for one in place.iterdir() if one.is_file()}
    near = difflib.get_close_matches(Path(path).name.casefold(), there, n=1, cutoff=0.8)
    return f" (there is {PurePosixPath(path).with_name(there[near[0]])})" if near else ""


def check_whole(
    file: Path, rows: Sequence[Row], contents: Iterator[Sequence[Path | bytes]]
) -> Iterator[list[Path | bytes]]:
    """The pictures of each row, each of which was opened and read to its end.

    Args:
        file: For messages.
        rows: The rows.
        contents: Of each row, its files, or the encoded pictures that the data file holds.

    Raises:
        UserError: One that is damaged, with the line and the id.
    """
    sound: set[Path] = set()
    for row, pictures in zip(rows, contents, strict=True):
        for picture in pictures:
            if isinstance(picture, Path) and picture in sound:
                continue
            try:
                # lmms-eval's import lets half a picture pass for the rest of a process
                with mock.patch.object(ImageFile, "LOAD_TRUNCATED_IMAGES", False):
                    open_picture(picture)
            except PICTURE_ERRORS as error:
                reason = _OBJECT.sub("", str(error)).strip() or type(error).__name__
                name = (
                    f"image={shortened(str(picture.relative_to(file.parent.resolve())))}"
                    if isinstance(picture, Path)
                    else "its picture"
                )
                fix = "Replace it with a whole PNG or JPEG, or remove the row."
                refuse(file, [(row.line, row.id, f"{name} can't be opened: {reason}")], fix)
            if isinstance(picture, Path):
                sound.add(picture)
        yield list(pictures)
