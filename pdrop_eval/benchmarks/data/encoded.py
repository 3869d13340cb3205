"""One stored value as an encoded picture: bytes, base64 or a path, in whatever form it was written."""

import ast
import base64
import binascii
import io
import re
from pathlib import Path
from typing import Any

from PIL import Image

_PATH = 1024  # characters: what is longer is no path
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


class NoPictureError(ValueError):
    """A value that isn't a picture; the message says why, as a part of a sentence."""


def encoded(value: Any, folder: Path) -> Any:
    """The bytes of a picture, the Path of one, a list of such, or None for no picture.

    Args:
        value: bytes, a struct of `bytes` and `path`, base64, a path, or a list of them.
        folder: Where paths begin.

    Raises:
        NoPictureError: Anything else.
    """
    if value is None or isinstance(value, bytes):
        return value or None
    if isinstance(value, list):
        return [encoded(one, folder) for one in value]
    if isinstance(value, dict):
        content = value.get("bytes")
        return encoded(value.get("path") if content is None else content, folder)
    if isinstance(value, str):
        return _of_text(value.strip(), folder)
    raise NoPictureError(f"it is {type(value).__name__}")


def _of_text(text: str, folder: Path) -> Any:
    """A path, base64 with or without its data address, or a list of them as VLMEvalKit writes it."""
    if not text:
        return None
    if text.startswith("[") and text.endswith("]"):
        try:
            return encoded(list(ast.literal_eval(text)), folder)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
            raise NoPictureError(f"{_short(text)} is no list") from error
    if _ADDRESS.match(text):
        raise NoPictureError(f"{_short(text)} is an address; download the picture")
    if len(text) <= _PATH and "\0" not in text and (folder / text).is_file():
        return folder / text
    data = text.partition(",")[2] if text.startswith("data:") else text
    try:
        found = base64.b64decode(_SPACE.sub("", data), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not _is_picture(found):  # many a word is base64, too
        raise NoPictureError(f"{_short(text)} is neither a file in {folder} nor base64 of a picture")
    return found


def _is_picture(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content)):
            return True
    except Image.DecompressionBombError:
        return True  # and too large a one, which is said where it is opened
    except (OSError, ValueError, SyntaxError):
        return False


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
