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
        pixels.update(f"{image.mode} {image.width}x{image.height}\n".encode())
        pixels.update(image.tobytes())
    whole = hashlib.sha256(context.encode() + b"\0" + pixels.digest())
    return whole.hexdigest(), pixels.hexdigest()
