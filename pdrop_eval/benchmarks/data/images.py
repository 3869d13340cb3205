"""The pictures of questions, found in data that lie on this machine. Needs no torch.

A picture is only taken for a question's if its pixels have the hash that the sample recorded.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from PIL import Image, ImageFile

from pdrop_eval.benchmarks.data.convert import readable
from pdrop_eval.benchmarks.data.encoded import NoPictureError, encoded
from pdrop_eval.benchmarks.data.locate import GQA_IMAGES, locate, task_file
from pdrop_eval.benchmarks.data.read import column_names, parts, rows
from pdrop_eval.benchmarks.sample_errors import PICTURE_ERRORS
from pdrop_eval.benchmarks.task_files import describe
from pdrop_eval.models.pictures.images import open_picture
from pdrop_eval.utils.code.hashing import content_hashes
from pdrop_eval.utils.errors import UserError
from pdrop_eval.utils.terminal.console import made_here

_MOST = 64 * 2**20  # bytes of an encoded picture that is opened
_DAMAGED = (*PICTURE_ERRORS, Image.DecompressionBombWarning)


class NotThereError(Exception):
    """Pictures can't be had; the message says why, as the end of a sentence."""


@dataclass(frozen=True)
class Stored:
    """The files with a task's questions, in order. images: of GQA's pictures, where they are apart."""

    task: str
    files: tuple[Path, ...]
    images: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Wanted:
    """The pictures of a question: the hash of their pixels, and the question's number in the data."""

    sha256: str
    number: Any


def stored_data(task: str, source: str, sha256: str | None, roots: Iterable[str | Path | None]) -> Stored:
    """Where a task's data lie: in the first of some folders that has them, or where this project keeps them.

    Args:
        source: `rendered` or `hub`.
        sha256: The hash of the content, which tells suites of several versions apart.

    Raises:
        NotThereError: None of the folders has the data.
    """
    folders = [Path(root).expanduser() for root in dict.fromkeys(roots) if root]
    if source == "rendered":
        path = _rendered(task, sha256, folders)
        return Stored(task, _readable(task, source, (path,)))
    for folder in [*folders, _hub_cache()]:
        try:
            info = describe(task, "hub")
            found = locate(info, folder, info.subset)
            images = locate(info, folder, GQA_IMAGES) if found and task == "gqa" else None
        except UserError as error:
            raise NotThereError(f"the data can't be read: {error}") from error
        if found:
            pictures = images.files if images else ()
            return Stored(task, _readable(task, "hub", found.files), _readable(task, "hub", pictures))
    raise NotThereError("the data set is not on this machine, or not where it is looked for (data.root=)")


def find_pictures(data: Stored, wanted: Sequence[Wanted]) -> Iterator[tuple[str, list[Image.Image]]]:
    """The hash and the pictures of each question whose pictures are there. Raises NotThereError."""
    import pyarrow as pa

    try:
        rows = _rows(data, wanted)
        for row, value in _values(data, sorted(rows)):
            for sha256 in rows[row]:
                pictures = _opened(value, sha256)
                if pictures:
                    yield sha256, pictures
    except (OSError, ValueError, KeyError, TypeError, UserError, pa.ArrowException) as error:
        raise NotThereError(f"the data can't be read ({type(error).__name__})") from error


def _readable(task: str, source: str, files: Sequence[Path]) -> tuple[Path, ...]:
    """The files as they can be read; of these only a TSV takes the task's description, and so lmms-eval."""
    try:
        return tuple(
            readable(path, describe(task, source)) if path.suffix == ".tsv" else path for path in files
        )
    except UserError as error:
        raise NotThereError(f"the data can't be read: {error}") from error


def _rendered(task: str, sha256: str | None, folders: Sequence[Path]) -> Path:
    from pdrop_eval.benchmarks.rendered.suite import default_root, suite_version

    own = [task_file(folder, task) for folder in folders]
    now = default_root() / f"suite-{suite_version()}"
    suites = sorted(default_root().glob("suite-*"), key=lambda folder: (folder != now, folder.name))
    kept = [folder / f"{task}.parquet" for folder in suites if _content(folder, task) == sha256]
    found = next((path for path in [*own, *kept, now / f"{task}.parquet"] if path.is_file()), None)
    if found is None:
        renders = made_here("suite", "python -m pdrop_eval.benchmarks.rendered.suite")
        raise NotThereError(f"the rendered suite is not on this machine ({renders} renders it)")
    return found


def _content(suite: Path, task: str) -> str | None:
    """The hash of a task's questions in a rendered suite."""
    try:
        return json.loads((suite / "manifest.json").read_text(encoding="utf-8"))["tasks"][task]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _rows(data: Stored, wanted: Sequence[Wanted]) -> dict[int, list[str]]:
    """The row of the data, or of GQA's pictures, that holds the pictures of each question; by row, hashes."""
    names = column_names(data.files[0])
    place: Callable[[int], int] = int
    if data.task == "seedbench" and "data_type" in names:  # the questions about videos are left out
        kinds = _column(data.files, "data_type")
        place = [row for row, kind in enumerate(kinds) if kind == "image"].__getitem__
    elif data.task == "ocrvqa" and "questions" in names:  # a row a cover, with all of its questions
        asked = _column(data.files, "questions")
        place = [row for row, questions in enumerate(asked) for _ in questions or ()].__getitem__
    elif data.images:
        apart = {name: row for row, name in enumerate(_column(data.images, "id"))}
        shown = _column(data.files, "imageId")
        place = [apart.get(name, -1) for name in shown].__getitem__
    found: dict[int, list[str]] = {}
    for one in wanted:
        if type(one.number) is int and one.number >= 0:
            try:
                found.setdefault(place(one.number), []).append(one.sha256)
            except IndexError:
                continue
    return found


def _values(data: Stored, rows: Sequence[int]) -> Iterator[tuple[int, Any]]:
    """The encoded pictures (see `encoded`) of some rows, counted over all files; rows ascend."""
    left, first = [row for row in rows if row >= 0], 0
    files = data.images or data.files
    for path, (count, load) in ((file, part) for file in files for part in parts(file)):
        here = [row for row in left if row < first + count]
        if here:
            column = load(["image"]).column("image")
            for row in here:
                yield row, _encoded(column[row - first].as_py(), path.parent)
        left, first = left[len(here) :], first + count
        if not left:
            return


def _encoded(value: Any, folder: Path) -> Any:
    try:
        return encoded(value, folder)
    except NoPictureError:
        return None


def _opened(value: Any, sha256: str) -> list[Image.Image] | None:
    """The pictures, as a run sees them, if their pixels have this hash."""
    values = value if isinstance(value, list) else [value]
    if not all(_is_small(one) for one in values):
        return None
    for truncated in (False, True):  # of real data, a run sees as much of a truncated picture as there is
        with suppress(*_DAMAGED), mock.patch.object(ImageFile, "LOAD_TRUNCATED_IMAGES", truncated):
            pictures = [open_picture(one) for one in values]
            if content_hashes("", pictures)[1] == sha256:
                return pictures
    return None


def _is_small(content: bytes | Path | None) -> bool:
    if isinstance(content, Path):
        return content.stat().st_size <= _MOST
    return content is not None and len(content) <= _MOST


def _column(files: Sequence[Path], name: str) -> list[Any]:
    return [row[name] for row in rows(files, [name])]
