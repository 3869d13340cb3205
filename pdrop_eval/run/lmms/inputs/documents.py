"""Documents of data sets, with each picture decoded once for the questions that follow one another.

A data set decodes a picture anew for each question about it, which takes longer than all else that a question
takes outside of the model: 0.7 of 1.6 milliseconds for the rendered pictures, 3 for a usual photo.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from PIL import Image

_MOST_BYTES = 128 << 20  # of pixels that are held


class Documents:
    """Reads a document of a task, by (task, split, number). Safe to be read from several threads.

    A document's pictures are its own: a task may draw on them.

    Args:
        data: gives the data set of (task, split).
        most_bytes: of decoded pictures that are held; those go first that were asked for longest ago.
    """

    def __init__(self, data: Callable[[str, str], Any], most_bytes: int = _MOST_BYTES):
        self._data = data
        self._readers: dict[tuple[str, str], tuple[Any, Callable[[int], Any]]] = {}
        self._decoded = _Decoded(most_bytes)

    def __call__(self, task: str, split: str, number: int) -> Any:
        """Return the document, as the data set itself gives it."""
        data = self._data(task, split)
        known, reader = self._readers.get((task, split), (None, None))
        if reader is None or known is not data:
            reader = _reader(data, self._decoded)
            self._readers[task, split] = data, reader
        return reader(number)


class _Decoded:
    """The pictures that were decoded last, by what they are stored as."""

    def __init__(self, most_bytes: int):
        self._most = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[bytes, str | None], Image.Image] = OrderedDict()
        self._lock = threading.Lock()

    def picture(self, feature: Any, stored: Any) -> Any:
        """Return a picture of one's own of what `feature`, a `datasets.Image`, has stored."""
        content = stored.get("bytes") if isinstance(stored, dict) else None
        if not isinstance(content, bytes):  # None, or a file
            return None if stored is None else feature.decode_example(stored)
        key = content, feature.mode
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            found = feature.decode_example(stored)
            self._keep(key, found)
        own: Image.Image = found.copy()
        own.format = found.format  # which a copy loses
        return own

    def _keep(self, key: tuple[bytes, str | None], made: Image.Image) -> None:
        if _size(made) > self._most:
            return
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = made
            self._bytes += _size(made)
            while self._bytes > self._most:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)


def _size(picture: Image.Image) -> int:
    return 4 * picture.width * picture.height  # Pillow's, of colours and of 32 bits


def _reader(data: Any, decoded: _Decoded) -> Callable[[int], Any]:
    """Return what reads a document: the data set itself, wherever it isn't a plain one with pictures."""
    from datasets import Dataset, Features

    plain = isinstance(data, Dataset) and data.format["type"] is None
    if not plain or data.format["columns"] != data.column_names:
        return lambda number: data[number]
    pictures = {name: made for name, one in data.features.items() if (made := _pictures(one, decoded))}
    if not pictures:
        return lambda number: data[number]
    rest = Features({name: one for name, one in data.features.items() if name not in pictures})
    stored = data.with_format("arrow")

    def read(number: int) -> dict[str, Any]:
        (row,) = stored[number].to_pylist()
        others = rest.decode_example({name: row[name] for name in rest})
        return {
            name: pictures[name](value) if name in pictures else others[name] for name, value in row.items()
        }

    return read


def _pictures(feature: Any, decoded: _Decoded) -> Callable[[Any], Any] | None:
    """Return what makes a column's pictures of what is stored; None for other columns."""
    from datasets import Image as Picture
    from datasets import List

    if type(feature) is Picture and feature.decode:
        return partial(decoded.picture, feature)
    if type(feature) is List and type(feature.feature) is Picture and feature.feature.decode:
        one = feature.feature
        return lambda values: None if values is None else [decoded.picture(one, value) for value in values]
    return None
