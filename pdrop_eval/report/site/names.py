"""What goes into the page's files: names that are safe anywhere, data as scripts, texts without secrets."""

import hashlib
import json
import re
from collections.abc import Container
from functools import lru_cache
from typing import Any

from pdrop_eval.report.tables.commands import ELSEWHERE
from pdrop_eval.utils.text.redact import environment_secrets, redact_all, redact_values

_LONGEST = 100  # letters of a file's name
_PLAIN = frozenset({int, float, bool, type(None)})  # most values by far, and never secret
_SHORT = 200  # letters of a text that many records have
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
    whole = str(text).encode(errors="backslashreplace")
    return f"{name[: _LONGEST - 9]}-{hashlib.sha256(whole).hexdigest()[:8]}"


def unique(name: str, taken: Container[str]) -> str:
    """The name, or the name with a number, whose lower-case form isn't taken: some disks know no other."""
    found, number = name, 1
    while found.lower() in taken:
        number += 1
        found = f"{name}-{number}"
    return found


def public(value: Any) -> Any:
    """A value of a record without secrets, and without the folders of the machine that it was made on."""
    return _public(value, tuple(environment_secrets()))  # asked once, and not for each text


def without_folders(text: str) -> str:
    """The text with `…/name` in the place of each path from the root of a disk."""
    if "/" not in text and "\\" not in text:
        return text
    return _PATH.sub(lambda found: ELSEWHERE + re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)


def _public(value: Any, hidden: tuple[str, ...]) -> Any:
    if isinstance(value, str):
        return _known(value, hidden) if len(value) <= _SHORT else _text(value, hidden)
    if isinstance(value, dict):
        return {
            _name(str(key)): part
            if part.__class__ in _PLAIN
            else (isinstance(part, str) and _hidden(str(key))) or _public(part, hidden)
            for key, part in value.items()
        }
    if not isinstance(value, (list, tuple)):
        return value
    return [part if part.__class__ in _PLAIN else _public(part, hidden) for part in value]


@lru_cache(maxsize=2**12)
def _name(key: str) -> str:
    return without_folders(key)


@lru_cache(maxsize=2**16)  # thousands of records have few different texts
def _known(text: str, hidden: tuple[str, ...]) -> str:
    return _text(text, hidden)


def _text(text: str, hidden: tuple[str, ...]) -> str:
    return without_folders(redact_values(text, hidden))


@lru_cache(maxsize=2**12)
def _hidden(name: str) -> str:
    """What stands in the place of each text of a name that says that it is a secret; empty for others."""
    found = str(redact_all({name: "text"})[name])
    return "" if found == "text" else found
