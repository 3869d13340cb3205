"""The folder of a page: written whole beside the old one, then moved into place; only its own files go.

A file `.page.json` names every file that the page has written, so that nothing else is ever removed. Pictures
are named by their content and kept from one build to the next; all other files are made in a folder within,
and moved when all of them are there, the index last: whoever opens the page meanwhile sees the old one.
"""

import contextlib
import filecmp
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.files import HeldError, Lock, unwritable, write_atomically
from pdrop_eval.utils.validation import is_inner_path

MANIFEST = ".page.json"
PICTURES = "pictures"
_LAST = ("data/index.js", "index.html")
_STAGE, _SCRATCH, _LOCK = ".building", ".scratch", ".lock"
_PICTURE = re.compile(r"[0-9a-f]{20}(-\d+)?\.webp")


class Site:
    """A page's folder, held by this process from `opened` to its end."""

    def __init__(self, out: Path, known: set[str]):
        self.out = out
        self.used: set[str] = set()  # pictures of this build
        self._known = known
        self._stage = out / _STAGE
        self._made: set[str] = set()  # folders of this build

    def write(self, name: str, content: str | bytes) -> None:
        """Makes a file; a second one of the same name takes its place."""
        with open(self._staged(name), "wb") as file:
            file.write(_bytes(content) if isinstance(content, str) else content)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for this build's own use, which is no part of the page."""
        folder = self.out / _SCRATCH
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def append(self, name: str, text: str) -> None:
        """Adds to a file of this build."""
        with open(self._staged(name), "ab") as file:
            file.write(_bytes(text))

    def has(self, name: str) -> bool:
        """Whether this build has made the file."""
        return os.path.isfile(f"{self._stage}/{name}")

    def picture(self, name: str) -> bool:
        """Whether the picture is there already; it is then kept."""
        there = (self.out / PICTURES / name).is_file()
        if there:
            self.used.add(name)
        return there

    def add_picture(self, name: str, content: bytes) -> None:
        """Puts a picture in its place at once: a build that is interrupted hasn't made it in vain."""
        if not _PICTURE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a picture")
        path = self.out / PICTURES / name
        path.parent.mkdir(exist_ok=True)
        made = path.with_name(f".{name}.tmp")
        made.write_bytes(content)
        os.replace(made, path)
        self.used.add(name)

    def publish(self) -> None:
        """Moves all files into place, then removes those of the last build that this one doesn't have."""
        names = sorted(_files(self._stage))
        names.sort(key=lambda name: _LAST.index(name) if name in _LAST else -1)
        self._check(names)
        _write_manifest(self.out, self._known | {*names})
        moved = self._move_new_folders(names)
        for folder in _folders(names) - moved:
            (self.out / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            if _folder(name) not in moved:
                self._move(name)
        self._remove((self._known - {*names}) | self._unused())
        _write_manifest(self.out, {*names})

    def _staged(self, name: str) -> str:
        if not is_inner_path(name):
            raise ValueError(f"{name!r} is no path within the page")
        folder = _folder(name)
        if folder not in self._made:
            (self._stage / folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        return f"{self._stage}/{name}"

    def _move_new_folders(self, names: list[str]) -> set[str]:
        """Moves folders as wholes that the page doesn't have yet, as those of a run; returns which."""
        moved: set[str] = set()
        for folder in sorted(_above(names) - _above(_LAST)):  # each after the one that it lies in
            if _folder(folder) in moved:
                moved.add(folder)
            elif not os.path.lexists(f"{self.out}/{folder}"):
                (self.out / folder).parent.mkdir(parents=True, exist_ok=True)
                os.replace(f"{self._stage}/{folder}", f"{self.out}/{folder}")
                moved.add(folder)
        return moved

    def _move(self, name: str) -> None:
        source, target = f"{self._stage}/{name}", f"{self.out}/{name}"
        there = os.path.isfile(target) and not os.path.islink(target)
        if there and filecmp.cmp(source, target, shallow=False):
            return  # what hasn't changed keeps its time
        os.replace(source, target)

    def _check(self, names: list[str]) -> None:
        """Refuses to write over files of others, and through links to elsewhere."""
        home = self.out.resolve()
        for folder in [self.out / name for name in {*_folders(names), PICTURES}]:
            if folder.resolve() != home / folder.relative_to(self.out):
                raise UserError(
                    f"{folder} leads out of the page's folder. Remove the link, or choose another out=."
                )
        new = (name for name in names if name not in self._known)
        foreign = next((name for name in new if os.path.lexists(f"{self.out}/{name}")), None)
        if foreign:
            raise UserError(
                f"{self.out / foreign} is no file of this page, but has the name of one. Move it away, or "
                "choose another folder: out=DIR."
            )

    def _unused(self) -> set[str]:
        folder = self.out / PICTURES
        there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return {f"{PICTURES}/{name}" for name in there if _PICTURE.fullmatch(name) and name not in self.used}

    def _remove(self, names: set[str]) -> None:
        folders = set()
        for name in names:
            path = self.out / name
            if path.is_file() or path.is_symlink():
                path.unlink()
            folders |= {self.out / parent for parent in Path(name).parents if parent != Path()}
        for folder in sorted(folders, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):  # what still holds something stays
                folder.rmdir()


def _bytes(text: str) -> bytes:
    """A file's content; of a folder's name that is no UTF-8, what can't be encoded is written out."""
    return text.encode("utf-8", "backslashreplace")


def _folder(name: str) -> str:
    """The folder of a file of the page; empty for the page's own."""
    return name.rpartition("/")[0]


def _folders(names: Iterable[str]) -> set[str]:
    return {_folder(name) for name in names}


def _above(names: Iterable[str]) -> set[str]:
    """The folders of files, and those that these lie in."""
    found: set[str] = set()
    new = _folders(names)
    while new:
        found |= new
        new = _folders(new) - found
    return found


def _files(folder: Path) -> Iterator[str]:
    """All files beneath a folder, by their path within it."""
    for place, _, names in os.walk(folder):
        inner = Path(place).relative_to(folder).as_posix()
        yield from (name if inner == "." else f"{inner}/{name}" for name in names)


@contextlib.contextmanager
def opened(out: Path) -> Iterator[Site]:
    """Holds a folder for a page. Raises UserError if it can't be written, or holds anything but a page."""
    try:
        known = _known(out)
        out.mkdir(parents=True, exist_ok=True)
        lock = _lock(out)
        try:
            _write_manifest(out, known)
            _clear(out)
            yield Site(out, known)
        finally:
            shutil.rmtree(out / _STAGE, ignore_errors=True)
            lock.release()
    except OSError as error:
        raise unwritable(out, error) from error


def _known(out: Path) -> set[str]:
    """The files of the last build; none in a new folder."""
    if not os.path.lexists(out):
        return set()
    if not out.is_dir():
        raise UserError(f"out={out} is no folder. Name a folder for the page: out=DIR.")
    manifest = out / MANIFEST
    if not manifest.is_file():
        others = sorted(path.name for path in out.iterdir() if path.name != _LOCK)
        if others:
            raise UserError(
                f"out={out} holds files that are no page's ({', '.join(others[:3])}"
                f"{', ...' if len(others) > 3 else ''}). Name an empty folder, a new one, or that of an "
                "earlier page: out=DIR."
            )
        return set()
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        return {name for name in files if is_inner_path(name)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{manifest} is damaged ({error}), so it isn't known which files in {out} are the page's. Remove "
            "the folder, or name another one: out=DIR."
        ) from error


def _lock(out: Path) -> Lock:
    try:
        return Lock(out)
    except HeldError:
        raise UserError(
            f"Another process is building the page in {out} right now. Wait until it has ended, or give this "
            "one a folder of its own: out=DIR."
        ) from None


def _clear(out: Path) -> None:
    """Removes what builds that died have left unfinished."""
    shutil.rmtree(out / _STAGE, ignore_errors=True)
    shutil.rmtree(out / _SCRATCH, ignore_errors=True)
    for path in (out / PICTURES).glob(".*.webp.tmp"):
        path.unlink()
    (out / _STAGE).mkdir()


def _write_manifest(out: Path, files: set[str]) -> None:
    text = json.dumps({"format": 1, "files": sorted(files)}, indent=0)
    if not (out / MANIFEST).is_file() or (out / MANIFEST).read_text(encoding="utf-8") != text:
        write_atomically(out / MANIFEST, text)
