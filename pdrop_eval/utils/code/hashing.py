"""SHA-256 of files, and of questions with their pixels."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


def hash_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' names and contents, in the given order."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.name}\0{file_sha256(path)}\n".encode())
    return whole.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of one file's content."""
    whole = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            whole.update(block)
    return whole.hexdigest()


def content_hashes(context: str, images: Sequence["Image.Image"]) -> tuple[str, str]:
    """SHA-256 of question and pixels, and of the pixels alone: equal content, equal hash, in any file."""
    pixels = hashlib.sha256()
    for image in images:
        pixels.update(_head(image))
        pixels.update(image.tobytes())
    return _with_question(context, pixels.digest())


def _head(image: "Image.Image") -> bytes:
    return f"{image.mode} {image.width}x{image.height}\n".encode()


def _with_question(context: str, pixels: bytes) -> tuple[str, str]:
    return hashlib.sha256(context.encode() + b"\0" + pixels).hexdigest(), pixels.hex()


class ContentHashes:
    """As `content_hashes`, for questions of which the next ones are often about the same image.

    To compare pixels takes a tenth of hashing them. For one thread.
    """

    def __init__(self) -> None:
        self._last = b"", b"", b""  # the head of an image, its pixels, and their hash

    def __call__(self, context: str, images: Sequence["Image.Image"]) -> tuple[str, str]:
        """See `content_hashes`."""
        if len(images) != 1:
            return content_hashes(context, images)
        head, pixels = _head(images[0]), images[0].tobytes()
        if (head, pixels) != self._last[:2]:
            self._last = head, pixels, hashlib.sha256(head + pixels).digest()
        return _with_question(context, self._last[2])
