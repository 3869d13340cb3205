"""What was read in the files of this package, kept on the disk: reading all of them takes most of a second.

A file counts as unchanged while its place on the disk, size, time of change and time of its entry in the file
system are the same; the last of them nobody can set back, but where a read-only image was made with times
that are all alike, and there nothing is kept.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pdrop_eval.utils.code.hashing import file_sha256
from pdrop_eval.utils.files import write_atomically
from pdrop_eval.utils.paths import PACKAGE, cache_folder

_FORM = 2  # of the kept file


class Kept:
    """Values by file and name.

    Attributes:
        path: The kept file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        code = Path(__file__).with_name("source_code.py")  # what reads the files
        self._mark = [_FORM, list(sys.version_info[:2]), str(PACKAGE), file_sha256(code)]
        self._files: dict[str, dict[str, Any]] = self._read()
        self._new = False

    def value(self, file: Path, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` returns of a file; it is JSON, and asked for once for each state of the file."""
        if not file.is_relative_to(PACKAGE):
            return make()
        stat = file.stat()
        if not stat.st_ctime_ns % 10**9:  # set by what made an image, as in a container's read-only one
            return make()
        state = [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        known = self._files.get(str(file))
        if known is None or known["state"] != state:
            known = self._files[str(file)] = {"state": state, "values": {}}
        if name not in known["values"]:
            known["values"][name] = make()
            self._new = True
        return known["values"][name]

    def save(self) -> None:
        """Write what is new; what can't be kept is made again."""
        if self._new:
            self._new = False
            text = json.dumps({"mark": self._mark, "files": self._files})
            with contextlib.suppress(OSError):
                write_atomically(self.path, text)

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            if found["mark"] != self._mark:
                return {}
            return {
                file: {"state": [*known["state"]], "values": {**known["values"]}}
                for file, known in found["files"].items()
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


@cache
def _kept(folder: Path) -> Kept:
    return Kept(folder / "code.json")


def kept() -> Kept:
    """Return what is kept in the cache's folder."""
    return _kept(cache_folder())
