"""What goes into the page's files: names that are safe anywhere, data as scripts, texts without secrets."""

import hashlib
import json
import re
from collections.abc import Container
from typing import Any

from pdrop_eval.report.tables.commands import ELSEWHERE
from pdrop_eval.utils.text.redact import redact_all

_LONGEST = 100  # letters of a file's name
# A path from the root of a disk says who ran it and where; its last name is enough. Not a path: what follows
# a letter ("and/or"), a tilde, or two slashes (an address).
_PATH = re.compile(r"(?:file://|(?<![\w./~…-]))(?:[A-Za-z]:\\|/)[\w.@+%=~-]+(?:[\\/][\w.@+%=~-]+)*[\\/]?")


def put(name: str, value: Any) -> str:
    """A script that hands a value to the page, `name` being what the page asks for.

    No `<`, so that nothing in it can end a script; no line separators, which older engines take for the end
    of a line.
    """
    return f"pdrop.put({_json(name)}, {_json(value)});\n"


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def file_name(text: object) -> str:
    """A text as a file's name: letters, digits, dots, dashes; never a way to another folder, never hidden.

    One that is cut ends in a hash of the whole.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).strip(".-") or "unnamed"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(str(text).encode()).hexdigest()[:8]}"


def unique(name: str, taken: Container[str]) -> str:
    """The name, or the name with a number, whose lower-case form isn't taken: some disks know no other."""
    found, number = name, 1
    while found.lower() in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def public(value: Any) -> Any:
    """A value of a record without secrets, and without the folders of the machine that it was made on."""
    return _without_folders(redact_all(value))


def without_folders(text: str) -> str:
    """The text with `…/name` in the place of each path from the root of a disk."""
    if "/" not in text and "\\" not in text:
        return text
    return _PATH.sub(lambda found: ELSEWHERE + re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)


def _without_folders(value: Any) -> Any:
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, dict):
        return {without_folders(str(key)): _without_folders(part) for key, part in value.items()}
    return [_without_folders(part) for part in value] if isinstance(value, (list, tuple)) else value
